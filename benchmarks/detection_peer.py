"""Training speed and mAP on BCCD against the smallest model of Ultralytics, both from scratch at 320 px.

python -m benchmarks.detection_peer [--json] [--data ../shared/data/bccd] [--peer-epochs 30] [--our-epochs 40]

Both train on the 292 images of `trainval` and are scored on the 72 of `test` by one COCO evaluator. Ours is
`orchestrator run` on a pipeline of two stages, in process; the peer runs in an environment of its own, made on first
use. Each side has one thread, which gives both the most images per CPU-second, and its own best precision.

`train_cpu_s` is the CPU time of the epochs alone: loading, augmentation, forward, backward, optimizer, EMA.
`process_cpu_s` is that of the whole process with its children, from the start of Python to the predictions.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peer_data import write_yolo_data
from benchmarks.peer_environment import ensure_environment
from benchmarks.report import show
from detection.coco_results import detections_from_coco
from detection.detections import Detections
from detection.metrics import CocoMetric
from engine.journal import JOURNAL_FILE, read_journal
from engine.threads import thread_environment
from vision.formats import read_dataset
from vision.record import Dataset
from vision.settings import VocData

IMAGE_SIZE = 320
THREADS = 1
GAIN_GOAL, SPEED_GOAL = 0.15, 2.0
DEFAULT_DATA = Path(__file__).parents[2] / "shared" / "data" / "bccd"
PEER_OFFLINE = {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false"}
OUR_STAGE: dict[str, Any] = {
    "kind": "train",
    "task": "detection",
    "data": "bccd",
    "train_split": "trainval",
    "val_split": None,
    "model": {"name": "yolo", "size": "nano"},
    "image_size": [IMAGE_SIZE, IMAGE_SIZE],
    "augment": {"flip_vertical": 0.5, "transpose": 0.5},
    "resources": {"num_workers": 0, "use_gpu": False},
}
OUR_LOOP: dict[str, Any] = {
    "batch_size": 8,
    "optimizer": {"name": "adamw", "lr": 3.0e-3, "weight_decay": 0.03},
    "schedule": {"name": "linear", "warmup_epochs": 1},
    "ema": 0.998,
}


@dataclass(frozen=True)
class Splits:
    """The images of both sides, read once."""

    data: VocData
    train: Dataset
    test: Dataset


def read_splits(root: Path) -> Splits:
    """Read BCCD; its two boxes without area are left out, for both sides."""
    train = read_dataset(VocData(root=root, on_error="quarantine"), "trainval")
    data = VocData(root=root, on_error="quarantine", classes=train.classes)
    return Splits(data, read_dataset(data, "trainval"), read_dataset(data, "test"))


def run_ours(splits: Splits, epochs: int, folder: Path) -> dict[str, Any]:
    """Run the pipeline `train`, `evaluate` in a process of its own and score its predictions."""
    pipeline = {
        "name": "bccd",
        "data": {"bccd": splits.data.model_dump(mode="json", exclude_none=True)},
        "stages": {
            "cells": {**OUR_STAGE, "loop": {**OUR_LOOP, "epochs": epochs}},
            "test": {"kind": "evaluate", "model": "stage:cells", "data": "bccd", "split": "test"},
        },
        "storage": str(folder / "runs"),
    }
    file = folder / "pipeline.yaml"
    file.write_text(json.dumps(pipeline))  # JSON is YAML
    output, process_cpu_s = _run([sys.executable, "-m", "orchestrator", "run", str(file), "--json"], folder)
    outputs = {name: stage["outputs"] for name, stage in json.loads(output)["stages"].items()}
    predictions = Path(outputs["test"]["predictions"])
    journal = Path(outputs["cells"]["bundle"]).parent / JOURNAL_FILE
    start = next(record for record in read_journal(journal) if record["kind"] == "start")
    return {
        "side": f"orchestrator, {OUR_STAGE['model']['name']} {OUR_STAGE['model']['size']}",
        **_figures(splits, epochs, {**start, **outputs["cells"], "process_cpu_s": process_cpu_s}),
        **_score(splits.test, detections_from_coco(json.loads(predictions.read_text()))),
        "precision": start["precision"],
        "threads": THREADS,
        "batch_size": OUR_LOOP["batch_size"],
    }


def run_peer(python: Path, splits: Splits, epochs: int, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Train and predict with the peer's own interpreter and score its predictions; also return what it says itself."""
    request = {
        "data": str(write_yolo_data(splits.train, splits.test, folder / "data")),
        "images": [str(folder / "data" / "images" / "test" / record.path.name) for record in splits.test.records],
        "epochs": epochs,
        "image_size": IMAGE_SIZE,
        "threads": THREADS,
        "folder": str(folder),
        "answer": str(folder / "answer.json"),
    }
    (folder / "request.json").write_text(json.dumps(request))
    worker = Path(__file__).with_name("peer_worker.py")
    environment = {**PEER_OFFLINE, "YOLO_CONFIG_DIR": str(folder)}
    _, process_cpu_s = _run([str(python), str(worker), str(folder / "request.json")], folder, environment)
    answer = json.loads((folder / "answer.json").read_text())
    assert answer["train_images"] == len(splits.train.records), "the peer left images out"
    row = {
        "side": "Ultralytics, yolo11n",
        **_figures(splits, epochs, {**answer, "process_cpu_s": process_cpu_s}),
        **_score(splits.test, _peer_detections(answer["detections"], splits.test)),
        **{name: answer[name] for name in ("precision", "threads", "batch_size")},
    }
    return row, {name: answer[name] for name in ("versions", "own_metrics")}


