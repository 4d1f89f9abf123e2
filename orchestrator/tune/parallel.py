"""Parallel coordinates of a sweep: one line for each trial through its values, coloured by its rank."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Curve
from matplotlib.ticker import EngFormatter

from orchestrator.tune.canvas import GREY, LIGHT, blank
from orchestrator.tune.goals import Goals
from orchestrator.tune.ledger import Trial
from orchestrator.tune.settings import LOGARITHMIC, SweepSettings, domain_kind
from orchestrator.tune.words import short_names, shown

MISSING = -0.14
"""Where the line of a trial passes that has no value of a key, below all values."""
SPREAD = 0.03
"""Lines through the same choice pass side by side, within this part of the axis."""
MOST_LABELS, LONGEST_LABEL = 12, 16
COLUMN_INCHES = 1.4
LARGE = 1e4
"""Numbers from here on are written with k and M."""
COLOUR_MAP = "viridis_r"


@dataclass(frozen=True)
class Column:
    """One axis: where each trial's line passes, from 0 to 1, and the labels."""

    name: str
    places: list[float]
    labels: list[tuple[float, str]]


def draw_parallel(known: Sequence[Trial], goals: Goals, settings: SweepSettings) -> Figure | None:
    """Draw all searched keys and metrics; None where there is nothing to compare."""
    keys = _keys(known, settings)
    if not keys or len(known) < 2:
        return None
    scores = np.array([goals.score((trial.result or [0.0])[0]) for trial in known])
    order = scores.argsort(kind="stable")
    ranks = order.argsort() / (len(scores) - 1)
    names = short_names(keys)
    columns = [_column(names[key], [trial.values.get(key) for trial in known], settings, key, ranks) for key in keys]
    for index, name in enumerate(goals.names):
        columns.append(_numbers(name, [(trial.result or [math.nan])[index] for trial in known], is_log=False))
    figure, axes = blank("Values and results of all trials", "", "")
    figure.set_figwidth(max(figure.get_figwidth(), COLUMN_INCHES * len(columns)))
    colours = colormaps[COLOUR_MAP]
    for index in order:
        style = {"edgecolor": colours(ranks[index]), "alpha": 0.85, "linewidth": 2.6 if ranks[index] == 1.0 else 1.3}
        axes.add_patch(PathPatch(_through([column.places[index] for column in columns]), facecolor="none", **style))
    _label(axes, columns)
    bar = figure.colorbar(ScalarMappable(cmap=COLOUR_MAP), ax=axes, fraction=0.03, pad=0.02, ticks=[0, 1])
    bar.ax.set_yticklabels(["worst", "best"])
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0)
    return figure


def _through(places: Sequence[float]) -> Curve:
    """Return a smooth curve through the axes, level where it crosses one."""
    points, codes = [(0.0, places[0])], [Curve.MOVETO]
    for index, (here, there) in enumerate(pairwise(places)):
        points += [(index + 0.4, here), (index + 0.6, there), (index + 1.0, there)]
        codes += [Curve.CURVE4] * 3
    return Curve(points, codes)


def _label(axes: Axes, columns: Sequence[Column]) -> None:
    box = {"boxstyle": "round,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.8}
    for place, column in enumerate(columns):
        axes.axvline(place, color=GREY, linewidth=0.8, zorder=0.5)
        is_last = place == len(columns) - 1
        for position, text in column.labels:
            axes.annotate(
                text, (place, position), (-4 if is_last else 4, 0), textcoords="offset points", fontsize=8, bbox=box,
                ha="right" if is_last else "left", va="center", zorder=5,
            )  # fmt: skip
    has_missing = any(MISSING in column.places for column in columns)
    if has_missing:
        axes.axhline(MISSING, color=LIGHT, linewidth=5, zorder=0)
        axes.annotate("not searched", (0, MISSING), (4, 6), textcoords="offset points", fontsize=8, color=GREY)
    axes.set_xticks(range(len(columns)), [column.name for column in columns])
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.spines["bottom"].set_visible(False)
    axes.set_xlim(-0.05, len(columns) - 0.95)
    axes.set_ylim(MISSING - 0.04 if has_missing else -0.06, 1.06)


def _column(name: str, values: list[Any], settings: SweepSettings, key: str, ranks: np.ndarray) -> Column:
    """Place the values of one key."""
    given = [value for value in values if value is not None]
    domain = settings.space.get(key)
    kind = domain_kind(domain) if domain is not None else None
    is_number = all(isinstance(value, int | float) and not isinstance(value, bool) for value in given)
    if kind == "choice" or not is_number:
        choices = list(getattr(domain, "choice", ())) if kind == "choice" else []
        return _choices(name, values, [*choices, *given], ranks)
    return _numbers(name, values, is_log=kind in LOGARITHMIC, ends=getattr(domain, kind) if kind else ())


def _choices(name: str, values: list[Any], choices: list[Any], ranks: np.ndarray) -> Column:
    texts = list(dict.fromkeys(shown(choice) for choice in choices))
    spots = {text: index / max(1, len(texts) - 1) for index, text in enumerate(texts)}
    width = SPREAD / max(1, len(texts) - 1) * 2
    places = [
        MISSING if value is None else spots[shown(value)] + width * (float(rank) - 0.5)
        for value, rank in zip(values, ranks, strict=True)
    ]
    return Column(name, places, [(spot, text[:LONGEST_LABEL]) for text, spot in list(spots.items())[:MOST_LABELS]])


def _numbers(name: str, values: list[Any], is_log: bool, ends: Sequence[float] = ()) -> Column:
    """Place numbers between the ends of their range, or the least and the largest of them."""
    known = [float(value) for value in values if value is not None and math.isfinite(value)]
    low, high = min([*known, *ends]), max([*known, *ends])
    scale = math.log if is_log else float
    width = (scale(high) - scale(low)) or 1.0
    places = [MISSING if value is None else (scale(value) - scale(low)) / width for value in values]
    labels = [(0.0, _brief(low)), (1.0, _brief(high))] if high > low else [(0.0, _brief(low))]
    if is_log:
        decades = [10.0**power for power in range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)]
        spots = [((math.log(decade) - math.log(low)) / width, f"{decade:g}") for decade in decades]
        labels += [(spot, text) for spot, text in spots if 0.08 < spot < 0.92]
    return Column(name, places, labels)


def _brief(value: float) -> str:
    return EngFormatter(places=1, sep="")(value) if abs(value) >= LARGE else f"{value:.4g}"


def _keys(known: Sequence[Trial], settings: SweepSettings) -> list[str]:
    keys = [*settings.space, *(key for trial in known for key in trial.values)]
    return [key for key in dict.fromkeys(keys) if any(key in trial.values for trial in known)]
