"""What a finished trial costs: milliseconds for one image, number of weights, seconds of training."""

import time
from pathlib import Path
from statistics import median

import numpy as np

from deploy.predictor import load_predictor
from engine.bundle import load_manifest
from engine.distributed import default_device
from engine.journal import JOURNAL_FILE, read_journal
from orchestrator.tune.goals import Goals
from orchestrator.tune.settings import COSTS

WARMUP, TIMED = 3, 15
"""Predictions before timing, and those of which the median counts."""
BUNDLE = "bundle"


def costs_of(goals: Goals, values: list[float] | None, folder: Path) -> list[float] | None:
    """Fill the costs in among a trial's values; the others stay.

    Args:
        values: one for each of the goals, NaN where an evaluation could not give it.
        folder: of the trial.
    """
    if values is None:
        return None
    measure = {"latency_ms": lambda: _latency_ms(folder / BUNDLE), "parameters": lambda: _parameters(folder)}
    measure["train_s"] = lambda: _train_s(folder)
    return [measure[name]() if name in COSTS else value for name, value in zip(goals.names, values, strict=True)]


def _latency_ms(bundle: Path) -> float:
    """Median time of one prediction on one image of the size that the model was trained on."""
    manifest = load_manifest(bundle)
    predictor = load_predictor(bundle, str(default_device("auto")))
    height, width = manifest.settings["image_size"]
    image = np.full((height, width, 3), 127, np.uint8)
    times = []
    for _ in range(WARMUP + TIMED):
        started = time.perf_counter()
        predictor.predict([image])
        times.append(time.perf_counter() - started)
    return median(times[WARMUP:]) * 1e3


def _parameters(folder: Path) -> float:
    starts = [record for record in read_journal(folder / JOURNAL_FILE) if record["kind"] == "start"]
    return float(starts[-1]["parameters"])


def _train_s(folder: Path) -> float:
    return float([record for record in read_journal(folder / JOURNAL_FILE) if record["kind"] == "end"][-1]["train_s"])
