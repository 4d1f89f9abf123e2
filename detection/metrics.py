"""Average precision as COCO defines it, over a split that several processes may have predicted in parts.

Source: the COCO detection evaluation (Lin et al. 2014, arXiv:1405.0312); computed in float64 by faster-coco-eval and
equal to pycocotools to 1e-6. Size classes follow the annotation's own `area`; crowd objects are neither hit nor miss.
Of an image and class the best 100 detections count, or as many more as the model may report (`max_detections`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster

from detection.coco_results import boxes_to_coco, detections_to_coco, with_names
from detection.detections import Detections
from vision.record import Dataset

SIZES = ("all", "small", "medium", "large")
AREA_RANGES: dict[str, tuple[float, float]] = {
    "all": (0.0, 1e10),
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, 1e10),
}
"""Square pixels, both ends included, in the order of `SIZES`: COCO's own, so an area of exactly 32² counts twice."""
LIMITS = (1, 10, 100)
"""Best detections of an image and class that `mar_1`, `mar_10` and `mar_100` look at."""
IOU_50, IOU_75 = 0, 5
"""Positions of the thresholds 0.50 and 0.75 among 0.50, 0.55, …, 0.95."""


@dataclass(frozen=True, slots=True)
class CocoResult:
    """COCO's raw tables; -1 where there is no ground truth.

    Shapes: T = 10 IoU thresholds, R = 101 recall levels 0.00 … 1.00, K classes, A = 4 sizes, M = 4 limits of
    detections per image and class: `LIMITS`, and the one that all but `mar_1`, `mar_10` and `mar_100` go by.
    """

    precision: np.ndarray
    """(T, R, K, A, M) float64: the best precision at this recall or above."""
    recall: np.ndarray
    """(T, K, A, M) float64: the highest recall reached."""
    scores: np.ndarray
    """(T, R, K, A, M) float64: the score at which the recall level is reached."""

    def average_precision(self, label: int | None = None, size: str = "all", iou: int | None = None) -> float:
        """Return AP of one class or of all, at one IoU threshold (by position) or over all ten; -1 if undefined."""
        return _mean_of_defined(self.precision[_at(iou), :, _at(label), SIZES.index(size), -1])

    def average_recall(self, label: int | None = None, size: str = "all", limit: int | None = None) -> float:
        """Return the recall averaged over the IoU thresholds; -1 if undefined.

        Args:
            limit: one of `LIMITS` of detections an image; None = all that count.
        """
        position = -1 if limit is None else LIMITS.index(limit)
        return _mean_of_defined(self.recall[:, _at(label), SIZES.index(size), position])


@dataclass(frozen=True, slots=True)
class PrecisionRecall:
    """Precision-recall curves at one IoU threshold.

    Shapes: R recall levels, C classes that have ground truth; C may be 0.
    """

    recall: np.ndarray
    """(R,) float64, 0.00 … 1.00."""
    precision: np.ndarray
    """(C, R) float64, falling along R; 0 beyond the highest recall reached."""
    labels: tuple[int, ...]
    """The class of each curve."""


class CocoMetric:
    """COCO's numbers of one split; implements `engine.task.Metric`.

    Images that were never given to `update` count as images without detections.

    Args:
        dataset: the split.
        max_detections: so many detections an image count; never fewer than COCO's 100.
    """

    def __init__(self, dataset: Dataset, max_detections: int = LIMITS[-1]) -> None:
        self.dataset = dataset
        self.max_detections = max(max_detections, LIMITS[-1])
        self._known = {record.sample_id for record in dataset.records}
        self._detections: dict[int, Detections] = {}
        self._result: CocoResult | None = None

    def update(self, predictions: Sequence[Detections]) -> None:
        """Add the detections of some images.

        Raises:
            ValueError: if an image is not in the split, or was given before.
        """
        for detections in predictions:
            sample_id = int(detections.sample_id)
            if sample_id not in self._known:
                raise ValueError(f"sample {sample_id} is not in this split of {len(self._known)} images")
            if sample_id in self._detections:
                raise ValueError(f"sample {sample_id} was given to the metric twice; each image counts once")
            self._detections[sample_id] = detections
        self._result = None

    def state(self) -> dict[str, np.ndarray]:
        """Return everything gathered as arrays: S images with N detections in all, images by rising sample id.

        `sample_ids` (S,), `counts` (S,) int64; `boxes` (N, 4), `scores` (N,) float64; `labels` (N,) int64.
        """
        ordered = _by_sample_id(self._detections)
        return {
            "sample_ids": np.array([d.sample_id for d in ordered], np.int64),
            "counts": np.array([len(d.scores) for d in ordered], np.int64),
            "boxes": np.concatenate([np.zeros((0, 4)), *(d.boxes for d in ordered)], dtype=np.float64),
            "scores": np.concatenate([np.zeros(0), *(d.scores for d in ordered)], dtype=np.float64),
            "labels": np.concatenate([np.zeros(0, np.int64), *(d.labels for d in ordered)], dtype=np.int64),
        }

    def merge(self, states: Sequence[dict[str, np.ndarray]]) -> None:
        """Replace what was gathered by the union of `states`; their order makes no difference."""
        self._detections = {}
        for state in states:
            self.update(_detections_from_state(state))
        self._result = None

    def compute(self) -> dict[str, float]:
        """Return the 12 COCO numbers (-1 where undefined) and, per class with ground truth, `ap/…` and `ap_50/…`."""
        result = self.result()
        values = _twelve_numbers(result)
        for label, name in enumerate(self.dataset.classes):
            average_precision = result.average_precision(label)
            if average_precision >= 0:
                values[f"ap/{name}"] = average_precision
                values[f"ap_50/{name}"] = result.average_precision(label, iou=IOU_50)
        return values

    def to_json(self) -> list[dict[str, Any]]:
        """Return all detections as COCO results, with the names of images and classes."""
        return with_names(detections_to_coco(_by_sample_id(self._detections)), self.dataset)

    def precision_recall(self, iou: int = IOU_50) -> PrecisionRecall:
        """Return the curve of every class that has ground truth, at one IoU threshold (by position)."""
        table = self.result().precision[iou, :, :, 0, -1].T
        labels = tuple(label for label in range(len(table)) if table[label].max(initial=-1.0) >= 0)
        return PrecisionRecall(np.linspace(0.0, 1.0, table.shape[1]), table[list(labels)], labels)

    def result(self) -> CocoResult:
        """Return COCO's raw tables; computed once, until the next `update` or `merge`."""
        if self._result is None:
            self._result = _evaluate(self.dataset, self._detections, self.max_detections)
        return self._result


