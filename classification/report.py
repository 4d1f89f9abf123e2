"""The pictures of one evaluation: confusion matrix, reliability, accuracy per class, and a sheet of errors."""

import json
from pathlib import Path

import cv2
import numpy as np

from classification.calibration import reliability
from classification.charts import draw_classes, draw_confusion, draw_reliability
from classification.metrics import ClassificationMetric, confusion_matrix
from classification.predictions import Prediction
from classification.task import ClassificationTask
from engine.task import TaskSpec
from vision.drawing import contact_sheet, save_png
from vision.images import read_shown
from vision.record import LabelledDataset, LabelledImage

SHEET_IMAGES = 24
SHEET_COLUMNS = 6
TILE_SIDE = 176
"""Longest side, in pixels, of an image on the sheet; smaller ones are enlarged to it."""
DPI = 110


def report_evaluation(
    spec: TaskSpec, classes: tuple[str, ...], split: str, predictions_file: Path, folder: Path
) -> list[Path]:
    """Draw the report of an evaluation that left its predictions in a file (`ClassificationMetric.to_json`)."""
    metric = ClassificationTask(spec, classes).build_metric(split)
    rows = json.loads(predictions_file.read_text())
    metric.update([Prediction(row["sample_id"], np.array(row["probabilities"], np.float32)) for row in rows])
    return draw_report(metric, folder)


def draw_report(metric: ClassificationMetric, folder: Path) -> list[Path]:
    """Draw all pictures of an evaluation into `folder` (made if missing) and return their paths.

    `confusion_matrix.png`, `reliability.png`, `classes.png` and `errors.png`; none where nothing was predicted.
    """
    probabilities, labels = metric.answers()
    if not len(labels):
        return []
    folder.mkdir(parents=True, exist_ok=True)
    classes, guesses = metric.dataset.classes, probabilities.argmax(axis=1)
    confusion = confusion_matrix(labels, guesses, len(classes))
    figures = {
        "confusion_matrix.png": draw_confusion(confusion, classes),
        "reliability.png": draw_reliability(reliability(probabilities.max(axis=1), guesses == labels)),
        "classes.png": draw_classes(confusion, classes, metric.group_of),
    }
    paths = []
    for name, figure in figures.items():
        figure.savefig(folder / name, dpi=DPI)
        paths.append(folder / name)
    save_png(folder / "errors.png", error_sheet(metric.dataset, metric.predictions()))
    return [*paths, folder / "errors.png"]


def error_sheet(dataset: LabelledDataset, predictions: list[Prediction]) -> np.ndarray:
    """Draw the images that the model was wrong about and surest of, with its answer and the truth.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    records = {record.sample_id: record for record in dataset.records}
    chosen = choose(predictions, {sample_id: record.label for sample_id, record in records.items()}, SHEET_IMAGES)
    tiles = [_tile(records[prediction.sample_id]) for prediction in chosen]
    captions = [_caption(prediction, records[prediction.sample_id], dataset.classes) for prediction in chosen]
    return contact_sheet(tiles, min(SHEET_COLUMNS, len(tiles)), captions)


def choose(predictions: list[Prediction], truth: dict[int, int], count: int) -> list[Prediction]:
    """Choose the wrong answers, the most confident first, then the right ones, the least confident first.

    Among equally confident ones the lower sample id comes first.
    """

    def order(prediction: Prediction) -> tuple[bool, float, int]:
        is_right = int(prediction.ranking[0]) == truth[prediction.sample_id]
        confidence = float(prediction.scores[0])
        return is_right, confidence if is_right else -confidence, prediction.sample_id

    return sorted(predictions, key=order)[:count]


def _tile(record: LabelledImage) -> np.ndarray:
    image = read_shown(record)
    scale = TILE_SIDE / max(image.shape[:2])
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)


def _caption(prediction: Prediction, record: LabelledImage, classes: tuple[str, ...]) -> str:
    answer = int(prediction.ranking[0])
    verdict = "right" if answer == record.label else f"is {classes[record.label]}"
    return f"{classes[answer]} {prediction.scores[0]:.2f}, {verdict}"
