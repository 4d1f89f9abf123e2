"""What a data set holds, in numbers that can be written as JSON."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from vision.formats import LABELS_ONLY, AnyData, survey
from vision.record import Dataset

SMALL_AREA = 32**2
MEDIUM_AREA = 96**2
"""COCO's size buckets: small < 32², medium < 96², the rest is large; pixels of the original image."""

QUANTILES = {"min": 0.0, "p25": 0.25, "median": 0.5, "p75": 0.75, "p95": 0.95, "max": 1.0}
NUM_IMAGE_SIZES = 10


def stats(data: AnyData, splits: Sequence[str]) -> dict[str, Any]:
    """Count what the given splits hold. Faulty images and boxes are left out and counted by kind.

    Returns:
        `format`, `classes`, and per split: `images`, `images_without_objects`, `objects`, `crowd_objects`, `classes`
        (per class `objects`, `images`, `small`, `medium`, `large`), `objects_per_image`, `box_width_px`,
        `box_height_px` and `aspect_ratio` (width / height) as quantiles, `image_sizes` (the most frequent) and
        `faults` by kind. Quantiles are empty where there is nothing to count. A format with labels only has `images`,
        `classes` (per class `images`), `image_sizes` and `faults`.

    Raises:
        DataError: if a split cannot be read at all.
    """
    datasets = {split: survey(data, split) for split in splits}
    classes = next((dataset.classes for dataset in datasets.values()), ())
    count = _labels_stats if data.format in LABELS_ONLY else _split_stats
    return {
        "format": data.format,
        "classes": list(classes),
        "splits": {split: count(dataset) for split, dataset in datasets.items()},
    }


def _split_stats(dataset: Dataset) -> dict[str, Any]:
    records = dataset.records
    per_image = [len(record.labels) for record in records]
    boxes = _joined([record.boxes for record in records], np.zeros((0, 4)))
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    return {
        "images": len(records),
        "images_without_objects": per_image.count(0),
        "objects": len(boxes),
        "crowd_objects": int(sum(record.iscrowd.sum() for record in records)),
        "classes": _class_stats(dataset),
        "objects_per_image": _quantiles(np.array(per_image)),
        "box_width_px": _quantiles(width),
        "box_height_px": _quantiles(height),
        "aspect_ratio": _quantiles(width / height),
        **_files_stats(dataset),
    }


def _labels_stats(dataset: Dataset) -> dict[str, Any]:
    counts = Counter(int(record.labels[0]) for record in dataset.records)
    return {
        "images": len(dataset.records),
        "classes": {name: {"images": counts[label]} for label, name in enumerate(dataset.classes)},
        **_files_stats(dataset),
    }


def _files_stats(dataset: Dataset) -> dict[str, Any]:
    return {
        "image_sizes": _image_sizes(record.image_size for record in dataset.records),
        "faults": dict(sorted(Counter(fault.kind for fault in dataset.faults if fault.is_fatal).items())),
    }


def _class_stats(dataset: Dataset) -> dict[str, dict[str, int]]:
    labels = _joined([record.labels for record in dataset.records], np.zeros(0, dtype=np.int64))
    area = _joined([record.area for record in dataset.records], np.zeros(0))
    num_images = Counter(int(label) for record in dataset.records for label in np.unique(record.labels))
    result = {}
    for label, name in enumerate(dataset.classes):
        own = area[labels == label]
        num_small, num_large = int((own < SMALL_AREA).sum()), int((own >= MEDIUM_AREA).sum())
        result[name] = {
            "objects": len(own),
            "images": num_images[label],
            "small": num_small,
            "medium": len(own) - num_small - num_large,
            "large": num_large,
        }
    return result


def _joined(arrays: list[np.ndarray], empty: np.ndarray) -> np.ndarray:
    return np.concatenate(arrays) if arrays else empty


def _quantiles(values: np.ndarray) -> dict[str, float]:
    """Return quantiles and the mean, rounded to what a reader can use."""
    if values.size == 0:
        return {}
    quantiles = {name: round(float(np.quantile(values, share)), 3) for name, share in QUANTILES.items()}
    return quantiles | {"mean": round(float(values.mean()), 3)}


def _image_sizes(sizes: Iterable[tuple[int, int]]) -> list[dict[str, int]]:
    """List the most frequent image sizes."""
    frequent = Counter(sizes).most_common(NUM_IMAGE_SIZES)
    return [{"height": height, "width": width, "images": count} for (height, width), count in frequent]
