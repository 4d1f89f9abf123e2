"""Narrowing one number down: golden section for a metric with one peak, halving for one that crosses a target.

Both work on positions in [0, 1] of the searched range, so a logarithmic range is narrowed by its logarithm.
"""

import math
from typing import Protocol

from orchestrator.tune.settings import BisectSearch, DomainBase
from orchestrator.tune.space import from_unit

GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0


class Bisection(Protocol):
    """Where to look next, given what was found."""

    def next(self) -> float | None:
        """The next value to try; None when the bracket is narrow enough."""
        ...

    def tell(self, value: float | None) -> None:
        """The metric where `next` said; None where there is none."""
        ...

    def bracket(self) -> tuple[float, float]:
        """What the search is down to: (smallest, largest)."""
        ...

    def finding(self, key: str, metric: str) -> str:
        """What was found, as a clause."""
        ...


class GoldenSection:
    """Golden-section search for the best of a metric with one peak (Kiefer 1953).

    Each step but the first needs one new trial and leaves 0.618 of the bracket. Of equal values the bracket keeps the
    lower side.
    """

    def __init__(self, domain: DomainBase, tolerance: float, mode: str) -> None:
        self._domain, self._tolerance = domain, tolerance
        self._sign = 1.0 if mode == "max" else -1.0
        self._low, self._high = 0.0, 1.0
        self._found: dict[float, float] = {}

    def next(self) -> float | None:
        """The next value to try; None when the bracket is narrow enough."""
        self._narrow()
        place = self._open()
        return None if place is None else from_unit(self._domain, place)

    def tell(self, value: float | None) -> None:
        """Take in the metric at the place that is open; None counts as the worst."""
        place = self._open()
        assert place is not None
        self._found[place] = -math.inf if value is None else self._sign * value

    def bracket(self) -> tuple[float, float]:
        """What the search is down to."""
        self._narrow()
        return from_unit(self._domain, self._low), from_unit(self._domain, self._high)

    def finding(self, key: str, metric: str) -> str:
        """Where the best value lies."""
        low, high = self.bracket()
        return f"the best {metric} lies at {key} between {low:.4g} and {high:.4g}"

    def _inner(self) -> tuple[float, float]:
        width = GOLDEN * (self._high - self._low)
        return self._high - width, self._low + width

    def _open(self) -> float | None:
        if self._is_narrow():
            return None
        return next((place for place in self._inner() if self._known(place) is None), None)

    def _is_narrow(self) -> bool:
        return self._high - self._low <= self._tolerance

    def _known(self, place: float) -> float | None:
        """The metric there; an inner point of one bracket is one of the next, up to rounding."""
        return next((value for known, value in self._found.items() if math.isclose(known, place, abs_tol=1e-9)), None)

    def _narrow(self) -> None:
        while not self._is_narrow():
            left, right = self._inner()
            at_left, at_right = self._known(left), self._known(right)
            if at_left is None or at_right is None:
                return
            if at_left >= at_right:
                self._high = right
            else:
                self._low = left


class Halving:
    """Binary search for where a metric that only rises or only falls over the range crosses a target.

    Both ends are tried first: they say whether it rises, and whether the target lies between them at all.
    """

    def __init__(self, domain: DomainBase, tolerance: float, target: float) -> None:
        self._domain, self._tolerance, self._target = domain, tolerance, target
        self._low, self._high = 0.0, 1.0
        self._at: dict[float, float | None] = {}

    def next(self) -> float | None:
        """The next value to try: both ends, then middles; None when the bracket is narrow enough or holds nothing."""
        place = self._open()
        return None if place is None else from_unit(self._domain, place)

    def tell(self, value: float | None) -> None:
        """Take in the metric; where there is none (the values cannot work), it counts as the upper end's side."""
        place = self._open()
        assert place is not None
        self._at[place] = value
        if place in (0.0, 1.0):
            return
        if value is None or self._is_above(value) == self._is_above(self._at[1.0]):
            self._high = place
        else:
            self._low = place

    def bracket(self) -> tuple[float, float]:
        """What the search is down to."""
        return from_unit(self._domain, self._low), from_unit(self._domain, self._high)

    def finding(self, key: str, metric: str) -> str:
        """Where the target is crossed, or that it is not."""
        low, high = self.bracket()
        if self._is_crossed():
            return f"{metric} crosses {self._target:g} at {key} between {low:.4g} and {high:.4g}"
        ends = " and ".join(
            f"{'nothing' if self._at.get(place) is None else format(self._at[place], '.4g')} at {value:.4g}"
            for place, value in ((0.0, low), (1.0, high))
        )
        return (
            f"{metric} does not cross {self._target:g} in the range of {key}: it is {ends}; give another `target`, or "
            "a wider range"
        )

    def _is_crossed(self) -> bool:
        return self._is_above(self._at.get(0.0)) != self._is_above(self._at.get(1.0))

    def _open(self) -> float | None:
        for end in (0.0, 1.0):
            if end not in self._at:
                return end
        if not self._is_crossed() or self._high - self._low <= self._tolerance:
            return None
        return (self._low + self._high) / 2.0

    def _is_above(self, value: float | None) -> bool | None:
        return None if value is None else value >= self._target


def build_bisection(search: BisectSearch, domain: DomainBase, mode: str) -> Bisection:
    """Build what `search` asks for."""
    if search.target is None:
        return GoldenSection(domain, search.tolerance, mode)
    return Halving(domain, search.tolerance, search.target)
