"""Recall by size and the table of classes: counted by hand, and against loops on random detections."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest

from detection.detections import Detections
from detection.metrics import CocoMetric
from detection.size_recall import recall_by_size, write_class_table
from tests.fakes import jittered_detections, make_detections, make_record, random_boxes
from vision.boxes import box_iou
from vision.record import Dataset

SMALL, LARGE = [0, 0, 8, 8], [20, 20, 84, 84]


def two_classes() -> tuple[Dataset, list[Detections]]:
    """Class a: one of 8 px found at 0.9, one of 64 px found at 0.2; class b: one of 8 px missed, and a crowd."""
    records = (
        make_record(0, [SMALL, LARGE], [0, 0]),
        make_record(1, [SMALL, LARGE], [1, 1], iscrowd=[False, True]),
    )
    found = [make_detections(0, [SMALL, LARGE], [0.9, 0.2], [0, 0]), make_detections(1, [SMALL], [0.8], [0])]
    return Dataset(("a", "b"), records), found


def test_objects_are_counted_by_class_and_size_without_crowds() -> None:
    recall = recall_by_size(*two_classes(), 0.5)
    assert recall.edges_px[[0, -1]].tolist() == pytest.approx([8, 64 * math.sqrt(2)])
    assert np.diff(np.log2(recall.edges_px)) == pytest.approx(0.5)
    assert recall.objects[:, [0, -1]].tolist() == [[1, 1], [1, 0]]
    assert recall.found[:, [0, -1]].tolist() == [[1, 1], [0, 0]]
    assert recall.found_above[:, [0, -1]].tolist() == [[1, 0], [0, 0]]
    assert recall.objects.sum() == 3


@pytest.mark.parametrize(
    ("side", "edge"),
    [
        pytest.param(32.0, 32.0, id="on an edge: the bin above it"),
        pytest.param(31.99, 32 / math.sqrt(2), id="just below it"),
        pytest.param(0.0, 1.0, id="no area counts as one pixel"),
    ],
)
def test_a_size_has_one_bin(side: float, edge: float) -> None:
    record = make_record(0, [SMALL], [0], area=[side**2])
    recall = recall_by_size(Dataset(("a",), (record,)), [], 0.5)
    assert recall.edges_px.tolist() == pytest.approx([edge, edge * math.sqrt(2)])
    assert (recall.objects.tolist(), recall.found.tolist()) == ([[1]], [[0]])


def test_a_split_without_objects_has_one_empty_bin() -> None:
    recall = recall_by_size(Dataset(("a", "b"), ()), [], 0.5)
    assert recall.objects.tolist() == [[0], [0]]


def random_case() -> tuple[Dataset, list[Detections]]:
    rng, records = np.random.default_rng(3), []
    for sample_id in range(12):
        labels = rng.integers(0, 3, 6)
        records.append(make_record(sample_id, random_boxes(rng, 6, (300, 400)), labels, image_size=(300, 400)))
    dataset = Dataset(("a", "b", "c"), tuple(records))
    return dataset, jittered_detections(dataset, jitter=0.15)


@pytest.mark.parametrize("threshold", [0.0, 0.6])
def test_counts_equal_a_loop_over_detections(threshold: float) -> None:
    dataset, predictions = random_case()
    recall = recall_by_size(dataset, predictions, threshold)
    edges, expected = recall.edges_px, np.zeros_like(recall.found)
    for record, detections in zip(dataset.records, predictions, strict=True):
        free = set(range(len(record.boxes)))
        for index in np.argsort(-detections.scores, kind="stable"):
            if detections.scores[index] < threshold:
                continue
            candidates = [
                (box_iou(detections.boxes[index : index + 1], record.boxes[row : row + 1])[0, 0], -row)
                for row in free
                if record.labels[row] == detections.labels[index]
            ]
            if candidates and max(candidates)[0] >= 0.5:
                row = -max(candidates)[1]
                free.remove(row)
                place = np.flatnonzero(edges <= math.sqrt(record.area[row]) + 1e-9)[-1]
                expected[record.labels[row], place] += 1
    assert recall.found_above.tolist() == expected.tolist()
    assert recall.objects.sum() == 72
    assert 0 < expected.sum() < 72


def test_the_table_has_the_support_and_the_metrics_numbers(tmp_path: Path) -> None:
    dataset, predictions = two_classes()
    metric = CocoMetric(dataset)
    metric.update(predictions)
    write_class_table(tmp_path / "classes.csv", dataset, recall_by_size(dataset, predictions, 0.5), metric.result())
    with (tmp_path / "classes.csv").open() as stream:
        a, b, both = csv.DictReader(stream)
    assert [row["class"] for row in (a, b, both)] == ["a", "b", "all"]
    assert [(row["images"], row["objects"]) for row in (a, b, both)] == [("1", "2"), ("1", "1"), ("2", "3")]
    assert [a[size] for size in ("small", "medium", "large")] == ["1", "1", "0"]
    assert [row["recall_50"] for row in (a, b, both)] == ["1.0000", "0.0000", "0.6667"]
    values = metric.compute()
    assert a["ap_50"] == f"{values['ap_50/a']:.4f}"
    assert both["ap_small"] == f"{values['map_small']:.4f}"
    assert a["ap_large"] == "", "there is no large object"
