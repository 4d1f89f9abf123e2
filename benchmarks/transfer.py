"""What a backbone trained on object crops is worth to two detectors: their early epochs with it and from scratch.

python -m benchmarks.transfer [--json] [--picture docs/pictures/transfer.png]

Runs `pipelines/transfer.yaml`, or takes its results where it has run, and draws both curves of each detector.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.report import show
from engine.journal import JOURNAL_FILE, read_journal

PIPELINE = Path(__file__).parents[1] / "pipelines" / "transfer.yaml"
DETECTORS = ("faster_rcnn", "ssd")
METRICS = ("map_50", "map")


def run_pipeline() -> dict[str, Path]:
    """Run what has not run yet; returns the folder of every train stage."""
    command = [sys.executable, "-m", "orchestrator", "run", str(PIPELINE), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command[1:])} ended with exit code {done.returncode}:\n{done.stderr[-4000:]}")
    stages = json.loads(done.stdout)["stages"]
    return {name: Path(stage["outputs"]["bundle"]).parent for name, stage in stages.items()}


def curve(folder: Path, metric: str) -> list[float]:
    """The validation metric after every epoch."""
    records = read_journal(folder / JOURNAL_FILE)
    return [record["metrics"][metric] for record in records if record["kind"] == "epoch" and record["metrics"]]


def draw(folders: dict[str, Path], picture: Path) -> None:
    """Draw mAP50 by epoch, one panel per detector."""
    figure = Figure(figsize=(9.0, 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(DETECTORS), sharey=True)
    for axes, name in zip(panels, DETECTORS, strict=True):
        for stage, label, colour in (
            (name, "backbone from crops", "#1f5fa8"),
            (f"{name}_scratch", "from scratch", "#d9722b"),
        ):
            values = curve(folders[stage], "map_50")
            axes.plot(range(1, len(values) + 1), values, marker="o", markersize=4, color=colour, label=label)
        axes.set_title(name)
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("mAP50 on the validation split")
    panels[0].set_ylim(bottom=0)
    panels[0].legend(frameon=False)
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=130)


def rows(folders: dict[str, Path]) -> list[dict[str, Any]]:
    """One row per detector and metric: every epoch with the backbone and from scratch."""
    return [
        {
            "detector": name,
            "metric": metric,
            "with_backbone": " ".join(f"{value:.3f}" for value in curve(folders[name], metric)),
            "from_scratch": " ".join(f"{value:.3f}" for value in curve(folders[f"{name}_scratch"], metric)),
        }
        for name in DETECTORS
        for metric in METRICS
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--picture", type=Path, help="where to draw the curves, a PNG file")
    arguments = parser.parse_args()
    folders = run_pipeline()
    if arguments.picture is not None:
        draw(folders, arguments.picture)
    show(rows(folders), arguments.json)


if __name__ == "__main__":
    main()
