"""How the next trial's values are found, as Ray Tune's searchers: our own small ones, and Optuna behind Ray's own.

They know trials by number and the metric as `value`. Each is a function of its seed and of what it was told, so a sweep
that goes on tells a new one the whole story and has the old one back.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from ray.tune.result import TRAINING_ITERATION
from ray.tune.search import Searcher

from orchestrator.tune.bisect import Bisection, build_bisection
from orchestrator.tune.goals import Goals
from orchestrator.tune.settings import (
    BayesSearch,
    BisectSearch,
    GridSearch,
    ManualSearch,
    PopulationSearch,
    RandomSearch,
    SweepSettings,
    domain_kind,
)
from orchestrator.tune.space import Space, collect, combinations, draw
from orchestrator.tune.values import Values

VALUE = "value"
EPOCH = "epoch"
EXHAUSTED = Searcher.FINISHED


class DrawnSearch(Searcher):
    """Values that do not depend on results: drawn at random, or given one after the other."""

    def __init__(self, given: Iterator[Values]) -> None:
        super().__init__()
        self._given = given

    def suggest(self, trial_id: str) -> Any:  # noqa: ARG002
        """Return the next values."""
        return next(self._given, EXHAUSTED)

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """Nothing is learned."""


class BisectionSearch(Searcher):
    """One trial after the other, each where the bracket says."""

    def __init__(self, key: str, bisection: Bisection) -> None:
        super().__init__()
        self.key, self.bisection = key, bisection
        self._is_waiting = False

    def suggest(self, trial_id: str) -> Any:  # noqa: ARG002
        """Return the next place to look at; None while the last one is still open."""
        if self._is_waiting:
            return None
        value = self.bisection.next()
        if value is None:
            return EXHAUSTED
        self._is_waiting = True
        return {self.key: value}

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:  # noqa: ARG002
        """Narrow the bracket; a trial without a result counts as the worst there could be."""
        self._is_waiting = False
        self.bisection.tell(result[VALUE] if result and not error else None)


def build_searcher(settings: SweepSettings, goals: Goals, seed: int) -> Searcher:
    """Build what `search` names."""
    search, space = settings.search, settings.space
    match search:
        case RandomSearch() | PopulationSearch():
            return DrawnSearch(_random(space, seed))
        case GridSearch():
            return DrawnSearch(combinations(space))
        case ManualSearch():
            return DrawnSearch(iter([dict(values) for values in search.trials]))
        case BisectSearch():
            ((key, domain),) = space.items()
            return BisectionSearch(key, build_bisection(search, domain, goals.modes[0]))
        case BayesSearch():
            return _optuna(search, space, goals, seed)


def most_trials(settings: SweepSettings) -> int | None:
    """How many trials the search itself makes at most; None = until it has no more."""
    return None if isinstance(settings.search, GridSearch | ManualSearch) else settings.num_samples


def tell_result(searcher: Searcher, number: int, epoch: int, values: list[float]) -> None:
    """Pass an evaluation on."""
    searcher.on_trial_result(str(number), {EPOCH: epoch, TRAINING_ITERATION: epoch, VALUE: values[0]})


def tell_end(searcher: Searcher, number: int, values: list[float] | None) -> None:
    """Pass a trial's result on; None = it has none."""
    if values is None:
        searcher.on_trial_complete(str(number), None, error=True)
    else:
        named = {f"{VALUE}_{index}": value for index, value in enumerate(values)}
        searcher.on_trial_complete(str(number), {VALUE: values[0], TRAINING_ITERATION: 1, **named})


def _random(space: Space, seed: int) -> Iterator[Values]:
    rng = np.random.default_rng(seed)
    while True:
        yield draw(space, rng)


def _optuna(search: BayesSearch, space: Space, goals: Goals, seed: int) -> Searcher:
    import optuna  # slow, and for this search only
    from ray.tune.search.optuna import OptunaSearch

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if search.sampler == "gp":
        sampler = optuna.samplers.GPSampler(seed=seed, n_startup_trials=search.startup)
    else:
        sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=search.startup)
    many = len(goals.names) > 1
    return OptunaSearch(
        space=lambda trial: _suggested(space, trial),
        metric=[f"{VALUE}_{index}" for index in range(len(goals.names))] if many else VALUE,
        mode=list(goals.modes) if many else goals.modes[0],
        sampler=sampler,
    )


def _suggested(space: Space, trial: Any) -> Values:
    """Ask Optuna for every key that counts; a choice by its position, since Optuna knows no lists and mappings."""

    def pick(key: str, domain: Any) -> Any:
        kind = domain_kind(domain)
        content = getattr(domain, kind)
        if kind == "choice":
            return content[trial.suggest_categorical(key, list(range(len(content))))]
        low, high = content
        if kind in ("integers", "logintegers"):
            return trial.suggest_int(key, low, high, log=kind == "logintegers")
        return trial.suggest_float(key, low, high, log=kind == "loguniform")

    return collect(space, pick)
