"""What looking in tiles finds that one look at the whole frame misses: hundreds of nuclei in large microscope frames.

python -m benchmarks.sliced [--json] [--data ../shared/data/nuclei-dsb2018] [--folder DIR] [--picture FILE.jpg]

Trains yolo nano from scratch on the smaller images, whole and in tiles, and evaluates the same bundle on the others,
most of them larger than the model's input: as a whole, as a whole at twice the size, in tiles joined in each way, and
in tiles of half the side, which the model sees enlarged. AP is COCO's over boxes, with up to 300 detections an image;
`ap_small_large_frames` is that of the frames alone that are larger than all trained on; `recall` and `precision` are
those at the threshold of the best F1. A training that has ended in `--folder` is not repeated.
"""

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from benchmarks.nuclei_data import LARGE_PX, NUCLEI, write_nuclei
from benchmarks.report import show
from detection.coco_results import detections_from_coco
from detection.confusion import above, match, paired, threshold_curves
from detection.detections import Detections
from detection.metrics import CocoMetric
from detection.task import DetectionTask
from engine.evaluation_job import PREDICTIONS_FILE, evaluate_bundle
from engine.job import EvaluateJob, TrainJob
from engine.journal import JOURNAL_FILE, read_journal
from engine.loop import train
from engine.runtimes import InProcessRuntime
from engine.settings import CheckpointSettings, LoopSettings
from engine.task import TaskSpec
from vision.drawing import side_by_side
from vision.images import read_image
from vision.record import Dataset, Record

