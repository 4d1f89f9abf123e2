"""Images per second and accuracy after equal epochs, against a plain torchvision-style loop and Lightning.

python -m benchmarks.classification [--json] [--data ../shared/data/cifar10-small] [--epochs 8] [--repeats 3]

All sides train the same quarter-width ResNet-18 on the same photographs with the same optimizer, batch, schedule and
precision, in one process with one thread; the sides alternate. The first epoch of each run warms up and is not timed,
evaluation is not either. `ratio_to_plain` is by the clock, `cpu_ratio_to_plain` by CPU time, which holds on a busy
machine. The peers read files as their examples do; ours is the loop on the task, logging on.
"""

import argparse
import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.classification_recipe import Recipe
from benchmarks.peer_environment import ensure_layer
from benchmarks.report import median, show
from engine.threads import thread_environment

DEFAULT_DATA = Path(__file__).parents[2] / "shared" / "data" / "cifar10-small"
CHECKOUT = Path(__file__).parents[1]
LIGHTNING = "lightning==2.6.6"
THREADS = 1


def run_ours(recipe: Recipe) -> dict[str, Any]:
    """Run the pipeline's train stage in a process of its own."""
    return _run([sys.executable, "-m", "benchmarks.classification_ours", json.dumps(asdict(recipe))])


def run_plain(recipe: Recipe) -> dict[str, Any]:
    """Run the plain loop."""
    return _run([sys.executable, "-m", "benchmarks.classification_plain", json.dumps(asdict(recipe))])


def run_lightning(python: Path, recipe: Recipe) -> dict[str, Any]:
    """Run Lightning in its own environment."""
    return _run([str(python), "-m", "benchmarks.classification_lightning", json.dumps(asdict(recipe))])


def _run(command: list[str]) -> dict[str, Any]:
    environment = {**os.environ, **thread_environment(THREADS)}
    done = subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command[:3])} ended with exit code {done.returncode}:\n{done.stderr[-4000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def steps_per(seconds: str, answer: dict[str, Any]) -> float:
    """Optimizer steps per second of `epoch_s` or `epoch_cpu_s`, without the first epoch."""
    return float(answer["steps_per_epoch"] / mean(answer[seconds][1:]))


def summarise(answers: dict[str, list[dict[str, Any]]], batch_size: int) -> list[dict[str, Any]]:
    """One row per side: medians, and its speed against the plain loop's, pair by pair."""
    rows = []
    for side, runs in answers.items():
        pairs = list(zip(runs, answers["plain loop"], strict=True))
        ratios = [steps_per("epoch_s", run) / steps_per("epoch_s", plain) for run, plain in pairs]
        cpu_ratios = [steps_per("epoch_cpu_s", run) / steps_per("epoch_cpu_s", plain) for run, plain in pairs]
        speed = median([steps_per("epoch_s", run) for run in runs])
        rows.append(
            {
                "side": side,
                "steps_per_s": speed,
                "images_per_s": round(speed * batch_size, 1),
                "ratio_to_plain": median(ratios),
                "ratios": " ".join(f"{ratio:.3f}" for ratio in ratios),
                "cpu_ratio_to_plain": median(cpu_ratios),
                "top1": median([run["top1"] for run in runs]),
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA, help="folder with train/CLASS and test/CLASS")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    recipe = Recipe(
        data=str(arguments.data.resolve()),
        model="resnet18",
        width=0.25,
        batch_size=60,  # divides 3,000: nobody has a short batch
        epochs=arguments.epochs,
        lr=0.05,
        momentum=0.9,
        weight_decay=5e-4,
    )
    python = ensure_layer(LIGHTNING)
    answers: dict[str, list[dict[str, Any]]] = {"orchestrator": [], "plain loop": [], "Lightning": []}
    for _ in range(arguments.repeats):
        answers["orchestrator"].append(run_ours(recipe))
        answers["plain loop"].append(run_plain(recipe))
        answers["Lightning"].append(run_lightning(python, recipe))
    rows = summarise(answers, recipe.batch_size)
    show(rows, arguments.json, recipe=asdict(recipe) | {"data": arguments.data.name}, lightning=LIGHTNING)


if __name__ == "__main__":
    main()
