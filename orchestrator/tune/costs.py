"""What a finished trial costs: milliseconds for one image, number of weights, seconds of training."""

import time
from pathlib import Path

import numpy as np
import torch

from deploy.predictor import load_predictor
from engine.bundle import load_manifest
from engine.distributed import default_device
from engine.journal import JOURNAL_FILE, read_journal
from orchestrator.tune.goals import Goals
from orchestrator.tune.settings import COSTS

WARMUP, TIMED = 3, 20
"""Predictions before timing, and those of which the quickest counts."""
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
    """Time of one prediction on one image of the size that the model was trained on.

    Of some the quickest, and with one thread on a CPU that thread's own time: other trials share the machine, and what
    they take would say nothing of the model.
    """
    manifest = load_manifest(bundle)
    device = default_device("auto")
    predictor = load_predictor(bundle, str(device))
    clock = time.thread_time if device.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
    height, width = manifest.settings["image_size"]
    image = np.full((height, width, 3), 127, np.uint8)
    times = []
    for _ in range(WARMUP + TIMED):
        started = clock()
        predictor.predict([image])
        times.append(clock() - started)
    return min(times[WARMUP:]) * 1e3


def _parameters(folder: Path) -> float:
    starts = [record for record in read_journal(folder / JOURNAL_FILE) if record["kind"] == "start"]
    return float(starts[-1]["parameters"])


def _train_s(folder: Path) -> float:
    return float([record for record in read_journal(folder / JOURNAL_FILE) if record["kind"] == "end"][-1]["train_s"])