def _at(index: int | None) -> slice | int:
    return slice(None) if index is None else index


def _mean_of_defined(values: np.ndarray) -> float:
    defined = values[values > -1]
    return float(defined.mean()) if defined.size else -1.0


def _twelve_numbers(result: CocoResult) -> dict[str, float]:
    values = {
        "map": result.average_precision(),
        "map_50": result.average_precision(iou=IOU_50),
        "map_75": result.average_precision(iou=IOU_75),
    }
    values |= {f"map_{size}": result.average_precision(size=size) for size in SIZES[1:]}
    values |= {f"mar_{limit}": result.average_recall(limit=limit) for limit in LIMITS}
    values |= {f"mar_{size}": result.average_recall(size=size) for size in SIZES[1:]}
    return values


def _detections_from_state(state: dict[str, np.ndarray]) -> list[Detections]:
    ends = np.cumsum(state["counts"])
    return [
        Detections(int(sample_id), state["boxes"][start:end], state["scores"][start:end], state["labels"][start:end])
        for sample_id, start, end in zip(state["sample_ids"], ends - state["counts"], ends, strict=True)
    ]


def _evaluate(dataset: Dataset, detections: dict[int, Detections], max_detections: int) -> CocoResult:
    evaluator = COCOeval_faster(
        _coco(dataset, _ground_truth(dataset)),
        _coco(dataset, _results(detections)),
        iouType="bbox",
        ranges={size: list(AREA_RANGES[size]) for size in SIZES[1:]},
        print_function=_silent,
    )
    evaluator.params.maxDets = [*LIMITS, max_detections]
    evaluator.evaluate()
    evaluator.accumulate()
    tables = {name: np.asarray(evaluator.eval[name]) for name in ("precision", "recall", "scores")}
    return CocoResult(**tables)


def _coco(dataset: Dataset, annotations: list[dict[str, Any]]) -> COCO:
    content = {
        "images": [
            {"id": record.sample_id, "height": record.image_size[0], "width": record.image_size[1]}
            for record in dataset.records
        ],
        "categories": [{"id": label, "name": name} for label, name in enumerate(dataset.classes)],
        # The evaluator marks "unmatched" with id 0, so ids count from 1.
        "annotations": [{"id": index, **annotation} for index, annotation in enumerate(annotations, start=1)],
    }
    return COCO(content, print_function=_silent)


def _ground_truth(dataset: Dataset) -> list[dict[str, Any]]:
    columns = ("image_id", "category_id", "bbox", "area", "iscrowd")
    rows = (
        (record.sample_id, *row)
        for record in dataset.records
        for row in zip(
            record.labels.tolist(),
            boxes_to_coco(record.boxes),
            record.area.tolist(),
            record.iscrowd.astype(int).tolist(),
            strict=True,
        )
    )
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _results(detections: dict[int, Detections]) -> list[dict[str, Any]]:
    results = detections_to_coco(_by_sample_id(detections))
    return [{**result, "area": result["bbox"][2] * result["bbox"][3], "iscrowd": 0} for result in results]


def _by_sample_id(detections: dict[int, Detections]) -> list[Detections]:
    return [detections[sample_id] for sample_id in sorted(detections)]


def _silent(*_: object) -> None:
    """Take what the evaluator would print."""
