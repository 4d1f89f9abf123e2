"""Pictures of a training from its journal: `loss_curve.png` (loss terms, learning rate) and `metric_curve.png`."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from engine.journal import read_journal

LOSS_FILE = "loss_curve.png"
METRIC_FILE = "metric_curve.png"
SIZE = (8.0, 4.6)
DPI = 130
SMOOTH_OVER = 15
"""A curve is drawn faint, with its running mean over this share (1 / 15) of its points on top."""
MAIN_METRICS = ("map", "map_50", "map_75", "top1", "miou", "idf1", "hota", "mota")
MAX_METRICS = 5
COLOURS = ("#1f5fa8", "#d9722b", "#2f8f5b", "#b23a48", "#7a5195", "#8a6d3b")
GREY = "#6b7280"


def draw_curves(journal: Path, folder: Path) -> list[Path]:
    """Draw the curves of a journal into `folder`, at most six loss terms and five metrics.

    Of a step or epoch that was repeated after a restart, the last record counts.

    Returns:
        The pictures written: none for a training that logged no loss, no metric curve without an evaluation.
    """
    records = list(read_journal(journal))
    steps = _last_of_each(record for record in records if record.get("kind") == "step" and record["loss"] is not None)
    epochs = _last_of_each(record for record in records if record.get("kind") == "epoch" and record.get("metrics"))
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    if steps:
        written.append(_save(_draw_losses(steps), folder / LOSS_FILE))
    if epochs:
        written.append(_save(_draw_metrics(epochs), folder / METRIC_FILE))
    return written


def _draw_losses(records: list[dict[str, Any]]) -> Figure:
    figure, axes = _figure("Training loss", "optimizer step")
    terms = [name for name in records[-1] if name == "loss" or name.startswith("loss_")]
    for term, colour in zip(terms, COLOURS, strict=False):
        step, value = _series(records, term)
        label = "loss (sum)" if term == "loss" else term
        axes.plot(step, value, color=colour, alpha=0.25, linewidth=0.8)
        axes.plot(step, _running_mean(value), color=colour, linewidth=2.0 if term == "loss" else 1.4, label=label)
    axes.set_ylabel("loss")
    highest = float(np.percentile(_series(records, "loss")[1], 99))
    axes.set_ylim(0, highest * 1.1 or 1)
    _draw_learning_rate(axes, records)
    axes.legend(loc="upper right", frameon=False)
    return figure


def _draw_learning_rate(axes: Axes, records: list[dict[str, Any]]) -> None:
    step, rate = _series(records, "lr")
    if not len(step):
        return
    right = axes.twinx()
    right.plot(step, rate, color=GREY, linewidth=1.0, linestyle=(0, (4, 3)))
    right.set_ylabel("learning rate (dashed)", color=GREY)
    right.tick_params(axis="y", colors=GREY, length=0)
    right.set_ylim(0, float(rate.max()) * 1.1 or 1)
    right.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
    right.spines[["top", "left", "right", "bottom"]].set_visible(False)


def _draw_metrics(records: list[dict[str, Any]]) -> Figure:
    figure, axes = _figure("Validation", "epoch")
    numbered = [{"step": record["epoch"] + 1, **record["metrics"]} for record in records]
    names = [name for name in MAIN_METRICS if name in numbered[-1]] or sorted(
        name for name in numbered[-1] if name != "step" and "/" not in name
    )
    for name, colour in zip(names[:MAX_METRICS], COLOURS, strict=False):
        epoch, value = _series(numbered, name)
        axes.plot(epoch, value, color=colour, linewidth=1.8, marker="o", markersize=3.2, label=name)
        if len(value):
            best = int(np.argmax(value))
            axes.plot(epoch[best], value[best], marker="o", markersize=8, markerfacecolor="none", color=colour)
            axes.annotate(
                f"{value[best]:.3f}",
                (epoch[best], value[best]),
                xytext=(0, 8),
                textcoords="offset points",
                ha="center",
                color=colour,
                fontsize=9,
            )
    axes.set_ylim(bottom=0)
    axes.margins(y=0.12)
    axes.set_ylabel("metric (circle: best epoch)")
    axes.legend(loc="best", frameon=False)
    return figure


def _figure(title: str, x_label: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=SIZE, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", fontsize=13, fontweight="bold")
    axes.set_xlabel(x_label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y", color="#e5e7eb", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(length=0)
    return figure, axes


def _save(figure: Figure, path: Path) -> Path:
    figure.savefig(path, dpi=DPI)
    return path


def _series(records: list[dict[str, Any]], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return steps and values, both (N,) float64, of the records that have a number under `name`."""
    pairs = [(record["step"], record[name]) for record in records if record.get(name) is not None]
    array = np.array(pairs, dtype=np.float64).reshape(-1, 2)
    return array[:, 0], array[:, 1]


def _running_mean(value: np.ndarray) -> np.ndarray:
    """Return the centred running mean, (N,); near the ends over the points there are."""
    width = max(1, len(value) // SMOOTH_OVER)
    kernel = np.ones(width)
    return np.convolve(value, kernel, "same") / np.convolve(np.ones_like(value), kernel, "same")


def _last_of_each(records: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Keep the last record of every step, in the order of steps."""
    by_step = {record["step"]: record for record in records}
    return [by_step[step] for step in sorted(by_step)]
