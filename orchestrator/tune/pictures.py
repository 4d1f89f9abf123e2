"""Pictures of a sweep: its history, its rungs, parallel coordinates, which keys matter, and the Pareto front."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from orchestrator.tune.goals import Goals, is_known, pareto, ranked
from orchestrator.tune.importance import importance
from orchestrator.tune.ledger import Trial
from orchestrator.tune.settings import LOGARITHMIC, SweepSettings, domain_kind
from orchestrator.tune.words import short, shown

SIZE = (8.0, 4.6)
DPI = 130
BLUE, ORANGE, GREY, LIGHT = "#1f5fa8", "#d9722b", "#6b7280", "#e5e7eb"
COLOURS = {"done": BLUE, "stopped": ORANGE, "pruned": "#b23a48", "failed": "#b23a48"}
MOST_LABELS = 12


def draw_sweep(trials: Mapping[int, Trial], goals: Goals, settings: SweepSettings, folder: Path) -> list[Path]:
    """Draw what the trials have to say into `folder`; a picture that would be empty is left out.

    Returns:
        The pictures written.
    """
    known = [trial for trial in trials.values() if is_known(trial.result)]
    pictures: dict[str, Callable[[], Figure | None]] = {
        "history.png": lambda: _history(known, goals),
        "rungs.png": lambda: _rungs(trials, goals),
        "parallel.png": lambda: _parallel(known, goals, settings),
        "importance.png": lambda: _importance(known, goals, settings),
        "pareto.png": lambda: _pareto(known, goals) if len(goals.names) > 1 else None,
    }
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, draw in pictures.items():
        figure = draw() if known else None
        if figure is not None:
            figure.savefig(folder / name, dpi=DPI)
            written.append(folder / name)
    return written


def _history(known: list[Trial], goals: Goals) -> Figure:
    """Every trial's result, and the best so far."""
    figure, axes = _figure("Results by trial; line: the best so far", "trial", goals.names[0])
    numbers = [trial.number for trial in known]
    values = [_first(trial) for trial in known]
    axes.scatter(numbers, values, c=[COLOURS.get(trial.status, GREY) for trial in known], s=34, zorder=3)
    best = np.maximum.accumulate([goals.score(value) for value in values])
    axes.step(numbers, [goals.score(float(value)) for value in best], where="post", color=GREY, linewidth=1.2)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _key(axes, known)
    return figure


def _rungs(trials: Mapping[int, Trial], goals: Goals) -> Figure | None:
    """The metric over the epochs of every trial: where each was stopped."""
    curves = [trial for trial in trials.values() if len(trial.results) > 0]
    if max((trial.epoch for trial in curves), default=0) < 2:
        return None
    figure, axes = _figure("Trials over their epochs; a dot marks where each ended", "epoch", goals.names[0])
    best = next(iter(ranked(curves, goals)), None)
    for trial in curves:
        epochs = sorted(trial.results)
        values = [trial.results[epoch][0] for epoch in epochs]
        is_best = trial is best
        colour = COLOURS.get(trial.status, GREY)
        axes.plot(epochs, values, color=colour, linewidth=2.4 if is_best else 0.9, alpha=1.0 if is_best else 0.6)
        axes.scatter(epochs[-1:], values[-1:], color=colour, s=22, zorder=3)
    if best is not None:
        axes.annotate(
            f"trial {best.number}", (best.epoch, best.results[best.epoch][0]), (4, 4), textcoords="offset points"
        )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _key(axes, curves)
    return figure


def _parallel(known: list[Trial], goals: Goals, settings: SweepSettings) -> Figure | None:
    """One line for each trial through its values, coloured by its result."""
    keys = _keys(known, settings)
    if not keys or len(known) < 2:
        return None
    figure, axes = _figure("Values and results; the brighter a line, the better its trial", "", "")
    scores = np.array([goals.score(_first(trial)) for trial in known])
    ranks = scores.argsort().argsort() / max(1, len(scores) - 1)
    columns = [_positions([trial.values.get(key) for trial in known], settings, key) for key in keys]
    columns.append(_positions([_first(trial) for trial in known], settings, ""))
    from matplotlib import colormaps

    for index in np.argsort(ranks):
        line = [column[0][index] for column in columns]
        axes.plot(range(len(columns)), line, color=colormaps["viridis"](ranks[index]), alpha=0.8, linewidth=1.4)
    for place, (_, ticks) in enumerate(columns):
        axes.axvline(place, color=LIGHT, zorder=0)
        for position, text in ticks:
            axes.annotate(text, (place, position), (3, 0), textcoords="offset points", fontsize=8, color=GREY)
    axes.set_xticks(range(len(columns)), [*(short(key) for key in keys), goals.names[0]])
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.set_xlim(-0.1, len(columns) - 0.6)
    axes.set_ylim(-0.15, 1.08)
    return figure


