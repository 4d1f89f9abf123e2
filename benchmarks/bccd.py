"""What the three detectors of `pipelines/bccd.yaml` reach from scratch, and for how much CPU time.

python -m benchmarks.bccd [--json] [--storage runs]

Runs the pipeline (stages that are done are skipped) and reads the curves from the journals: CPU seconds are those of
training, summed over the workers; metrics are COCO's on the published test split, of the averaged weights.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from benchmarks.report import show
from engine.journal import JOURNAL_FILE, read_journal
from orchestrator.conductor import RunOptions, run_pipeline
from orchestrator.execution.plan import plan
from orchestrator.pipeline.load import load_pipeline
from orchestrator.terminal import Display

PIPELINE = Path(__file__).resolve().parents[1] / "pipelines" / "bccd.yaml"
DETECTORS = ("yolo", "yolox", "faster_rcnn")


def curve(detector: str, journal: Path) -> list[dict[str, Any]]:
    """One row per evaluation of the training."""
    records = list(read_journal(journal))
    start = next(record for record in records if record["kind"] == "start")
    return [
        {
            "detector": detector,
            "parameters": start["parameters"],
            "workers": start["world_size"],
            "precision": start["precision"],
            "epoch": record["epoch"] + 1,
            "train_cpu_s": round(record["train_cpu_s"]),
            "images_per_cpu_s": round((record["epoch"] + 1) * start["train_images"] / record["train_cpu_s"], 1),
            "map_50": round(record["metrics"]["map_50"], 3),
            "map": round(record["metrics"]["map"], 3),
        }
        for record in records
        if record["kind"] == "epoch" and record["metrics"]
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--storage", type=Path, help="where to run; default: the pipeline's own storage")
    arguments = parser.parse_args()
    overrides = [f"storage={arguments.storage.resolve()}"] if arguments.storage else []
    loaded = load_pipeline(PIPELINE, overrides)
    with Display(plain=True, stream=sys.stderr) as display:
        run_pipeline(loaded, RunOptions(), display)
    folders = {planned.name: planned.folder for planned in plan(loaded)}
    rows = [row for name in DETECTORS for row in curve(name, folders[name] / JOURNAL_FILE)]
    show(rows, arguments.json)


if __name__ == "__main__":
    main()