def _run(command: list[str], folder: Path, environment: Mapping[str, str] = {}) -> tuple[str, float]:
    """Run a program in `folder` to its end; returns its standard output and the CPU time of it and its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **thread_environment(THREADS), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        said = done.stdout[-2000:] + done.stderr[-4000:]
        raise SystemExit(f"{' '.join(command)} ended with exit code {done.returncode}:\n{said}")
    return done.stdout, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _figures(splits: Splits, epochs: int, measured: dict[str, Any]) -> dict[str, Any]:
    images = epochs * len(splits.train.records)
    return {
        "epochs": epochs,
        "parameters": measured["parameters"],
        "train_cpu_s": round(measured["train_cpu_s"], 1),
        "process_cpu_s": round(measured["process_cpu_s"], 1),
        "train_s": round(measured["train_s"], 1),
        "images_per_cpu_s": round(images / measured["train_cpu_s"], 2),
    }


def _peer_detections(by_name: dict[str, list[list[float]]], dataset: Dataset) -> list[Detections]:
    """Turn the peer's rows (x1, y1, x2, y2, score, class) into our detections."""
    detections = []
    for record in dataset.records:
        rows = np.array(by_name[record.path.stem], np.float32).reshape(-1, 6)
        labels = rows[:, 5].astype(np.int64)
        detections.append(Detections(record.sample_id, rows[:, :4], rows[:, 4], labels))
    return detections


def _score(dataset: Dataset, detections: list[Detections]) -> dict[str, float]:
    metric = CocoMetric(dataset)
    metric.update(detections)
    values = metric.compute()
    shown = ["map_50", "map", *(f"ap_50/{name}" for name in dataset.classes)]
    return {name: round(values[name], 4) for name in shown}


def compare(ours: dict[str, Any], peer: dict[str, Any]) -> dict[str, Any]:
    """Hold both rows against the goals."""
    gain = ours["map_50"] - peer["map_50"]
    speed = ours["images_per_cpu_s"] / peer["images_per_cpu_s"]
    train_ratio = ours["train_cpu_s"] / peer["train_cpu_s"]
    return {
        "map_50_gain": round(gain, 4),
        "map_gain": round(ours["map"] - peer["map"], 4),
        "images_per_cpu_s_ratio": round(speed, 3),
        "train_cpu_ratio": round(train_ratio, 3),
        "process_cpu_ratio": round(ours["process_cpu_s"] / peer["process_cpu_s"], 3),
        "goals": {
            "no more training CPU time than the peer": train_ratio <= 1,
            f"mAP50 at least {GAIN_GOAL} higher": gain >= GAIN_GOAL,
            f"at least {SPEED_GOAL} times its images per CPU-second": speed >= SPEED_GOAL,
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA, help="folder of BCCD in Pascal VOC form")
    parser.add_argument("--peer-epochs", type=int, default=30)
    parser.add_argument("--our-epochs", type=int, default=40)
    arguments = parser.parse_args()
    splits = read_splits(arguments.data.resolve())
    python = ensure_environment()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        (Path(temporary) / "ours").mkdir()
        (Path(temporary) / "peer").mkdir()
        ours = run_ours(splits, arguments.our_epochs, Path(temporary) / "ours")
        peer, said = run_peer(python, splits, arguments.peer_epochs, Path(temporary) / "peer")
    seconds = round(time.perf_counter() - started, 1)
    comparison = compare(ours, peer)
    show([ours, peer], arguments.json, comparison=comparison, peer=said, benchmark_s=seconds)


if __name__ == "__main__":
    main()
