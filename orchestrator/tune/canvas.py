"""What all pictures of a sweep look like: size, colours, axes and legends."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from orchestrator.tune.goals import Goals

SIZE = (8.0, 4.6)
DPI = 130
BLUE, ORANGE, RED, GREY, LIGHT = "#1f5fa8", "#d9722b", "#b23a48", "#6b7280", "#e5e7eb"
COLOURS = {"done": BLUE, "stopped": ORANGE, "pruned": RED, "failed": "#7b2d8b"}
"""Of a trial's status."""
WIDE = 50.0
"""A metric of which less is better and whose values differ by this factor is drawn on a logarithmic axis."""


def blank(title: str, x_label: str, y_label: str, columns: int = 1) -> tuple[Figure, Axes]:
    """Return a figure with empty axes, side by side where there are several, and the first of these."""
    figure = Figure(figsize=(SIZE[0] + 3.0 * (columns - 1), SIZE[1]), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold")
    for axes in figure.subplots(1, columns, sharey=True, squeeze=False)[0]:
        axes.set_xlabel(x_label)
        axes.grid(axis="y", color=LIGHT, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(length=0, which="both")
    figure.axes[0].set_ylabel(y_label)
    return figure, figure.axes[0]


def legend_above(axes: Axes, handles: Sequence[Any] | None = None) -> None:
    """Put the legend between title and axes, where it covers no point."""
    given = list(handles) if handles else axes.get_legend_handles_labels()[0]
    style: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (-0.01, 1.0), "ncols": 6, "frameon": False}
    axes.legend(handles=given, fontsize=9, columnspacing=1.2, handletextpad=0.4, borderaxespad=0.2, **style)


def is_wide(goals: Goals, values: Sequence[float]) -> bool:
    """Whether the first metric's values are best seen by their logarithm."""
    return goals.modes[0] == "min" and min(values) > 0 and max(values) > WIDE * min(values)
