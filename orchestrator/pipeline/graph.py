"""Which stage needs which: references, order, cycles. On plain values, so that faults elsewhere do not matter."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.pipeline.problems import KeyPath

STAGE_SCHEME = "stage:"


@dataclass(frozen=True)
class Reference:
    """A place in one stage that names another stage."""

    stage: str
    """The stage that holds the reference."""
    target: str
    """The stage that is named."""
    path: KeyPath
    """Where in the file."""
    is_gate: bool = False
    """Named by a gate (`STAGE.METRIC`), not by an address (`stage:NAME`)."""


def references(stages: Mapping[str, Any]) -> list[Reference]:
    """Return all references between stages, in the file's order."""
    found: list[Reference] = []
    for name, stage in stages.items():
        for path, text in strings(stage, ("stages", name)):
            if text.startswith(STAGE_SCHEME):
                found.append(Reference(name, text.removeprefix(STAGE_SCHEME), path))
        found.extend(_gate_references(name, stage))
    return found


def strings(value: Any, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    """Yield every text in `value` with its path."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from strings(inner, (*path, key))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from strings(inner, (*path, index))


def dependencies(stages: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return for every stage the existing stages it needs, in the order in which it names them."""
    needs: dict[str, dict[str, None]] = {name: {} for name in stages}
    for reference in references(stages):
        if reference.target in needs:
            needs[reference.stage][reference.target] = None
    return {name: tuple(targets) for name, targets in needs.items()}


def order(needs: Mapping[str, tuple[str, ...]]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Sort stages so that each follows those it needs; among the free ones the file's order decides.

    Returns:
        The order, and the cycles as `(a, b, a)`. Stages on a cycle, or behind one, are not in the order.
    """
    done: dict[str, None] = {}
    while True:
        free = next(
            (name for name in needs if name not in done and all(target in done for target in needs[name])), None
        )
        if free is None:
            break
        done[free] = None
    return tuple(done), _cycles({name: targets for name, targets in needs.items() if name not in done})


def _cycles(blocked: dict[str, tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Return disjoint cycles among `blocked`; there is at least one if it is not empty."""
    cycles: list[tuple[str, ...]] = []
    while blocked:
        trail = [next(iter(blocked))]
        while trail[-1] not in trail[:-1]:
            step = next((target for target in blocked[trail[-1]] if target in blocked), None)
            if step is None:
                break
            trail.append(step)
        else:
            cycles.append(tuple(trail[trail.index(trail[-1]) :]))
        for name in set(trail):
            del blocked[name]
    return cycles


def _gate_references(name: str, stage: Any) -> Iterator[Reference]:
    gates = stage.get("gate") if isinstance(stage, Mapping) else None
    for index, gate in enumerate(gates if isinstance(gates, list | tuple) else ()):
        metric = gate.get("metric") if isinstance(gate, Mapping) else None
        if isinstance(metric, str) and "." in metric:
            path = ("stages", name, "gate", index, "metric")
            yield Reference(name, metric.partition(".")[0], path, is_gate=True)
