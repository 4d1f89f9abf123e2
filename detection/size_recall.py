"""How many objects are found, by their size in pixels and by class; and the table of all classes."""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from detection.confusion import found_objects, paired
from detection.detections import Detections
from detection.metrics import AREA_RANGES, IOU_50, SIZES, CocoResult
from vision.record import Dataset

BINS_PER_DOUBLING = 2
"""Sizes of a bin span a factor of the square root of 2: an area of half to double."""


@dataclass(frozen=True, slots=True)
class SizeRecall:
    """Objects and how many of them are found, by class and size. Shapes: K classes, B bins; crowds are left out."""

    edges_px: np.ndarray
    """(B + 1,) float64 rising: square roots of areas; a size on an edge belongs to the bin above it. B is 1 or more."""
    objects: np.ndarray
    """(K, B) int64."""
    found: np.ndarray
    """(K, B) int64, by any detection that was reported."""
    found_above: np.ndarray
    """(K, B) int64, by a detection of at least the score threshold."""

    @property
    def centres_px(self) -> np.ndarray:
        """(B,) geometric middles of the bins."""
        return np.sqrt(self.edges_px[1:] * self.edges_px[:-1])


def recall_by_size(dataset: Dataset, predictions: Sequence[Detections], score_threshold: float) -> SizeRecall:
    """Count objects and those that are found at IoU 0.5, by the square root of the annotation's own area.

    Each detection, in the order of falling scores, takes the free object of its class that it overlaps most.
    """
    sizes, labels, scores = [np.zeros(0)], [np.zeros(0, np.int64)], [np.zeros(0)]
    for record, detections in paired(dataset, predictions):
        best = np.full(len(record.boxes), -np.inf)
        taken = found_objects(record, detections)
        best[taken[taken >= 0]] = detections.scores[taken >= 0]
        counted = ~record.iscrowd
        sizes.append(np.sqrt(np.maximum(record.area[counted], 1.0)))
        labels.append(record.labels[counted])
        scores.append(best[counted])
    size, label, score = np.concatenate(sizes), np.concatenate(labels), np.concatenate(scores)
    edges = _edges(size)
    position = np.clip(np.digitize(size, edges) - 1, 0, len(edges) - 2)

    def count(is_counted: np.ndarray) -> np.ndarray:
        table = np.zeros((len(dataset.classes), len(edges) - 1), np.int64)
        np.add.at(table, (label[is_counted], position[is_counted]), 1)
        return table

    return SizeRecall(edges, count(np.ones(len(size), bool)), count(score > -np.inf), count(score >= score_threshold))


def write_class_table(path: Path, dataset: Dataset, recall: SizeRecall, result: CocoResult) -> None:
    """Write one line per class and one for all, as CSV: support, AP by size, recall. Undefined values are empty.

    `images` show at least one object; objects by size are COCO's, of which one of exactly 32² or 96² pixels counts
    twice; `recall_50` is of all detections at IoU 0.5.
    """
    rows: list[tuple[str, int | None]] = [*((name, label) for label, name in enumerate(dataset.classes)), ("all", None)]
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, [*_table_row(dataset, recall, result, "", None)])
        writer.writeheader()
        writer.writerows(_table_row(dataset, recall, result, *row) for row in rows)


def _table_row(
    dataset: Dataset, recall: SizeRecall, result: CocoResult, name: str, label: int | None
) -> dict[str, Any]:
    chosen = slice(None) if label is None else label
    objects, found = int(recall.objects[chosen].sum()), int(recall.found[chosen].sum())
    own = [r.area[~r.iscrowd & ((r.labels == label) | (label is None))] for r in dataset.records]
    areas = np.concatenate([np.zeros(0), *own])
    average = {f"ap_{size}": result.average_precision(label, size) for size in SIZES[1:]}
    average = {"ap": result.average_precision(label), "ap_50": result.average_precision(label, iou=IOU_50)} | average
    return {
        "class": name,
        "images": sum(len(each) > 0 for each in own),
        "objects": objects,
        **{size: int(((areas >= low) & (areas <= high)).sum()) for size, (low, high) in list(AREA_RANGES.items())[1:]},
        **{key: f"{value:.4f}" if value >= 0 else "" for key, value in average.items()},
        "recall_50": f"{found / objects:.4f}" if objects else "",
    }


def _edges(sizes_px: np.ndarray) -> np.ndarray:
    """Whole steps of 2 ** (1 / BINS_PER_DOUBLING) around all sizes (N,), of which none is below 1."""
    if not len(sizes_px):
        return np.array([1.0, 2 ** (1 / BINS_PER_DOUBLING)])
    # Rounded, so that 32 px, a power of two, lies on the edge that its bin begins with.
    steps = np.round(BINS_PER_DOUBLING * np.log2(sizes_px), 9)
    first, last = math.floor(steps.min()), math.floor(steps.max()) + 1
    return 2.0 ** (np.arange(first, last + 1) / BINS_PER_DOUBLING)
