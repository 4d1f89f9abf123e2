"""Faults in the names of metrics: a gate or a stop on a metric that no task computes would never work."""

from collections.abc import Iterator, Mapping
from typing import Any

from engine.catalog import MEMBER_FAMILY, OUT_OF_FOLD_FAMILY, TASKS, WEIGHT_FAMILY
from orchestrator.pipeline.problems import KeyPath, nearest

ENSEMBLE_FAMILIES = (MEMBER_FAMILY, WEIGHT_FAMILY, OUT_OF_FOLD_FAMILY)
WATCHERS = (("loop", "metric"), ("loop", "early_stop", "metric"), ("loop", "schedule", "metric"))


def metric_faults(stages: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    """Yield (key path, message) for every metric that its stage's task does not compute."""
    for name, stage in stages.items():
        if not isinstance(stage, Mapping):
            continue
        trained, path = (_mapping(stage.get("base")), ("base",)) if stage.get("kind") == "tune" else (stage, ())
        for watcher in WATCHERS:
            place = ("stages", name, *path, *watcher)
            yield from _faults(place, _at(trained, watcher), trained.get("task"), is_compared=True)
        gates = stage.get("gate")
        for index, gate in enumerate(gates if isinstance(gates, list) else []):
            address = gate.get("metric") if isinstance(gate, Mapping) else None
            if isinstance(address, str) and "." in address:
                measured_by, _, metric = address.partition(".")
                place, task = ("stages", name, "gate", index, "metric"), task_of(stages, measured_by)
                is_ensemble = _mapping(stages.get(measured_by)).get("kind") == "ensemble"
                families = ENSEMBLE_FAMILIES if is_ensemble else ()
                yield from _faults(place, metric, task, families, is_compared=gate.get("vs") is not None)
                yield from _bound_faults(place[:-1], gate, metric, task)


def _bound_faults(path: KeyPath, gate: Mapping[str, Any], metric: str, task: Any) -> Iterator[tuple[KeyPath, str]]:
    """Yield bounds that were meant in per cent."""
    entry = TASKS.get(task) if isinstance(task, str) else None
    if entry is None or metric not in entry.metrics or metric in entry.lower_is_better:
        return
    for key in ("min", "max"):
        bound = gate.get(key)
        if isinstance(bound, int | float) and not isinstance(bound, bool) and bound > 1:
            yield (*path, key), f"{metric} lies between 0 and 1, got {bound:g}; 95 % are 0.95"


def _faults(
    path: KeyPath, metric: Any, task: Any, more_families: tuple[str, ...] = (), *, is_compared: bool
) -> Iterator[tuple[KeyPath, str]]:
    entry = TASKS.get(task) if isinstance(task, str) else None
    if entry is None or not entry.metrics or not isinstance(metric, str):
        return
    if metric not in entry.metrics and not metric.startswith(entry.metric_families + more_families):
        hint = nearest(metric, list(entry.metrics)) or f"; metrics: {', '.join(entry.metrics)}"
        yield path, f"{task} has no metric {metric!r}{hint}"
    elif is_compared and metric.removeprefix(OUT_OF_FOLD_FAMILY) in entry.lower_is_better:
        yield path, f"more of {metric!r} is worse, and here more counts as better; take {entry.main_metric!r}"


def task_of(stages: Mapping[str, Any], name: str) -> Any:
    """The task of a train or tune stage, or of the first one behind an evaluate or ensemble stage; None = unknown."""
    waiting, seen = [name], set()
    while waiting:
        name = waiting.pop(0)
        stage = _mapping(stages.get(name))
        if stage.get("kind") == "train":
            return stage.get("task")
        if stage.get("kind") == "tune":
            return _mapping(stage.get("base")).get("task")
        seen.add(name)  # stages that wait for each other are a fault of their own
        models = [stage.get("model")] if stage.get("kind") == "evaluate" else stage.get("models")
        texts = [model for model in (models if isinstance(models, list) else []) if isinstance(model, str)]
        waiting += [target for text in texts if (target := text.removeprefix("stage:")) not in seen]
    return None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _at(value: Any, keys: tuple[str, ...]) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
