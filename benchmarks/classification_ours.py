"""Our side of `benchmarks.classification`: the loop on a classification task, in this process, journal and all.

Run as `python -m benchmarks.classification_ours REQUEST`; prints one JSON line.
"""

import json
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.classification_recipe import MEAN, SIDE, STD, Recipe
from engine.job import TrainJob
from engine.journal import JOURNAL_FILE, read_journal
from engine.loop import train
from engine.runtimes import InProcessRuntime
from engine.settings import CheckpointSettings, LoopSettings
from engine.task import TaskSpec


def job(recipe: Recipe, folder: Path) -> TrainJob:
    """The recipe as a train stage's job; the test split is evaluated after the last epoch."""
    settings = {
        "model": {"name": recipe.model, "width": recipe.width, "stem": "small"},
        "image_size": [SIDE, SIDE],
        "normalize": {"mean": MEAN, "std": STD},
        "augment": {"preset": "small"},
    }
    loop = {
        "epochs": recipe.epochs,
        "batch_size": recipe.batch_size,
        "optimizer": {
            "name": "sgd",
            "lr": recipe.lr,
            "momentum": recipe.momentum,
            "weight_decay": recipe.weight_decay,
            "no_decay_on_norm_and_bias": False,
        },
        "schedule": {"name": "cosine", "final_factor": 0.0},
        "precision": "bf16",
        "eval_every": recipe.epochs,
    }
    return TrainJob(
        spec=TaskSpec("classification", settings, {"format": "imagefolder", "root": recipe.data}, epochs=recipe.epochs),
        loop=LoopSettings.model_validate(loop),
        checkpoint=CheckpointSettings(),
        folder=folder,
        train_split="train",
        val_split="test",
        main_metric="top1",
    )


def main() -> None:
    recipe = Recipe(**json.loads(sys.argv[1]))
    with tempfile.TemporaryDirectory() as folder:
        outcome = train(job(recipe, Path(folder)), InProcessRuntime(False))
        records = list(read_journal(Path(folder) / JOURNAL_FILE))
    steps = next(record["steps_per_epoch"] for record in records if record["kind"] == "start")
    answer: dict[str, Any] = {"steps_per_epoch": steps, "top1": outcome["metrics"]["top1"]}
    for name, counter in (("epoch_s", "train_s"), ("epoch_cpu_s", "train_cpu_s")):
        ends = [0.0, *(record[counter] for record in records if record["kind"] == "epoch")]
        answer[name] = [end - begin for begin, end in pairwise(ends)]
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
