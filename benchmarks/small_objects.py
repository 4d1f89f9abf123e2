"""What `small_objects` and its parts are worth from scratch: AP by size and of rare classes, at equal steps.

python -m benchmarks.small_objects [--json] [--data bccd scenes] [--recipes plain preset+sampler] [--seeds 0 1 2]

Trains yolo nano with every recipe and seed on BCCD (`trainval`, scored on `test`) and on the embedded scenes (`train`,
scored on `test`), one process of one thread each, as many at once as there are cores. A recipe whose sampler makes the
epochs longer has fewer of them.
Trainings that have ended in `--folder` are not repeated. BCCD_ROOT names the folder of BCCD, as for the pipelines.

`ap_rare` is the mean AP of the rarest third of the classes, at least one. Figures are means over the seeds, `sd` the
standard deviation between them; of recipes but the first, `gain` is the mean over the seeds relative to it.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from benchmarks.detection_peer import DEFAULT_DATA
from benchmarks.report import show
from detection.task import DetectionTask
from engine.job import TrainJob
from engine.journal import JOURNAL_FILE, read_journal
from engine.loop import train
from engine.runtimes import InProcessRuntime
from engine.samplers import build_repeats
from engine.settings import CheckpointSettings, LoopSettings, SamplerSettings
from engine.task import TaskSpec
from engine.threads import thread_environment
from vision.formats import read_dataset
from vision.settings import DataSettings

FROM_ABOVE = {"flip_horizontal": 0.5, "flip_vertical": 0.5, "transpose": 0.5, "brightness": 0.0, "contrast": 0.0}
UPRIGHT = {"flip_horizontal": 0.0}
DATA: dict[str, dict[str, Any]] = {
    "bccd": {"train": "trainval", "steps": 1110, "augment": FROM_ABOVE, "sampler": {"threshold": 1.0}},
    "scenes": {"train": "train", "steps": 1200, "augment": UPRIGHT, "sampler": {"threshold": 0.5}},
}
"""The orientations and colours that suit the data are no part of the comparison."""
PLAIN: dict[str, Any] = {"preset": "default"}
PASTE: dict[str, Any] = {"preset": "default", "copy_paste": {"chance": 0.5, "rare_weight": 0.5}}
RECIPES: dict[str, dict[str, Any]] = {
    "plain": {"augment": PLAIN},
    "preset+sampler": {"augment": {"preset": "small_objects"}, "sampler": True},
    "preset": {"augment": {"preset": "small_objects"}},
    "sampler": {"augment": PLAIN, "sampler": True},
    "copy_paste": {"augment": PASTE},
    "copy_paste+sampler": {"augment": PASTE, "sampler": True},
    "copy_paste_always+sampler": {
        "augment": {"preset": "default", "copy_paste": {"chance": 1.0, "rare_weight": 0.5}},
        "sampler": True,
    },
    "stitcher": {"augment": {**PLAIN, "stitcher": 0.2}},
    "zoom": {"augment": {**PLAIN, "zoom": 0.25}},
    "larger": {"augment": {**PLAIN, "mosaic_scale": [0.6, 1.2], "scale": [0.8, 1.6]}},
    "p2": {"augment": PLAIN, "model": {"levels": [2, 3, 4, 5]}},
}
"""The two that the preset is judged by, then its parts and what is not in it, each alone."""
FIGURES = {"ap": "map", "ap_50": "map_50", "ap_small": "map_small"}
BATCH_SIZE = 8
DIGITS = 4


def data_settings(name: str) -> dict[str, Any]:
    """The data of a training as plain settings."""
    if name == "scenes":
        return {"format": "scenes", "num_images": 400}
    return {
        "format": "voc",
        "root": os.environ.get("BCCD_ROOT") or str(DEFAULT_DATA.resolve()),
        "on_error": "quarantine",
    }


def build_job(data: str, recipe: Mapping[str, Any], seed: int, folder: Path) -> TrainJob:
    """A training of as many steps as every other on this data, scored at its end."""
    about = DATA[data]
    settings = {
        "model": {"name": "yolo", "size": "nano", **recipe.get("model", {})},
        "image_size": [320, 320],
        "augment": {**recipe["augment"], **about["augment"]},
    }
    sampler = TypeAdapter[Any](SamplerSettings).validate_python(
        {"name": "repeat_factor", **about["sampler"]} if recipe.get("sampler") else {"name": "random"}
    )
    task: Any = DetectionTask(TaskSpec("detection", settings, data_settings(data), seed))
    dataset = task.build_dataset(about["train"], train=True)
    repeats = build_repeats(sampler, dataset, task.classes)
    steps_per_epoch = -(-(len(dataset) if repeats is None else repeats.total) // BATCH_SIZE)
    epochs = round(about["steps"] / steps_per_epoch)
    loop = {
        "epochs": epochs,
        "batch_size": BATCH_SIZE,
        "optimizer": {"name": "adamw", "lr": 3.0e-3, "weight_decay": 0.03},
        "schedule": {"name": "linear", "warmup_steps": 50},
        "ema": 0.998,
        "eval_every": epochs,
    }
    return TrainJob(
        spec=TaskSpec("detection", settings, data_settings(data), seed, epochs=epochs),
        loop=LoopSettings.model_validate(loop),
        checkpoint=CheckpointSettings(every_epochs=epochs),
        folder=folder,
        train_split=about["train"],
        val_split="test",
        main_metric="map",
        sampler=sampler,
    )


def rarest(data: str) -> list[str]:
    """Names of the rarest third of the classes, by objects in the train split, at least one."""
    settings = TypeAdapter[Any](DataSettings).validate_python(data_settings(data))
    images = read_dataset(settings, DATA[data]["train"])
    counts = np.bincount(np.concatenate([record.labels for record in images.records]), minlength=len(images.classes))
    return [images.classes[index] for index in np.argsort(counts, kind="stable")[: max(1, len(images.classes) // 3)]]


def run_one(data: str, recipe: str, seed: int, folder: Path) -> None:
    """Train in this process."""
    train(build_job(data, RECIPES[recipe], seed, folder), InProcessRuntime(use_gpu=False))


def scores(data: str, recipe: str, seed: int, folder: Path, rare: Sequence[str]) -> dict[str, float]:
    """Figures of a training in `folder`, which is done first if it has not ended there, in a process of its own."""
    if (found := _ended(folder)) is None:
        command = [sys.executable, "-m", "benchmarks.small_objects", "--one", data, recipe, str(seed), str(folder)]
        subprocess.run(command, env={**os.environ, **thread_environment(1)}, check=True)
        found = _ended(folder)
    assert found is not None
    metrics, cpu_s = found["metrics"], found["train_cpu_s"]
    ap_rare = statistics.fmean(metrics[f"ap/{name}"] for name in rare)
    return {**{name: metrics[key] for name, key in FIGURES.items()}, "ap_rare": ap_rare, "train_cpu_s": cpu_s}


def _ended(folder: Path) -> dict[str, Any] | None:
    """The journal's last word on a training that has ended; None = it has not."""
    if not (folder / "bundle").is_dir():
        return None
    epochs = [record for record in read_journal(folder / JOURNAL_FILE) if record["kind"] == "epoch"]
    return epochs[-1]


