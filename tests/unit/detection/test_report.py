"""Matching, the confusion matrix, the best threshold and the pictures, on boxes small enough to count by hand."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from detection.coco_results import detections_from_coco
from detection.confusion import above, confusion_matrix, match, threshold_curves
from detection.curves import (
    count_by_size,
    draw_ap_by_size,
    draw_confusion,
    draw_pr_curves,
    draw_recall_by_size,
    most_frequent,
)
from detection.detections import Detections
from detection.metrics import CocoMetric
from detection.report import Reviewed, choose, draw_report, report_evaluation
from detection.size_recall import recall_by_size
from detection.task import DetectionTask
from engine.task import TaskSpec
from tests.fakes import jittered_detections, make_detections, make_record, random_boxes, write_yolo_dataset
from vision.record import Dataset, Record

BOX, SHIFTED, FAR = [0, 0, 20, 20], [0, 2, 20, 22], [60, 60, 80, 80]
"""BOX and SHIFTED overlap with IoU 18/22, FAR with neither."""


def test_the_greatest_overlap_is_paired_first_whatever_the_score() -> None:
    record = make_record(0, [BOX], [0])
    matches = match(record, make_detections(0, [SHIFTED, BOX], [0.9, 0.3], [0, 0]))
    assert matches.pairs.tolist() == [[1, 0]]
    assert matches.false_detections.tolist() == [0]


@pytest.mark.parametrize(
    ("scores", "labels", "winner"),
    [
        pytest.param([0.9, 0.3], [1, 0], 1, id="equal overlaps: the right class wins"),
        pytest.param([0.3, 0.9], [0, 0], 1, id="equal overlaps and classes: the higher score wins"),
    ],
)
def test_ties_of_overlap(scores: list[float], labels: list[int], winner: int) -> None:
    matches = match(make_record(0, [BOX], [0]), make_detections(0, [BOX, BOX], scores, labels))
    assert matches.pairs.tolist() == [[winner, 0]]


def test_a_crowd_is_neither_missed_nor_a_false_detection() -> None:
    record = make_record(0, [[0, 0, 50, 50]], [0], iscrowd=[True])
    matches = match(record, make_detections(0, [BOX, FAR], [0.9, 0.8], [0, 0]))
    assert matches.missed_objects.tolist() == []
    assert matches.false_detections.tolist() == [1]


@pytest.mark.parametrize("objects", [0, 1])
@pytest.mark.parametrize("found", [0, 1])
def test_matching_with_nothing_on_a_side(objects: int, found: int) -> None:
    record = make_record(0, [FAR] * objects, [0] * objects)
    matches = match(record, make_detections(0, [BOX] * found, [0.5] * found, [0] * found))
    assert (len(matches.pairs), len(matches.missed_objects), len(matches.false_detections)) == (0, objects, found)


def two_image_case() -> tuple[Dataset, list[Detections]]:
    """Hits a (0.9) and b as a (0.8) in image 0, misses a in image 1 and finds a b (0.6) where nothing is."""
    records = (make_record(0, [BOX, FAR], [0, 1]), make_record(1, [BOX], [0]))
    first = make_detections(0, [BOX, FAR], [0.9, 0.8], [0, 0])
    return Dataset(("a", "b"), records), [first, make_detections(1, [FAR], [0.6], [1])]


def test_confusion_matrix_counts_pairs_misses_and_false_alarms() -> None:
    assert confusion_matrix(*two_image_case(), 0.25).tolist() == [[1, 0, 1], [1, 0, 0], [0, 1, 0]]


def test_confusion_matrix_above_a_threshold() -> None:
    assert confusion_matrix(*two_image_case(), 0.85).tolist() == [[1, 0, 1], [0, 0, 1], [0, 0, 0]]


def test_an_image_without_any_prediction_counts_as_missed() -> None:
    dataset, _ = two_image_case()
    assert confusion_matrix(dataset, [], 0.25)[:, -1].tolist() == [2, 1, 0]


def test_the_best_threshold_keeps_what_is_right_and_drops_what_is_wrong() -> None:
    curves = threshold_curves(*two_image_case())
    at_half = np.flatnonzero(curves.thresholds == 0.5)[0]
    assert curves.precision[at_half] == pytest.approx(1 / 3)
    assert curves.recall[at_half] == pytest.approx(1 / 3)
    assert 0.8 < curves.best <= 0.9
    assert curves.f1.max() == pytest.approx(0.5)


def test_threshold_curves_without_detections() -> None:
    dataset, _ = two_image_case()
    curves = threshold_curves(dataset, [])
    assert curves.f1.max() == 0
    assert 0 < curves.best < 1


def test_above_includes_the_threshold_itself() -> None:
    assert above(make_detections(0, [BOX, FAR], [0.5, 0.4], [0, 0]), 0.5).scores.tolist() == [0.5]


def test_sizes_are_counted_by_annotation_area_and_without_crowds() -> None:
    record = make_record(0, [BOX, BOX, FAR], [0, 0, 1], area=[100, 5000, 20000], iscrowd=[False, False, True])
    assert count_by_size(Dataset(("a", "b"), (record,))).tolist() == [[2, 1, 1, 0], [0, 0, 0, 0]]


def test_most_frequent_classes_in_label_order() -> None:
    record = make_record(0, [BOX] * 5, [2, 2, 0, 1, 1])
    assert most_frequent(Dataset(("a", "b", "c"), (record,)), 2) == [1, 2]


def test_sheet_shows_the_worst_then_a_spread_down_to_the_best() -> None:
    reviewed = []
    for sample_id in range(20):
        record = make_record(sample_id, [FAR] * sample_id, [0] * sample_id)
        nothing = make_detections(sample_id, [], [], [])
        reviewed.append(Reviewed(record, nothing, match(record, nothing)))
    shown = [item.num_errors for item in choose(reviewed, 8)]
    assert shown[:3] == [19, 18, 17]
    assert shown[-1] == 0
    assert shown == sorted(set(shown), reverse=True)
    assert len(choose(reviewed[:2], 8)) == 2


def painted_dataset(folder: Path, num_classes: int = 3) -> Dataset:
    rng, records, size = np.random.default_rng(0), [], (60, 80)
    for sample_id in range(5):
        path = folder / f"{sample_id}.png"
        cv2.imwrite(str(path), rng.integers(0, 255, (*size, 3), dtype=np.uint8))
        labels = rng.integers(0, num_classes, 4)
        records.append(make_record(sample_id, random_boxes(rng, 4, size), labels, image_size=size, path=path))
    return Dataset(tuple(f"class {n}" for n in range(num_classes)), tuple(records))


def test_all_pictures_are_drawn(tmp_path: Path) -> None:
    dataset = painted_dataset(tmp_path)
    paths = draw_report(dataset, jittered_detections(dataset), tmp_path / "new" / "pictures")
    names = ["pr_curves.png", "confusion_matrix.png", "ap_by_size.png", "recall_by_size.png", "predictions.png"]
    assert [path.name for path in paths] == [*names, "classes.csv"]
    for path in paths[:-1]:
        image = cv2.imread(str(path))
        assert min(image.shape[:2]) > 200
        assert image.std() > 5, f"{path.name} is blank"


def test_the_report_is_drawn_from_the_file_that_an_evaluation_left(tmp_path: Path) -> None:
    root, file = write_yolo_dataset(tmp_path / "data", images=3), tmp_path / "predictions.json"
    spec = TaskSpec("detection", {}, {"format": "yolo", "root": str(root)})
    metric = DetectionTask(spec).build_metric("val")
    metric.update(jittered_detections(metric.dataset))
    file.write_text(json.dumps(metric.to_json()))
    paths = report_evaluation(spec, ("ruby", "opal"), "val", file, tmp_path / "pictures")
    assert len(paths) == 6
    again = CocoMetric(metric.dataset)
    again.update(detections_from_coco(json.loads(file.read_text())))
    assert again.compute() == pytest.approx(metric.compute(), abs=1e-9)


def test_pictures_do_not_touch_pyplots_global_state(tmp_path: Path) -> None:
    from matplotlib import _pylab_helpers

    dataset = painted_dataset(tmp_path)
    draw_report(dataset, [], tmp_path / "pictures")
    assert _pylab_helpers.Gcf.get_all_fig_managers() == []


@pytest.mark.parametrize(
    ("records", "num_classes"),
    [
        pytest.param((), 2, id="no image"),
        pytest.param((make_record(0, [], []),), 1, id="no object"),
        pytest.param((make_record(0, [BOX] * 45, list(range(45))),), 45, id="more classes than a table holds"),
    ],
)
def test_charts_of_odd_splits(records: tuple[Record, ...], num_classes: int, tmp_path: Path) -> None:
    dataset = Dataset(tuple(f"class {n}" for n in range(num_classes)), records)
    metric, thresholds = CocoMetric(dataset), threshold_curves(dataset, [])
    figures = [draw_pr_curves(metric, thresholds), draw_ap_by_size(dataset, metric.result())]
    figures.append(draw_recall_by_size(dataset, recall_by_size(dataset, [], 0.5), 0.5))
    figures.append(draw_confusion(confusion_matrix(dataset, [], 0.5), dataset, 0.5))
    for index, figure in enumerate(figures):
        figure.savefig(tmp_path / f"{index}.png", dpi=30)
