"""What a population's steps brought, as its trials report them, and what the bandit makes of it."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from orchestrator.tune.settings import domain_kind
from orchestrator.tune.space import Space, from_unit, to_unit
from orchestrator.tune.values import Values


@dataclass(frozen=True)
class Step:
    """What the epochs between two exchanges brought to one trial."""

    time: float
    """Its end, in exchanges since the start."""
    before: float
    """The score at its beginning: who stands low rises easily, with any values."""
    position: tuple[float, ...]
    """The values it was trained with, each in [0, 1]."""
    gain: float
    """By how much the score rose."""


class Diary:
    """What every step of a population brought, written as its trials report.

    A step leads from one evaluation of a trial to the next with the same values; where a trial takes over another
    one's weights, from the other's evaluation.
    """

    def __init__(self, space: Space, every_epochs: int) -> None:
        self.numbers = {key: domain for key, domain in space.items() if domain_kind(domain) != "choice"}
        self.steps: list[Step] = []
        self._every = every_epochs
        self._last: dict[int, tuple[int, float]] = {}
        self._pending: dict[int, tuple[float, ...]] = {}

    def evaluated(self, number: int, epoch: int, score: float, values: Values) -> None:
        """A trial was evaluated after a 1-based epoch; what is not a number tells nothing."""
        if not math.isfinite(score):
            return
        before, score_before = self._last.get(number, (epoch, score))
        if 0 < epoch - before < self._every:
            return  # the step is not over
        if epoch > before:
            gain = (score - score_before) / (epoch - before)
            self.steps.append(Step(epoch / self._every, score_before, self._position(values), gain))
            self._pending.pop(number, None)
        self._last[number] = (epoch, score)

    def took_over(self, number: int, epoch: int, score: float, values: Values) -> None:
        """A trial goes on from another one's evaluation, with these values."""
        self._last[number] = (epoch, score)
        self._pending[number] = self._position(values)

    def choose(self, number: int, epoch: int, score: float, rng: np.random.Generator) -> Values | None:
        """Return the numbers with which a trial should go on from an epoch's score; None while too little is known."""
        from orchestrator.tune.bandit import choose  # scikit-learn: a second that only PB2 needs

        pending = [position for other, position in self._pending.items() if other != number]
        position = choose(self.steps, pending, epoch / self._every + 1, score, rng)
        if position is None:
            return None
        return {key: from_unit(self.numbers[key], place) for key, place in zip(self.numbers, position, strict=True)}

    def _position(self, values: Values) -> tuple[float, ...]:
        return tuple(to_unit(domain, values[key]) for key, domain in self.numbers.items())

    def read(self, events: Iterable[Mapping[str, Any]], sign: float) -> None:
        """Take over what the ledger of an earlier run says.

        Args:
            sign: -1 where less is better.
        """
        values: dict[int, Values] = {}
        scores: dict[tuple[int, int], float] = {}
        for event in events:
            number = event["trial"]
            if event["event"] == "suggested":
                values[number] = event["values"]
            elif event["event"] == "result":
                scores[number, event["epoch"]] = sign * event["values"][0]
                self.evaluated(number, event["epoch"], scores[number, event["epoch"]], values[number])
            elif event["event"] == "changed":
                values[number] = event["values"]
                score = scores.get((event.get("source", number), event["epoch"]), math.nan)
                if math.isfinite(score):
                    self.took_over(number, event["epoch"], score, values[number])