TILE = 256
MAX_DETECTIONS = 300
EPOCHS = 160
TILING: dict[str, Any] = {"tile_size": [TILE, TILE], "overlap": 0.2}
SETTINGS: dict[str, Any] = {
    "model": {"name": "yolo", "size": "nano"},
    "image_size": [TILE, TILE],
    "max_detections": MAX_DETECTIONS,
    "tiling": {**TILING, "train": True},
    "augment": {
        "preset": "default",
        "flip_vertical": 0.5,
        "transpose": 0.5,
        "mosaic_scale": [0.5, 1.2],
        "transforms": [{"RandomGamma": {"gamma_limit": [50, 200], "p": 0.5}}],
    },
}
LOOP: dict[str, Any] = {
    "epochs": EPOCHS,
    "batch_size": 8,
    "optimizer": {"name": "adamw", "lr": 3.0e-3, "weight_decay": 0.03},
    "schedule": {"name": "linear", "warmup_steps": 50},
    "ema": 0.998,
    "eval_every": EPOCHS,
}
LOOKS: dict[str, dict[str, Any]] = {
    "whole": {"tiling": None},
    "whole, twice the size": {"tiling": None, "test_time": {"scales": [2.0]}},
    "tiles, nms": {"tiling": {**TILING, "merge": "nms"}},
    "smaller tiles, nms": {"tiling": {**TILING, "tile_size": [TILE // 2, TILE // 2], "merge": "nms"}},
    "tiles, nmm": {"tiling": {**TILING, "merge": "nmm"}},
    "tiles, wbf": {"tiling": {**TILING, "merge": "wbf"}},
    "tiles alone, nms": {"tiling": {**TILING, "merge": "nms", "full_frame": False}},
}
"""What takes the place of the model's own settings, as in an evaluate stage."""
SHOWN = ("whole", "tiles, nms")
FIGURES = {"ap_small": "map_small", "ap": "map", "ap_50": "map_50"}
DIGITS = 3
FOUND, MISSED, FALSE = (40, 200, 80), (255, 60, 60), (255, 190, 40)
ZOOM, PICTURE_WIDTH, JPEG_QUALITY = 2, 1600, 80


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--data", type=Path, default=NUCLEI)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where the training is kept; default: a temporary folder")
    parser.add_argument("--picture", type=Path, help="draw one large frame, seen as a whole and in tiles, as JPEG")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = (arguments.folder or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        data = write_nuclei(arguments.data, folder)
        train_once(data, arguments.seed, folder / "training")
        dataset = DetectionTask(TaskSpec("detection", SETTINGS, data)).dataset("test")
        table, found = [], {}
        for look, overrides in LOOKS.items():
            metrics, found[look] = evaluate(data, overrides, folder)
            table.append(row(look, dataset, metrics, found[look]))
        if arguments.picture:
            save_jpeg(arguments.picture, frame_picture(dataset, {look: found[look] for look in SHOWN}))
        journal = list(read_journal(folder / "training" / JOURNAL_FILE))
    cpu_s = next(round(record["train_cpu_s"]) for record in reversed(journal) if record["kind"] == "epoch")
    show(table, arguments.json, train_cpu_s=cpu_s, test_images=len(dataset.records))


def train_once(data: dict[str, Any], seed: int, folder: Path) -> None:
    """Train in this process, unless that has been done in `folder`."""
    if (folder / "bundle").is_dir():
        return
    job = TrainJob(
        spec=TaskSpec("detection", SETTINGS, data, seed, epochs=EPOCHS),
        loop=LoopSettings.model_validate(LOOP),
        checkpoint=CheckpointSettings(every_epochs=EPOCHS),
        folder=folder,
        train_split="train",
        val_split="test",
        main_metric="map",
    )
    train(job, InProcessRuntime(use_gpu=False))


def evaluate(
    data: dict[str, Any], overrides: dict[str, Any], folder: Path
) -> tuple[dict[str, float], list[Detections]]:
    """Metrics and detections of the bundle on the test split, looked at in one way."""
    bundle, into = folder / "training" / "bundle", folder / "evaluation"
    job = EvaluateJob(bundle, data, "test", 8, "fp32", into, overrides)
    metrics = evaluate_bundle(job, InProcessRuntime(use_gpu=False))["metrics"]
    return metrics, detections_from_coco(json.loads((into / PREDICTIONS_FILE).read_text()))


def row(look: str, dataset: Dataset, metrics: dict[str, float], found: list[Detections]) -> dict[str, Any]:
    """One line of the table."""
    curves = threshold_curves(dataset, found)
    best = int(curves.f1.argmax())
    return {
        "look": look,
        "ap_small_large_frames": round(ap_small_of_large_frames(dataset, found), DIGITS),
        **{name: round(metrics[key], DIGITS) for name, key in FIGURES.items()},
        "recall": round(float(curves.recall[best]), DIGITS),
        "precision": round(float(curves.precision[best]), DIGITS),
        "threshold": round(float(curves.thresholds[best]), 2),
    }


def ap_small_of_large_frames(dataset: Dataset, found: list[Detections]) -> float:
    """AP of small objects in the frames that are larger than any that was trained on."""
    large = tuple(record for record in dataset.records if max(record.image_size) > LARGE_PX)
    metric, ids = CocoMetric(replace(dataset, records=large), MAX_DETECTIONS), {record.sample_id for record in large}
    metric.update([detections for detections in found if detections.sample_id in ids])
    return metric.compute()["map_small"]


def frame_picture(dataset: Dataset, looks: dict[str, list[Detections]]) -> np.ndarray:
    """The test frame whose result differs most between two looks: found, missed and false boxes side by side."""
    results = [
        [(record, match(record, above(found, best)), above(found, best)) for record, found in paired(dataset, each)]
        for each in looks.values()
        for best in [threshold_curves(dataset, each).best]
    ]
    gains = [len(one[1].missed_objects) - len(other[1].missed_objects) for one, other in zip(*results, strict=True)]
    chosen = int(np.argmax(gains))
    pictures, captions = [], []
    for look, each in zip(looks, results, strict=True):
        record, matches, found = each[chosen]
        image = _bright(read_image(record.path))
        boxes = [
            (found.boxes[matches.false_detections], FALSE),
            (record.boxes[matches.missed_objects], MISSED),
            (found.boxes[matches.pairs[:, 0]], FOUND),
        ]
        pictures.append(_outlined(image, boxes))
        captions.append(_caption(look, record, len(matches.pairs), len(matches.false_detections)))
    return side_by_side(pictures, captions)


def _caption(look: str, record: Record, num_found: int, num_false: int) -> str:
    return f"{look}: {num_found} of {len(record.boxes)} found (green), others missed (red), {num_false} false (yellow)"


def _bright(image: np.ndarray) -> np.ndarray:
    """Stretch to the full range for the eye; the model saw it as it is."""
    low, high = np.percentile(image, (0.5, 99.8))
    stretched = np.clip((image.astype(np.float32) - low) / max(high - low, 1.0), 0.0, 1.0)
    return np.asarray(255 * stretched, np.uint8)


def _outlined(image: np.ndarray, boxes: list[tuple[np.ndarray, tuple[int, int, int]]]) -> np.ndarray:
    """Draw boxes in the colour of their group, on the enlarged image."""
    canvas = cv2.resize(image, None, fx=ZOOM, fy=ZOOM, interpolation=cv2.INTER_CUBIC)
    for group, colour in boxes:
        for x1, y1, x2, y2 in np.rint(group * ZOOM).astype(int).tolist():
            cv2.rectangle(canvas, (x1, y1), (x2, y2), colour, 2)
    return canvas


def save_jpeg(file: Path, image: np.ndarray) -> None:
    """Write (H, W, 3) uint8 RGB, at most `PICTURE_WIDTH` wide."""
    factor = min(1.0, PICTURE_WIDTH / image.shape[1])
    shrunk = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    _, data = cv2.imencode(".jpg", cv2.cvtColor(shrunk, cv2.COLOR_RGB2BGR), options)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data.tobytes())


if __name__ == "__main__":
    main()
