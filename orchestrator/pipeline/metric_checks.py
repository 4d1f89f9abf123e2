"""Faults in the names of metrics: a gate or a stop on a metric that no task computes would never work."""

from collections.abc import Iterator, Mapping
from typing import Any

from engine.catalog import TASKS
from orchestrator.pipeline.problems import KeyPath, nearest

WATCHERS = (("loop", "metric"), ("loop", "early_stop", "metric"), ("loop", "schedule", "metric"))


def metric_faults(stages: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    """Yield (key path, message) for every metric that its stage's task does not compute."""
    for name, stage in stages.items():
        if not isinstance(stage, Mapping):
            continue
        for watcher in WATCHERS:
            yield from _faults(("stages", name, *watcher), _at(stage, watcher), stage.get("task"))
        gates = stage.get("gate")
        for index, gate in enumerate(gates if isinstance(gates, list) else []):
            address = gate.get("metric") if isinstance(gate, Mapping) else None
            if isinstance(address, str) and "." in address:
                measured_by, _, metric = address.partition(".")
                yield from _faults(("stages", name, "gate", index, "metric"), metric, _task_of(stages, measured_by))


def _faults(path: KeyPath, metric: Any, task: Any) -> Iterator[tuple[KeyPath, str]]:
    entry = TASKS.get(task) if isinstance(task, str) else None
    if entry is None or not entry.metrics or not isinstance(metric, str):
        return
    if metric not in entry.metrics and not metric.startswith(entry.metric_families):
        hint = nearest(metric, list(entry.metrics)) or f"; metrics: {', '.join(entry.metrics)}"
        yield path, f"{task} has no metric {metric!r}{hint}"


def _task_of(stages: Mapping[str, Any], name: str) -> Any:
    """The task of a train stage, or of the train stage that an evaluate stage measures; None where unknown."""
    stage = _mapping(stages.get(name))
    model = stage.get("model")
    if stage.get("kind") == "evaluate" and isinstance(model, str):
        stage = _mapping(stages.get(model.removeprefix("stage:")))
    return stage.get("task")


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _at(value: Any, keys: tuple[str, ...]) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
