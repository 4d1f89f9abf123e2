"""Pictures of a sweep: its history, its rungs, which keys matter, the Pareto front. `parallel.py` draws the values."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

from orchestrator.text_table import number
from orchestrator.tune.canvas import BLUE, COLOURS, DPI, GREY, LIGHT, ORANGE, blank, is_wide, legend_above
from orchestrator.tune.goals import Goals, is_known, pareto, ranked
from orchestrator.tune.importance import importance
from orchestrator.tune.ledger import Trial
from orchestrator.tune.parallel import draw_parallel
from orchestrator.tune.settings import AshaScheduler, SweepSettings
from orchestrator.tune.words import short_names

LABEL_GAP_PX = 16.0
"""Numbers beside points that are nearer to each other than this would cover each other."""


def draw_sweep(trials: Mapping[int, Trial], goals: Goals, settings: SweepSettings, folder: Path) -> list[Path]:
    """Draw what the trials have to say into `folder`; a picture that would be empty is left out.

    Returns:
        The pictures written.
    """
    known = [trial for trial in trials.values() if is_known(trial.result)]
    pictures: dict[str, Callable[[], Figure | None]] = {
        "history.png": lambda: _history(trials, goals),
        "rungs.png": lambda: _rungs(trials, goals, settings),
        "parallel.png": lambda: draw_parallel(known, goals, settings),
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


def _history(trials: Mapping[int, Trial], goals: Goals) -> Figure:
    """Every trial's result and which was the best so far; crosses at the lower edge have none."""
    figure, axes = blank("Results by trial", "trial", _axis_label(goals, 0))
    known = [trial for trial in trials.values() if is_known(trial.result)]
    numbers = [trial.number for trial in known]
    best = [_first(ranked(known[: index + 1], goals)[0]) for index in range(len(known))]
    end = max(trials)
    axes.step([*numbers, end], [*best, best[-1]], where="post", color=GREY, linewidth=1.3, label="best so far")
    for status in dict.fromkeys(trial.status for trial in known):
        same = [trial for trial in known if trial.status == status]
        axes.scatter(
            [trial.number for trial in same], [_first(trial) for trial in same], color=COLOURS.get(status, GREY), s=36,
            zorder=3, label=status,
        )  # fmt: skip
    for status in ("pruned", "failed"):
        without = [trial.number for trial in trials.values() if trial.status == status]
        if without:
            marks: dict[str, Any] = {"marker": "x", "color": COLOURS[status], "label": status, "clip_on": False}
            axes.scatter(without, [0.0] * len(without), transform=axes.get_xaxis_transform(), **marks)
    winner = ranked(known, goals)[0]
    _ring(axes, winner, winner.number, best[-1])
    if is_wide(goals, [_first(trial) for trial in known]):
        axes.set_yscale("log")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend_above(axes)
    return figure


def _rungs(trials: Mapping[int, Trial], goals: Goals, settings: SweepSettings) -> Figure | None:
    """The metric over the epochs of every trial: where each was stopped."""
    curves = [trial for trial in trials.values() if trial.results]
    longest = max((trial.epoch for trial in curves), default=0)
    if longest < 2:
        return None
    figure, axes = blank("Trials over their epochs", "epoch", _axis_label(goals, 0))
    for rung in _rung_epochs(settings, longest):
        axes.axvline(rung, color=LIGHT, linewidth=6, zorder=0)
    best = next(iter(ranked(curves, goals)), None)
    for trial in curves:
        epochs = sorted(trial.results)
        values = [trial.results[epoch][0] for epoch in epochs]
        colour, is_best = COLOURS.get(trial.status, GREY), trial is best
        axes.plot(epochs, values, color=colour, linewidth=2.6 if is_best else 1.0, alpha=1.0 if is_best else 0.6)
        axes.scatter(epochs[-1:], values[-1:], color=colour, s=24, zorder=3)
    if best is not None:
        _ring(axes, best, best.epoch, best.results[best.epoch][0])
    if is_wide(goals, [value[0] for trial in curves for value in trial.results.values()]):
        axes.set_yscale("log")
    axes.set_xlim(0, longest * 1.04)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    statuses = dict.fromkeys(trial.status for trial in curves)
    handles = [Line2D([], [], marker="o", color=COLOURS.get(status, GREY), label=status) for status in statuses]
    if isinstance(settings.scheduler, AshaScheduler):
        handles.append(Line2D([], [], color=LIGHT, linewidth=6, label="rung"))
    legend_above(axes, handles)
    return figure


