"""The space of a sweep: drawing from it, all its combinations, and its keys as numbers between 0 and 1.

A key with `when` counts in a trial only where the keys it names have the values it asks for.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from orchestrator.tune.settings import LOGARITHMIC, WHOLE, DomainBase, domain_kind
from orchestrator.tune.values import Values

if TYPE_CHECKING:
    import numpy as np  # validation must stay quick

Space = Mapping[str, DomainBase]
EDGE = 0.5
"""Whole numbers are drawn from a range that is this much wider, then rounded, so that all are equally likely."""


def in_order(space: Space) -> list[str]:
    """Return the keys so that each follows those its `when` names.

    Raises:
        ValueError: naming keys that wait for each other.
    """
    done: list[str] = []
    while len(done) < len(space):
        free = [key for key in space if key not in done and all(name in done for name in space[key].when)]
        if not free:
            waiting = [key for key in space if key not in done]
            raise ValueError(f"the keys {', '.join(waiting)} wait for each other in `when`")
        done += free
    return done


def counts(domain: DomainBase, values: Mapping[str, Any]) -> bool:
    """Whether a key counts in a trial with these values of the keys before it."""
    return all(
        key in values and values[key] in (wanted if isinstance(wanted, list | tuple) else [wanted])
        for key, wanted in domain.when.items()
    )


def collect(space: Space, pick: Callable[[str, DomainBase], Any]) -> Values:
    """Return a value for every key that counts, each as `pick` chooses it."""
    values: Values = {}
    for key in in_order(space):
        if counts(space[key], values):
            values[key] = pick(key, space[key])
    return values


def draw(space: Space, rng: "np.random.Generator") -> Values:
    """Draw a trial's values."""
    return collect(space, lambda _, domain: from_unit(domain, float(rng.random())))


def from_unit(domain: DomainBase, position: float) -> Any:
    """Return the value at a position in [0, 1]: the lowest at 0, the highest at 1; choices in their order."""
    kind = domain_kind(domain)
    content = getattr(domain, kind)
    if kind == "choice":
        return content[min(int(position * len(content)), len(content) - 1)]
    low, high = content
    edge = EDGE if kind in WHOLE else 0.0
    if kind in LOGARITHMIC:
        first, last = math.log(low - edge), math.log(high + edge)
        value = math.exp(first + position * (last - first))
    else:
        value = (low - edge) + position * (high - low + 2 * edge)
    value = min(max(value, low), high)
    return round(value) if kind in WHOLE else float(value)


def to_unit(domain: DomainBase, value: float) -> float:
    """Return the position of a number in [0, 1], the inverse of `from_unit` up to rounding."""
    kind = domain_kind(domain)
    low, high = getattr(domain, kind)
    edge = EDGE if kind in WHOLE else 0.0
    if kind in LOGARITHMIC:
        first, last = math.log(low - edge), math.log(high + edge)
        return (math.log(value) - first) / (last - first) if last > first else 0.0
    return (value - (low - edge)) / (high - low + 2 * edge) if high > low else 0.0


def combinations(space: Space) -> Iterator[Values]:
    """Yield every combination of the choices that count, each once; the last key changes fastest."""
    keys = in_order(space)

    def extend(values: Values, left: list[str]) -> Iterator[Values]:
        if not left:
            yield {key: values[key] for key in space if key in values}
            return
        key, *rest = left
        if not counts(space[key], values):
            yield from extend(values, rest)
            return
        for choice in listed(space[key]):
            yield from extend({**values, key: choice}, rest)

    yield from extend({}, keys)


def listed(domain: DomainBase) -> list[Any]:
    """Return all values of a choice or of whole numbers.

    Raises:
        ValueError: if the domain has infinitely many.
    """
    kind = domain_kind(domain)
    content = getattr(domain, kind)
    if kind == "choice":
        return list(content)
    if kind in WHOLE:
        return list(range(content[0], content[1] + 1))
    raise ValueError(f"{kind} has infinitely many values; a grid needs `choice` or `integers`")


def extremes(domain: DomainBase) -> list[Any]:
    """Return the values that are tried against the schema before the first trial: all choices, or both ends."""
    kind = domain_kind(domain)
    content = list(getattr(domain, kind))
    return content if kind == "choice" else list(dict.fromkeys(content))


def freedom(space: Space) -> bool:
    """Whether two trials can differ."""
    return any(len(extremes(domain)) > 1 for domain in space.values())


def corners(space: Space) -> Iterator[tuple[str, Values]]:
    """Yield (key, values of a trial) for every extreme of every key, in a trial where that key counts.

    The other keys have the first of their values with which it counts.
    """
    keys = in_order(space)
    for key in keys:
        for extreme in extremes(space[key]):
            wanted = {name: _first(inner) for name, inner in _needed(space, key).items()} | {key: extreme}
            picked = collect(space, partial(_wanted_or_first, wanted))
            if key in picked:
                yield key, picked


def _wanted_or_first(wanted: Mapping[str, Any], key: str, domain: DomainBase) -> Any:
    return wanted.get(key, extremes(domain)[0])


def _needed(space: Space, key: str) -> dict[str, Any]:
    """Return what `when` asks for, of a key and of those it waits for."""
    asked: dict[str, Any] = {}
    for name, wanted in space[key].when.items():
        asked |= _needed(space, name) | {name: wanted}
    return asked


def _first(wanted: Any) -> Any:
    return wanted[0] if isinstance(wanted, list | tuple) else wanted


def size(space: Space) -> int:
    """Count the combinations."""
    return sum(1 for _ in itertools.islice(combinations(space), 100_000))
