"""Images per second inside the orchestrator on Ray Train against a bare DDP script under torchrun, same steps.

python -m benchmarks.overhead [--json] [--repeats 3]

Both sides train the same detector on the embedded data with one thread per worker, alternating; the first steps of
each run are not timed. `small` is a model of a few milliseconds a step, where `extra_ms` is what a step of ours costs.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.report import median, show
from engine.job import TrainJob
from engine.journal import JOURNAL_FILE, read_journal
from engine.settings import CheckpointSettings, FailureSettings, LoopSettings, ResourceSettings
from engine.task import TaskSpec
from engine.threads import thread_environment
from orchestrator.cluster import Cluster
from orchestrator.execution.conduct import conduct

DATA = {"format": "scenes", "num_images": 200}
CASES: dict[str, dict[str, Any]] = {
    "detector": {"settings": {"model": {"name": "yolo"}}, "batch_size": 8, "steps": 400, "warmup": 100},
    "small": {
        "settings": {"model": {"name": "yolo", "size": "pico"}, "image_size": [64, 64], "augment": {"preset": "none"}},
        "batch_size": 2,
        "steps": 600,
        "warmup": 100,
    },
}
ROWS = (("detector", "1"), ("detector", "2"), ("small", "1"))
LR = 1e-3


def run_bare(case: dict[str, Any], workers: int) -> dict[str, float]:
    """Train under torchrun; return images/s and ms per step."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={workers}"]
    request = json.dumps({**case, "data": DATA, "lr": LR})
    done = subprocess.run(
        [*command, "-m", "benchmarks.bare_ddp", request],
        env={**os.environ, **thread_environment(1)},
        capture_output=True,
        text=True,
        check=True,
    )
    line = next(line for line in done.stdout.splitlines() if line.startswith("{"))
    result: dict[str, float] = json.loads(line)
    return result


def run_ours(case: dict[str, Any], workers: int) -> dict[str, float]:
    """Train on Ray Train with logging on; return images/s and ms per step from the journal's own times."""
    with tempfile.TemporaryDirectory() as folder:
        steps_per_epoch = -(-DATA["num_images"] // case["batch_size"])
        job = TrainJob(
            spec=TaskSpec("detection", case["settings"], DATA, epochs=10_000),
            loop=LoopSettings.model_validate(
                {
                    "epochs": -(-case["steps"] // steps_per_epoch),
                    "batch_size": case["batch_size"],
                    "optimizer": {"name": "adamw", "lr": LR},
                    "eval_every": 10_000,
                }
            ),
            checkpoint=CheckpointSettings(every_epochs=10_000),
            folder=Path(folder) / "stage",
            train_split="train",
            val_split=None,
            main_metric="map",
        )
        resources = ResourceSettings(num_workers=workers, use_gpu=False)
        cluster = Cluster(Path(folder) / "log")
        try:
            conduct("train", job, resources, FailureSettings(), cluster, "bench", lambda _record: None)
        finally:
            cluster.close(keep_logs=False)  # the bare side has the machine to itself again
        return _speed(job.folder / JOURNAL_FILE, case["warmup"], DATA["num_images"] / steps_per_epoch)


def _speed(journal: Path, warmup: int, images_per_step: float) -> dict[str, float]:
    points = [(r["step"], r["time"]) for r in read_journal(journal) if r["kind"] == "step" and r["step"] >= warmup]
    (first, started), (last, ended) = points[0], points[-1]
    step_s = (ended - started) / (last - first)
    return {"images_per_s": images_per_step / step_s, "step_ms": 1000 * step_s}


def measure(name: str, workers: int, repeats: int) -> dict[str, Any]:
    """Alternate the two sides; return medians and the ratio pair by pair."""
    case = CASES[name]
    pairs = []
    for _ in range(repeats):
        pairs.append((run_bare(case, workers), run_ours(case, workers)))
        time.sleep(1)
    ratios = [ours["images_per_s"] / bare["images_per_s"] for bare, ours in pairs]
    return {
        "case": name,
        "workers": workers,
        "ratio": median(ratios),
        "bare_images_per_s": median([bare["images_per_s"] for bare, _ in pairs]),
        "images_per_s": median([ours["images_per_s"] for _, ours in pairs]),
        "bare_step_ms": median([bare["step_ms"] for bare, _ in pairs]),
        "extra_ms": median([ours["step_ms"] - bare["step_ms"] for bare, ours in pairs]),
        "ratios": " ".join(f"{ratio:.3f}" for ratio in ratios),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", help="one row: CASE:WORKERS, such as detector:2")
    arguments = parser.parse_args()
    rows = [tuple(arguments.only.split(":"))] if arguments.only else ROWS
    results = [measure(name, int(workers), arguments.repeats) for name, workers in rows]
    show(results, arguments.json)


if __name__ == "__main__":
    main()
