"""Runs a pipeline of ours and reads the curves of its train stages from their journals."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.journal import JOURNAL_FILE, read_journal
from orchestrator.conductor import RunOptions, run_pipeline
from orchestrator.execution.plan import plan
from orchestrator.pipeline.load import load_pipeline
from orchestrator.terminal import Display

PIPELINES = Path(__file__).resolve().parents[1] / "pipelines"


def run(name: str, storage: Path | None) -> dict[str, Path]:
    """Run what has not run yet of `pipelines/NAME.yaml`; returns the folder of every stage.

    Args:
        storage: where to run; None = the pipeline's own storage.
    """
    overrides = [f"storage={storage.resolve()}"] if storage else []
    loaded = load_pipeline(PIPELINES / f"{name}.yaml", overrides)
    with Display(plain=True, stream=sys.stderr) as display:
        run_pipeline(loaded, RunOptions(), display)
    return {planned.name: planned.folder for planned in plan(loaded)}


def curve(stage: str, folder: Path, metrics: Sequence[str]) -> list[dict[str, Any]]:
    """One row per evaluation of a training."""
    records = list(read_journal(folder / JOURNAL_FILE))
    start = next(record for record in records if record["kind"] == "start")
    return [
        {
            "stage": stage,
            "parameters": start["parameters"],
            "workers": start["world_size"],
            "precision": start["precision"],
            "epoch": record["epoch"] + 1,
            "train_cpu_s": round(record["train_cpu_s"]),
            "images_per_cpu_s": round((record["epoch"] + 1) * start["train_images"] / record["train_cpu_s"], 1),
            **{metric: round(record["metrics"][metric], 3) for metric in metrics},
        }
        for record in records
        if record["kind"] == "epoch" and record["metrics"]
    ]
