"""The look that all charts share: colours and tidy axes. What is drawn is each task's own."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

INK, MUTED, FAINT, GRID = "#1f2430", "#6b7280", "#cbd5e1", "#e5e7eb"
PALETTE = ("#2563eb", "#dc2626", "#059669", "#d97706", "#7c3aed", "#0891b2", "#be185d", "#4d7c0f", "#92400e", "#475569")
DARK_SHARE = 0.55
"""From here on a cell in blues needs white letters."""


def tidy(axes: Axes, title: str, x_name: str, y_name: str) -> None:
    """Give axes a title on the left and names, and take the frame away."""
    axes.set_title(title, loc="left", color=INK, fontsize=12, fontweight="bold", pad=10)
    axes.set_xlabel(x_name, color=MUTED)
    axes.set_ylabel(y_name, color=MUTED)
    axes.tick_params(colors=INK, length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def unit_square(axes: Axes) -> None:
    """Show 0 … 1 both ways, with a faint grid."""
    axes.set_xlim(0, 1.01)
    axes.set_ylim(0, 1.03)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)


def colour_bar(figure: Figure, axes: Axes, shading: AxesImage, name: str, aspect: float) -> None:
    """Draw what the colours of `shading` mean, beside its axes."""
    bar = figure.colorbar(shading, ax=axes, shrink=0.9, pad=0.02, aspect=aspect)
    bar.set_label(name, color=MUTED)
    bar.ax.tick_params(colors=INK, length=0)
    bar.outline.set_visible(False)


def write_counts(axes: Axes, counts: np.ndarray, share: np.ndarray) -> None:
    """Write the counts (R, C) of a shaded matrix into its cells, with their share (R, C) in [0, 1] below where that is
    above 0; empty cells stay empty."""
    for (row, column), count in np.ndenumerate(counts):
        if count == 0:
            continue
        text = f"{count:,}\n{share[row, column]:.0%}" if share[row, column] > 0 else f"{count:,}"
        colour = "white" if share[row, column] > DARK_SHARE else INK
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=9)


def shorten(name: str, limit: int = 18) -> str:
    """Return `name`, cut to `limit` characters with an ellipsis."""
    return name if len(name) <= limit else name[: limit - 1] + "…"
