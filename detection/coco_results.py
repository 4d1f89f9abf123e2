"""Detections in COCO's result format (one dict each, `bbox` as xywh) and back. Image ids are sample ids."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from detection.detections import Detections
from vision.boxes import xywh_to_xyxy, xyxy_to_xywh
from vision.record import Dataset


def detections_to_coco(detections: Iterable[Detections]) -> list[dict[str, Any]]:
    """Convert to `image_id`, `category_id` (the label), `bbox` and `score`, in the order given, without rounding."""
    return [
        {"image_id": int(image.sample_id), "category_id": label, "bbox": box, "score": score}
        for image in detections
        for box, label, score in zip(
            boxes_to_coco(image.boxes), image.labels.tolist(), image.scores.tolist(), strict=True
        )
    ]


def detections_from_coco(results: Sequence[dict[str, Any]]) -> list[Detections]:
    """Convert back what `detections_to_coco` gave; an image without a result has no `Detections`."""
    by_image: dict[int, list[dict[str, Any]]] = {}
    for result in results:
        by_image.setdefault(int(result["image_id"]), []).append(result)
    return [
        Detections(
            sample_id=image_id,
            boxes=xywh_to_xyxy(np.array([result["bbox"] for result in own], np.float64)),
            scores=np.array([result["score"] for result in own], np.float64),
            labels=np.array([result["category_id"] for result in own], np.int64),
        )
        for image_id, own in sorted(by_image.items())
    ]


def boxes_to_coco(boxes: np.ndarray) -> list[list[float]]:
    """Convert (N, 4) xyxy boxes to lists of x, y, width, height, in float64."""
    exact: list[list[float]] = xyxy_to_xywh(np.asarray(boxes, np.float64).reshape(-1, 4)).tolist()
    return exact


def with_names(results: Sequence[dict[str, Any]], dataset: Dataset) -> list[dict[str, Any]]:
    """Add to each result the names of its image and its class, for people and for other programs."""
    image = {record.sample_id: record.name for record in dataset.records}
    return [
        {**result, "image": image[result["image_id"]], "category": dataset.classes[result["category_id"]]}
        for result in results
    ]
