"""Images per second inside the orchestrator on Ray Train against a bare DDP script under torchrun, same steps.

python -m benchmarks.overhead [--json] [--repeats 5] [--seconds 18] [--only CASE:WORKERS]

Both sides train the same detector on the embedded data with one thread per worker. Both are started, then they take
turns of a few seconds: while one runs, all processes of the other are frozen. `small` is a model of a few milliseconds
a step, where `extra_ms` is what a step of ours costs.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.report import median, show
from benchmarks.turns import Side, alternate
from engine.job import STOP_FILE, TrainJob
from engine.journal import JOURNAL_FILE
from engine.settings import CheckpointSettings, FailureSettings, LoopSettings, ResourceSettings
from engine.task import TaskSpec
from engine.threads import apply_thread_environment, thread_environment, usable_cpus
from foundation.errors import Interrupted
from orchestrator.cluster import Cluster
from orchestrator.execution.conduct import conduct

DATA = {"format": "scenes", "num_images": 200}
CASES: dict[str, dict[str, Any]] = {
    "detector": {"settings": {"model": {"name": "yolo"}}, "batch_size": 8, "warmup": 50},
    "small": {
        "settings": {"model": {"name": "yolo", "size": "pico"}, "image_size": [64, 64], "augment": {"preset": "none"}},
        "batch_size": 2,
        "warmup": 200,
    },
}
ROWS = (("detector", "1"), ("detector", "2"), ("small", "1"))
LR = 1e-3
LOG_EVERY_STEPS = 10
TURN_S = 6.0


def start_bare(case: dict[str, Any], workers: int, folder: Path) -> Side:
    """Train under torchrun."""
    journal = folder / "bare.jsonl"
    request = {**case, "data": DATA, "lr": LR, "log": str(journal), "log_every_steps": LOG_EVERY_STEPS}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={workers}"]
    command += ["-m", "benchmarks.bare_ddp", json.dumps(request)]
    return Side("the bare script", command, {**os.environ, **thread_environment(1)}, journal)


def start_ours(name: str, workers: int, folder: Path) -> Side:
    """Train on Ray Train with logging on, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.overhead", "--ours", str(folder), "--only", f"{name}:{workers}"]
    return Side("the orchestrator", command, dict(os.environ), folder / JOURNAL_FILE)


def train_ours(case: dict[str, Any], workers: int, folder: Path) -> None:
    """Train until the file that asks to stop is there."""
    job = TrainJob(
        spec=TaskSpec("detection", case["settings"], DATA, epochs=10_000),
        loop=LoopSettings.model_validate(
            {
                "epochs": 10_000,
                "batch_size": case["batch_size"],
                "optimizer": {"name": "adamw", "lr": LR},
                "eval_every": 10_000,
                "log_every_steps": LOG_EVERY_STEPS,
            }
        ),
        checkpoint=CheckpointSettings(every_epochs=10_000),
        folder=folder,
        train_split="train",
        val_split=None,
        main_metric="map",
    )
    cluster = Cluster(folder / "log")
    try:
        resources = ResourceSettings(num_workers=workers, use_gpu=False)
        conduct("train", job, resources, FailureSettings(), cluster, "bench", lambda _record: None)
    except Interrupted:
        pass
    finally:
        cluster.close(keep_logs=False)


def compare(name: str, workers: int, seconds: float) -> tuple[float, float]:
    """Start both sides, let them take turns, and return seconds per step: (bare, ours)."""
    case = CASES[name]
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "ours"
        bare = start_bare(case, workers, Path(parent))
        sides = [bare]
        try:
            bare.wait_for(case["warmup"])
            ours = start_ours(name, workers, folder)
            sides.append(ours)
            ours.wait_for(case["warmup"])
            alternate(sides, seconds, TURN_S)
            found = (bare.step_s(), ours.step_s())
            (folder / STOP_FILE).touch()
            ours.go_on()
            ours.wait()
            return found
        finally:
            for side in sides:
                side.end()


def measure(name: str, workers: int, repeats: int, seconds: float) -> dict[str, Any]:
    """Start both sides again and again; return medians and the ratio start by start."""
    pairs = [compare(name, workers, seconds) for _ in range(repeats)]
    steps_per_epoch = -(-DATA["num_images"] // CASES[name]["batch_size"])
    images = DATA["num_images"] / steps_per_epoch
    ratios = [bare / ours for bare, ours in pairs]
    return {
        "case": name,
        "workers": workers,
        "ratio": median(ratios),
        "bare_images_per_s": median([images / bare for bare, _ in pairs]),
        "images_per_s": median([images / ours for _, ours in pairs]),
        "bare_step_ms": median([1000 * bare for bare, _ in pairs]),
        "extra_ms": median([1000 * (ours - bare) for bare, ours in pairs]),
        "ratios": " ".join(f"{ratio:.3f}" for ratio in ratios),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--repeats", type=int, default=5, help="starts of both sides")
    parser.add_argument("--seconds", type=float, default=18, help="for each side and start")
    parser.add_argument("--only", help="one row: CASE:WORKERS, such as detector:2")
    parser.add_argument("--ours", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    rows = [tuple(arguments.only.split(":"))] if arguments.only else ROWS
    if arguments.ours:
        apply_thread_environment(usable_cpus())
        train_ours(CASES[rows[0][0]], int(rows[0][1]), arguments.ours)
        return
    show([measure(name, int(workers), arguments.repeats, arguments.seconds) for name, workers in rows], arguments.json)


if __name__ == "__main__":
    main()