def _importance(known: list[Trial], goals: Goals, settings: SweepSettings) -> Figure | None:
    """How much of the results' variance each key explains."""
    shares = importance(known, goals, settings.space)
    if not shares:
        return None
    figure, axes = _figure("How much of the differences each key explains", "share of what a forest learned", "")
    names = sorted(shares, key=lambda key: shares[key])
    axes.barh([short(name) for name in names], [shares[name] for name in names], color=BLUE, height=0.6)
    for place, name in enumerate(names):
        axes.annotate(f"{shares[name]:.2f}", (shares[name], place), (4, -3), textcoords="offset points", fontsize=9)
    axes.set_xlim(0, 1.08)
    axes.grid(visible=False)
    return figure


def _pareto(known: list[Trial], goals: Goals) -> Figure:
    """The first two metrics against each other; the trials that no other beats are joined."""
    figure, axes = _figure("Trials that no other beats are joined", goals.names[1], goals.names[0])
    front = sorted(pareto(known, goals), key=lambda trial: (trial.result or [0, 0])[1])
    points = np.array([(trial.result or [0, 0])[:2] for trial in known])
    axes.scatter(points[:, 1], points[:, 0], color=GREY, s=26)
    best = np.array([(trial.result or [0, 0])[:2] for trial in front])
    axes.plot(best[:, 1], best[:, 0], color=ORANGE, marker="o", markersize=6, linewidth=1.4)
    for trial, (value, cost) in zip(front, best, strict=True):
        axes.annotate(str(trial.number), (cost, value), (4, 5), textcoords="offset points", fontsize=9, color=ORANGE)
    return figure


def _positions(values: list[Any], settings: SweepSettings, key: str) -> tuple[list[float], list[tuple[float, str]]]:
    """Place values on an axis from 0 to 1: (positions, labels where they stand). A missing one is placed below."""
    given = [value for value in values if value is not None]
    domain = settings.space.get(key)
    is_number = all(isinstance(value, int | float) and not isinstance(value, bool) for value in given)
    if not is_number or (domain is not None and domain_kind(domain) == "choice"):
        texts = list(dict.fromkeys(shown(value) for value in given))
        places = {text: index / max(1, len(texts) - 1) for index, text in enumerate(texts)}
        labels = [(place, text[:14]) for text, place in list(places.items())[:MOST_LABELS]]
        return [-0.1 if value is None else places[shown(value)] for value in values], labels
    is_log = domain is not None and domain_kind(domain) in LOGARITHMIC
    scaled = [np.log(value) if is_log else float(value) for value in given]
    low, high = min(scaled), max(scaled)
    width = (high - low) or 1.0
    spots = iter([(value - low) / width for value in scaled])
    labels = [(0.0, shown(float(min(given)))), (1.0, shown(float(max(given))))]
    return [-0.1 if value is None else next(spots) for value in values], labels


def _keys(known: list[Trial], settings: SweepSettings) -> list[str]:
    keys = [*settings.space, *(key for trial in known for key in trial.values)]
    return [key for key in dict.fromkeys(keys) if any(key in trial.values for trial in known)]


def _key(axes: Axes, trials: list[Trial]) -> None:
    for status in dict.fromkeys(trial.status for trial in trials):
        axes.scatter([], [], color=COLOURS.get(status, GREY), label=status, s=30)
    axes.legend(loc="best", frameon=False, fontsize=9)


def _first(trial: Trial) -> float:
    return (trial.result or [0.0])[0]


def _figure(title: str, x_label: str, y_label: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=SIZE, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", fontsize=13, fontweight="bold")
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(axis="y", color=LIGHT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(length=0)
    return figure, axes