def _rung_epochs(settings: SweepSettings, longest: int) -> list[int]:
    """Epochs at which ASHA decides, before the last one."""
    scheduler = settings.scheduler
    if not isinstance(scheduler, AshaScheduler):
        return []
    rungs = [float(scheduler.grace_epochs)]
    while rungs[-1] * scheduler.reduction_factor < longest:
        rungs.append(rungs[-1] * scheduler.reduction_factor)
    return [round(rung) for rung in rungs if rung < longest]


def _importance(known: list[Trial], goals: Goals, settings: SweepSettings) -> Figure | None:
    """How much of the results' variance each key explains."""
    shares = importance(known, goals, settings.space)
    if not shares:
        return None
    label = f"share of what a forest learned of {goals.names[0]} from {len(known)} trials"
    figure, axes = blank("How much of the differences each key explains", label, "")
    names = sorted(shares, key=lambda key: shares[key])
    shorts = short_names(settings.space)
    axes.barh([shorts[name] for name in names], [shares[name] for name in names], color=BLUE, height=0.6)
    for place, name in enumerate(names):
        axes.annotate(f"{shares[name]:.2f}", (shares[name], place), (5, 0), textcoords="offset points", va="center")
    axes.set_xlim(0, max(shares.values()) * 1.12)
    axes.set_ylim(-0.8, max(len(names) - 0.2, 2.8))
    axes.grid(visible=False)
    return figure


def _pareto(known: list[Trial], goals: Goals) -> Figure:
    """The first metric over each of the others, trials that no other beats in colour; of two metrics with the edge of
    what can be had."""
    columns = len(goals.names) - 1
    figure, first = blank("Trials that no other beats", "", _axis_label(goals, 0), columns=columns)
    front = pareto(known, goals)
    winner = ranked(known, goals)[0]
    for column in range(1, columns + 1):
        axes = figure.axes[column - 1]
        axes.set_xlabel(_axis_label(goals, column))
        others = [trial for trial in known if trial not in front]
        axes.scatter(*_points(others, column), color=GREY, s=28, label="beaten by another")
        axes.scatter(*_points(front, column), color=ORANGE, s=44, zorder=3, label="beaten by none")
        x, y = _points(front, column)
        if columns == 1:
            order = np.argsort(x)
            where: Literal["post", "pre"] = "post" if goals.modes[1] == "min" else "pre"
            axes.step(np.array(x)[order], np.array(y)[order], where=where, color=ORANGE, linewidth=1.4)
        values = _points(known, column)[0]
        if min(values) > 0 and max(values) > 10 * min(values):
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axes.xaxis.set_minor_locator(NullLocator())
        if max(values) >= 1e4:
            axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        _ring(axes, winner, *(coordinate[0] for coordinate in _points([winner], column)))
        _number_points(axes, front, column)
    legend_above(first)
    return figure


def _number_points(axes: Axes, trials: list[Trial], column: int) -> None:
    """Write numbers beside points, leaving out those that would cover another."""
    axes.figure.draw_without_rendering()  # type: ignore[union-attr]
    taken: list[np.ndarray] = []
    for trial in trials:
        (x,), (y,) = _points([trial], column)
        spot = axes.transData.transform((x, y))
        if all(np.abs(spot - other).max() > LABEL_GAP_PX for other in taken):
            taken.append(spot)
            axes.annotate(str(trial.number), (x, y), (6, 5), textcoords="offset points", fontsize=9, color=ORANGE)


def _points(trials: list[Trial], column: int) -> tuple[list[float], list[float]]:
    """Return x, one of the other metrics, and y, the first one."""
    results = [trial.result or [0.0] * (column + 1) for trial in trials]
    return [result[column] for result in results], [result[0] for result in results]


def _ring(axes: Axes, winner: Trial, x: float, y: float) -> None:
    """Mark the winner."""
    ring: dict[str, Any] = {"facecolors": "none", "edgecolors": "black", "s": 120, "linewidths": 1.3, "zorder": 4}
    axes.scatter([x], [y], label=f"winner: trial {winner.number}, {number(y)}", **ring)


def _axis_label(goals: Goals, index: int) -> str:
    return f"{goals.names[index]} ({'more' if goals.modes[index] == 'max' else 'less'} is better)"


def _first(trial: Trial) -> float:
    return (trial.result or [0.0])[0]
