"""CocoMetric against pycocotools, the field's reference, and against numbers worked out by hand."""

import contextlib
import io
import json
import pickle
import time
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from detection.detections import Detections
from detection.metrics import CocoMetric
from tests.fakes import jittered_detections, make_detections, make_record, random_boxes
from vision.record import Dataset

TWELVE = ("map", "map_50", "map_75", "map_small", "map_medium", "map_large", "mar_1", "mar_10", "mar_100")
TWELVE += ("mar_small", "mar_medium", "mar_large")


def reference(dataset: Dataset, predictions: list[Detections]) -> COCOeval:
    """Evaluate with pycocotools, written from its own file format."""
    truth, results = COCO(), []
    truth.dataset = {
        "info": {},
        "images": [{"id": r.sample_id, "height": r.image_size[0], "width": r.image_size[1]} for r in dataset.records],
        "categories": [{"id": label + 1, "name": name} for label, name in enumerate(dataset.classes)],
        "annotations": [],
    }
    for record in dataset.records:
        for box, label, crowd, area in zip(record.boxes, record.labels, record.iscrowd, record.area, strict=True):
            annotation = {"image_id": record.sample_id, "category_id": int(label) + 1, "bbox": _xywh(box)}
            annotation |= {"id": len(truth.dataset["annotations"]) + 1, "iscrowd": int(crowd), "area": float(area)}
            truth.dataset["annotations"].append(annotation)
    for prediction in predictions:
        for box, score, label in zip(prediction.boxes, prediction.scores, prediction.labels, strict=True):
            result = {"image_id": prediction.sample_id, "category_id": int(label) + 1, "bbox": _xywh(box)}
            results.append(result | {"score": float(score)})
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def _xywh(box: np.ndarray) -> list[float]:
    x1, y1, x2, y2 = (float(value) for value in box)
    return [x1, y1, x2 - x1, y2 - y1]


def assert_equal_to_reference(dataset: Dataset, predictions: list[Detections]) -> dict[str, float]:
    metric = CocoMetric(dataset)
    metric.update(predictions)
    values, evaluation = metric.compute(), reference(dataset, predictions)
    assert [values[name] for name in TWELVE] == pytest.approx(evaluation.stats.tolist(), abs=1e-6)
    for label, name in enumerate(dataset.classes):
        table = evaluation.eval["precision"][:, :, label, 0, -1]
        if (table > -1).any():
            assert values[f"ap/{name}"] == pytest.approx(table.mean(), abs=1e-6)
            assert values[f"ap_50/{name}"] == pytest.approx(table[0].mean(), abs=1e-6)
        else:
            assert f"ap/{name}" not in values
            assert f"ap_50/{name}" not in values
    return values


def random_case(seed: int, with_ties: bool) -> tuple[Dataset, list[Detections]]:
    """Crowds, annotation areas unlike the boxes', empty images, images without detections, and two odd classes:
    3 has no ground truth but detections, 4 only a crowd."""
    rng = np.random.default_rng(seed)
    records, size = [], (300, 400)
    for sample_id in range(14):
        count = 0 if sample_id % 5 == 0 else int(rng.integers(1, 12))
        boxes, labels = random_boxes(rng, count, size), rng.integers(0, 3, count)
        iscrowd = rng.random(count) < 0.15
        if sample_id == 3:
            boxes, labels, iscrowd = boxes[:1], np.array([4]), np.array([True])
        area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) * rng.uniform(0.5, 1.0, len(boxes))
        records.append(make_record(sample_id, boxes, labels, iscrowd=iscrowd, area=area, image_size=size))
    dataset = Dataset(("a", "b", "c", "no truth", "only a crowd"), tuple(records))
    predictions = [p for p in jittered_detections(dataset, seed, false=8.0) if p.sample_id % 7 != 2]
    if with_ties:
        predictions = [make_detections(p.sample_id, p.boxes, np.round(p.scores, 1), p.labels) for p in predictions]
    return dataset, predictions


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("with_ties", [False, True])
def test_random_detections_equal_pycocotools(seed: int, with_ties: bool) -> None:
    values = assert_equal_to_reference(*random_case(seed, with_ties))
    assert 0.05 < values["map_50"] < 0.95


def test_more_than_hundred_detections_of_an_image_equal_pycocotools() -> None:
    rng = np.random.default_rng(5)
    truth = random_boxes(rng, 40, (300, 400))
    dataset = Dataset(("a",), (make_record(0, truth, np.zeros(40, int), image_size=(300, 400)),))
    boxes = np.concatenate([truth + rng.normal(0, 2, truth.shape), random_boxes(rng, 120, (300, 400))])
    assert_equal_to_reference(dataset, [make_detections(0, boxes, rng.random(160), np.zeros(160, int))])