def rows(data: str, found: Mapping[str, Sequence[Mapping[str, float]]]) -> list[dict[str, Any]]:
    """One row per recipe, the first of which the others are compared with."""
    table = []
    base: dict[str, float] = {}
    for recipe, runs in found.items():
        row: dict[str, Any] = {"data": data, "recipe": recipe, "seeds": len(runs)}
        for name in (*FIGURES, "ap_rare"):
            values = [run[name] for run in runs]
            mean = statistics.fmean(values)
            base.setdefault(name, mean)
            row[name] = round(mean, DIGITS)
            row[f"{name}_sd"] = round(statistics.stdev(values), DIGITS) if len(values) > 1 else ""
            row[f"{name}_gain"] = f"{mean / base[name] - 1:+.1%}"
        row["train_cpu_s"] = round(statistics.fmean(run["train_cpu_s"] for run in runs))
        table.append(row)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--data", nargs="+", choices=tuple(DATA), default=list(DATA))
    parser.add_argument("--recipes", nargs="+", choices=tuple(RECIPES), default=["plain", "preset+sampler"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--folder", type=Path, help="where the trainings are kept; default: a temporary folder")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="trainings at once")
    parser.add_argument("--one", nargs=4, metavar=("DATA", "RECIPE", "SEED", "FOLDER"), help="train once, say nothing")
    arguments = parser.parse_args()
    if arguments.one:
        data, recipe, seed, folder = arguments.one
        run_one(data, recipe, int(seed), Path(folder))
        return
    with tempfile.TemporaryDirectory() as temporary, ThreadPoolExecutor(arguments.jobs) as pool:
        root = (arguments.folder or Path(temporary)).resolve()
        running = {
            (data, recipe): [
                pool.submit(scores, data, recipe, seed, root / f"{data}-{recipe}-{seed}", rarest(data))
                for seed in arguments.seeds
            ]
            for data in arguments.data
            for recipe in arguments.recipes
        }
        table = [
            row
            for data in arguments.data
            for row in rows(
                data, {recipe: [run.result() for run in running[data, recipe]] for recipe in arguments.recipes}
            )
        ]
    show(table, arguments.json)


if __name__ == "__main__":
    main()
