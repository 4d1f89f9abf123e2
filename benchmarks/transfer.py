"""What a backbone trained on object crops is worth to two detectors: their early epochs with it and from scratch.

python -m benchmarks.transfer [--json] [--storage runs] [--picture docs/pictures/transfer.png]

Runs `pipelines/transfer.yaml`, or takes its results where it has run, and draws both curves of each detector.
"""

import argparse
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.pipeline_curves import curve, run
from benchmarks.report import show

DETECTORS = ("faster_rcnn", "ssd")
METRICS = ("map_50", "map")


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
            values = [row["map_50"] for row in curve(stage, folders[stage], METRICS)]
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
    """One row per detector, start and epoch."""
    return [
        row
        for name in DETECTORS
        for stage in (name, f"{name}_scratch")
        for row in curve(stage, folders[stage], METRICS)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--picture", type=Path, help="where to draw the curves, a PNG file")
    parser.add_argument("--storage", type=Path, help="where to run; default: the pipeline's own storage")
    arguments = parser.parse_args()
    folders = run("transfer", arguments.storage)
    if arguments.picture is not None:
        draw(folders, arguments.picture)
    show(rows(folders), arguments.json)


if __name__ == "__main__":
    main()
