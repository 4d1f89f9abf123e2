"""What a sweep looks for: metrics, the better direction of each, and which of two trials is the better one."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.catalog import entry
from orchestrator.tune.ledger import COUNTED, Trial
from orchestrator.tune.settings import COSTS, SweepSettings


@dataclass(frozen=True)
class Goals:
    """The metrics, the most important first."""

    names: tuple[str, ...]
    modes: tuple[str, ...]
    """`max` or `min` for each."""

    def score(self, value: float, index: int = 0) -> float:
        """A value turned so that more is better."""
        return value if self.modes[index] == "max" else -value

    def of(self, metrics: Mapping[str, float]) -> list[float]:
        """The values of an evaluation, in order; NaN for a metric that it did not report."""
        return [float(metrics.get(name, math.nan)) for name in self.names]


def goals_of(settings: SweepSettings, task: str) -> Goals:
    """Fill in what the settings leave to the task."""
    known = entry(task)
    metric = settings.metric or known.main_metric
    names = (metric,) if isinstance(metric, str) else tuple(metric)
    lower = (*known.lower_is_better, *COSTS)
    modes = settings.mode or tuple("min" if name in lower else "max" for name in names)
    return Goals(names, (modes,) if isinstance(modes, str) else tuple(modes))


def ranked(trials: Iterable[Trial], goals: Goals) -> list[Trial]:
    """Return the trials that have a result, the best first: finished ones before stopped ones, then by the first
    metric; of equals the earlier one."""
    with_result = [trial for trial in trials if trial.status in COUNTED and is_known(trial.result)]
    return sorted(
        with_result,
        key=lambda trial: (trial.status != "done", -goals.score((trial.result or [0.0])[0]), trial.number),
    )


def is_known(values: Sequence[float] | None) -> bool:
    """Whether there are values, and all are numbers."""
    return bool(values) and all(math.isfinite(value) for value in values or ())


def pareto(trials: Iterable[Trial], goals: Goals) -> list[Trial]:
    """Return the trials that no other beats: none is as good in every metric and better in one."""
    known = [trial for trial in trials if trial.status in COUNTED and is_known(trial.result)]
    scores = {trial.number: [goals.score(value, i) for i, value in enumerate(trial.result or [])] for trial in known}

    def is_beaten(trial: Trial) -> bool:
        own = scores[trial.number]
        others = (other for number, other in scores.items() if number != trial.number)
        return any(all(a >= b for a, b in zip(o, own, strict=True)) and o != own for o in others)

    return [trial for trial in known if not is_beaten(trial)]


def value_of(epochs: Mapping[int, Sequence[float]], goals: Goals, select: str) -> list[float] | None:
    """Return what a trial counts for: its last evaluation, or with `select: best` the best by the first metric."""
    known = {epoch: list(values) for epoch, values in epochs.items() if values and math.isfinite(values[0])}
    if not known:
        return None
    if select == "best":
        return max(known.items(), key=lambda item: (goals.score(item[1][0]), -item[0]))[1]
    return known[max(known)]


def to_json(goals: Goals) -> dict[str, Any]:
    """Plain data."""
    return {"metric": list(goals.names), "mode": list(goals.modes)}
