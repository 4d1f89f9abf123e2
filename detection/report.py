"""The report of one evaluation: precision-recall curves, confusion matrix, AP and recall by size, a sheet of
predictions, and a table of the classes."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from detection.coco_results import detections_from_coco
from detection.confusion import Matches, above, confusion_matrix, match, paired, threshold_curves
from detection.curves import draw_ap_by_size, draw_confusion, draw_pr_curves, draw_recall_by_size
from detection.detections import Detections
from detection.metrics import LIMITS, CocoMetric
from detection.size_recall import recall_by_size, write_class_table
from detection.task import DetectionTask
from engine.task import TaskSpec
from vision.drawing import contact_sheet, draw_boxes, save_png
from vision.images import read_image
from vision.record import Dataset, Record

SHEET_IMAGES = 8
WORST_IMAGES = 3
"""So many places on the sheet are for the images with the most errors."""
TILE_SIDE = 480
"""Longest side, in pixels, of an image on the sheet."""
GAP_PX = 4
DPI = 110


@dataclass(frozen=True, slots=True)
class Reviewed:
    """One image with its detections above the threshold, and how they meet its objects."""

    record: Record
    detections: Detections
    matches: Matches

    @property
    def num_errors(self) -> int:
        """Wrong classes, false detections and missed objects."""
        return self.matches.count_errors(self.record, self.detections)


def report_evaluation(
    spec: TaskSpec, classes: tuple[str, ...], split: str, predictions_file: Path, folder: Path
) -> list[Path]:
    """Draw the report of an evaluation that left its predictions in a file (`CocoMetric.to_json`)."""
    task = DetectionTask(spec, classes)
    predictions = detections_from_coco(json.loads(predictions_file.read_text()))
    return draw_report(task.dataset(split), predictions, folder, task.settings.max_detections)


def draw_report(
    dataset: Dataset, predictions: list[Detections], folder: Path, max_detections: int = LIMITS[-1]
) -> list[Path]:
    """Draw all pictures of an evaluation into `folder` (made if missing) and return their paths.

    `pr_curves.png`, `confusion_matrix.png`, `ap_by_size.png`, `recall_by_size.png`, where the split has images
    `predictions.png`, and `classes.csv`. Of each image and class the best `max_detections` count.
    """
    folder.mkdir(parents=True, exist_ok=True)
    metric = CocoMetric(dataset, max_detections)
    metric.update(predictions)
    thresholds = threshold_curves(dataset, predictions)
    matrix = confusion_matrix(dataset, predictions, thresholds.best)
    recall = recall_by_size(dataset, predictions, thresholds.best)
    figures = {
        "pr_curves.png": draw_pr_curves(metric, thresholds),
        "confusion_matrix.png": draw_confusion(matrix, dataset, thresholds.best),
        "ap_by_size.png": draw_ap_by_size(dataset, metric.result()),
        "recall_by_size.png": draw_recall_by_size(dataset, recall, thresholds.best),
    }
    paths = []
    for name, figure in figures.items():
        figure.savefig(folder / name, dpi=DPI)
        paths.append(folder / name)
    if dataset.records:
        save_png(folder / "predictions.png", prediction_sheet(dataset, predictions, thresholds.best))
        paths.append(folder / "predictions.png")
    write_class_table(folder / "classes.csv", dataset, recall, metric.result())
    return [*paths, folder / "classes.csv"]


def prediction_sheet(dataset: Dataset, predictions: Sequence[Detections], score_threshold: float) -> np.ndarray:
    """Draw some images twice each, ground truth on the left and detections on the right.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    reviewed = []
    for record, detections in paired(dataset, predictions):
        kept = above(detections, score_threshold)
        reviewed.append(Reviewed(record, kept, match(record, kept)))
    chosen = choose(reviewed, SHEET_IMAGES)
    tiles = [_side_by_side(item, dataset.classes) for item in chosen]
    return contact_sheet(tiles, min(2, len(tiles)), [_caption(item, score_threshold) for item in chosen])


def choose(reviewed: Sequence[Reviewed], count: int) -> list[Reviewed]:
    """Choose images with a spread: those with the most errors, then evenly down to those with the fewest.

    Among equally many errors the image with more objects comes first, then the lower sample id.
    """
    ranked = sorted(reviewed, key=lambda item: (-item.num_errors, -len(item.record.boxes), item.record.sample_id))
    if len(ranked) <= count:
        return ranked
    rest = np.linspace(WORST_IMAGES, len(ranked) - 1, count - WORST_IMAGES).round().astype(int)
    return ranked[:WORST_IMAGES] + [ranked[position] for position in rest]


def _side_by_side(item: Reviewed, classes: tuple[str, ...]) -> np.ndarray:
    image, scale = _fit(read_image(item.record.path))
    found = item.detections
    left = draw_boxes(image, item.record.boxes * scale, item.record.labels, classes)
    right = draw_boxes(image, found.boxes * scale, found.labels, classes, found.scores)
    gap = np.full((image.shape[0], GAP_PX, 3), 255, np.uint8)
    return np.concatenate([left, gap, right], axis=1)


def _fit(image: np.ndarray) -> tuple[np.ndarray, float]:
    scale = TILE_SIDE / max(image.shape[:2])
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR), scale


def _caption(item: Reviewed, score_threshold: float) -> str:
    pairs, count = item.matches.pairs, len(item.record.boxes)
    wrong = int((item.detections.labels[pairs[:, 0]] != item.record.labels[pairs[:, 1]]).sum())
    parts = {
        "correct": len(pairs) - wrong,
        "wrong class": wrong,
        "missed": len(item.matches.missed_objects),
        "false": len(item.matches.false_detections),
    }
    verdict = ", ".join(f"{number} {name}" for name, number in parts.items() if number) or "nothing"
    objects = f"{count} object{'' if count == 1 else 's'}"
    return f"{item.record.name}: {objects} (left); found at score >= {score_threshold:.2f}: {verdict}"