def test_area_on_the_border_of_two_sizes_counts_in_both_like_pycocotools() -> None:
    boxes = [[0, 0, 32, 32], [40, 40, 136, 136]]
    dataset = Dataset(("a",), (make_record(0, boxes, [0, 0], image_size=(200, 200)),))
    values = assert_equal_to_reference(dataset, [make_detections(0, boxes, [0.9, 0.8], [0, 0])])
    assert [values[f"map_{size}"] for size in ("small", "medium", "large")] == [1.0, 1.0, 1.0]


def test_hand_counted_average_precision() -> None:
    dataset = Dataset(("cell",), (make_record(0, [[0, 0, 10, 10], [50, 50, 60, 60]], [0, 0]),))
    metric = CocoMetric(dataset)
    metric.update([make_detections(0, [[0, 0, 10, 10], [80, 80, 90, 90]], [0.9, 0.8], [0, 0])])
    # One of two objects found: precision 1 at the 51 recall levels 0.00 … 0.50, and 0 at the other 50.
    assert metric.compute()["ap/cell"] == pytest.approx(51 / 101)
    assert metric.compute()["mar_100"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("max_detections", "found"),
    [
        pytest.param(10, 100, id="never fewer than COCO's hundred"),
        pytest.param(100, 100, id="COCO's hundred cut the densest images"),
        pytest.param(120, 120, id="as many as the model reports"),
        pytest.param(300, 131, id="all there are"),
    ],
)
def test_a_dense_image_counts_as_many_detections_as_are_asked_for(max_detections: int, found: int) -> None:
    corners = [(20 * (index % 12), 20 * (index // 12)) for index in range(131)]
    boxes = [[left, top, left + 9, top + 9] for left, top in corners]
    dataset = Dataset(("nucleus",), (make_record(0, boxes, [0] * 131, image_size=(240, 240)),))
    metric = CocoMetric(dataset, max_detections)
    metric.update([make_detections(0, boxes, list(np.linspace(0.9, 0.1, 131)), [0] * 131)])
    values = metric.compute()
    assert values["mar_small"] == pytest.approx(found / 131)
    assert values["map"] == pytest.approx((found * 100 // 131 + 1) / 101)
    assert values["mar_100"] == pytest.approx(100 / 131), "of a hundred, whatever else is asked for"


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        pytest.param((), -1.0, id="no image at all"),
        pytest.param((make_record(0, [], []),), -1.0, id="no ground truth is undefined, not zero"),
        pytest.param((make_record(0, [[0, 0, 9, 9]], [0], iscrowd=[True]),), -1.0, id="only a crowd is undefined"),
        pytest.param((make_record(0, [[0, 0, 9, 9]], [0]),), 0.0, id="ground truth without detections is zero"),
    ],
)
def test_without_detections(records: tuple, expected: float) -> None:
    values = CocoMetric(Dataset(("a",), records)).compute()
    assert values["map"] == expected
    assert ("ap/a" in values) == (expected == 0.0)
    assert set(TWELVE) <= set(values)


@pytest.mark.parametrize("num_ranks", [1, 2, 3, 20])
def test_merged_states_of_any_number_of_ranks_equal_one_process_exactly(num_ranks: int) -> None:
    dataset, predictions = random_case(7, with_ties=True)
    alone = CocoMetric(dataset)
    alone.update(predictions)
    ranks = [CocoMetric(dataset) for _ in range(num_ranks)]
    for index, prediction in enumerate(predictions[::-1]):
        ranks[index % num_ranks].update([prediction])
    states = [pickle.loads(pickle.dumps(rank.state())) for rank in ranks]
    ranks[0].merge(states[::-1])
    assert ranks[0].compute() == alone.compute()
    assert all(isinstance(value, np.ndarray) for value in states[0].values())


def test_an_image_counts_once() -> None:
    metric = CocoMetric(Dataset(("a",), (make_record(0, [], []),)))
    metric.update([make_detections(0, [], [], [])])
    with pytest.raises(ValueError, match="twice"):
        metric.update([make_detections(0, [], [], [])])


def test_an_image_of_another_split_is_refused() -> None:
    with pytest.raises(ValueError, match="not in this split"):
        CocoMetric(Dataset(("a",), ())).update([make_detections(3, [], [], [])])


def test_precision_recall_has_a_falling_curve_per_class_with_ground_truth() -> None:
    dataset, predictions = random_case(1, with_ties=False)
    metric = CocoMetric(dataset)
    metric.update(predictions)
    curves, values = metric.precision_recall(), metric.compute()
    assert curves.labels == (0, 1, 2)
    assert curves.precision.shape == (3, 101)
    assert (np.diff(curves.precision, axis=1) <= 0).all()
    assert curves.precision[0].mean() == pytest.approx(values["ap_50/a"])


def test_precision_recall_without_ground_truth_is_empty() -> None:
    assert CocoMetric(Dataset(("a",), (make_record(0, [], []),))).precision_recall().precision.shape == (0, 101)


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    dataset, predictions = random_case(2, with_ties=False)
    metric = CocoMetric(dataset)
    metric.update(predictions)
    metric.compute()
    assert capfd.readouterr() == ("", "")


def _coco_case(truth: dict, results: list[dict]) -> tuple[Dataset, list[Detections]]:
    """Read COCO files in the plainest way, in float64, by category and image id."""
    categories = sorted(truth["categories"], key=lambda category: category["id"])
    label_of = {category["id"]: label for label, category in enumerate(categories)}
    records, predictions = [], []
    for sample_id, image in enumerate(sorted(truth["images"], key=lambda image: image["id"])):
        own = [a for a in truth["annotations"] if a["image_id"] == image["id"]]
        found = [r for r in results if r["image_id"] == image["id"]]
        records.append(
            make_record(
                sample_id,
                _xyxy([a["bbox"] for a in own]),
                [label_of[a["category_id"]] for a in own],
                iscrowd=[bool(a.get("iscrowd", 0)) for a in own],
                area=[a["area"] for a in own],
                image_size=(image["height"], image["width"]),
            )
        )
        labels = [label_of[r["category_id"]] for r in found]
        scores = [r["score"] for r in found]
        predictions.append(make_detections(sample_id, _xyxy([r["bbox"] for r in found]), scores, labels))
    return Dataset(tuple(category["name"] for category in categories), tuple(records)), predictions


def _xyxy(boxes: list[list[float]]) -> np.ndarray:
    array = np.array(boxes, np.float64).reshape(-1, 4)
    return np.concatenate([array[:, :2], array[:, :2] + array[:, 2:]], axis=1)


@pytest.mark.real_data
def test_published_table_of_100_coco_images(shared_data: Path) -> None:
    folder = shared_data / "eval" / "coco-val2014-100"
    truth = json.loads((folder / "instances_val2014_100.json").read_text())
    results = json.loads((folder / "instances_val2014_fakebbox100_results.json").read_text())
    values = assert_equal_to_reference(*_coco_case(truth, results))
    published = [0.504581, 0.696973, 0.572982, 0.585626, 0.519400, 0.501398]
    published += [0.386813, 0.593680, 0.595353, 0.639811, 0.566421, 0.564291]
    assert [values[name] for name in TWELVE] == pytest.approx(published, abs=1e-6)


@pytest.mark.real_data
@pytest.mark.parametrize("truth_file", ["coco_format_v1/instances_default.json", "coco_format_v2/instances_v2.json"])
def test_voc_images_in_two_coco_dialects_agree(shared_data: Path, truth_file: str) -> None:
    folder = shared_data / "eval" / "voc100-formats"
    truth = json.loads((folder / "gts" / truth_file).read_text())
    found = json.loads((folder / "dets" / "coco_format" / "coco_dets.json").read_text())
    # Ids differ between the files: images meet by file name, classes by name.
    image_id = {image["file_name"]: image["id"] for image in truth["images"]}
    category_id = {category["name"]: category["id"] for category in truth["categories"]}
    file_name = {image["id"]: image["file_name"] for image in found["images"]}
    category = {category["id"]: category["name"] for category in found["categories"]}
    results = [
        r | {"image_id": image_id[file_name[r["image_id"]]], "category_id": category_id[category[r["category_id"]]]}
        for r in found["annotations"]
    ]
    values = assert_equal_to_reference(*_coco_case(truth, results))
    expected = [0.3470, 0.6100, 0.3537, 0.0752, 0.3395, 0.4979, 0.3735, 0.5206, 0.5226]
    assert [values[name] for name in TWELVE[:9]] == pytest.approx(expected, abs=1e-4)


def test_seventy_images_with_hundred_detections_take_less_than_a_second() -> None:
    rng, size = np.random.default_rng(0), (480, 640)
    truth = [make_record(i, random_boxes(rng, 14, size), rng.integers(0, 3, 14), image_size=size) for i in range(72)]
    metric = CocoMetric(Dataset(("a", "b", "c"), tuple(truth)))
    metric.update(
        [make_detections(i, random_boxes(rng, 100, size), rng.random(100), rng.integers(0, 3, 100)) for i in range(72)]
    )
    start = time.process_time()
    metric.compute()
    assert time.process_time() - start < 1.0
