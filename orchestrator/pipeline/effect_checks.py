"""Keys of a train stage that would have no effect, or another one than was meant."""

from collections.abc import Iterator, Mapping
from typing import Any

from engine.catalog import TASKS
from orchestrator.pipeline.problems import KeyPath

WITHOUT_BOXES = ("imagefolder", "digits")
"""Formats that give every image one class."""
WEIGHTS = "weights"


def effect_faults(stages: Mapping[str, Any], data_sets: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    """Yield (key path, message) for every train stage, or base of a search, whose keys do not go together.

    A stage with a `base` of its own is passed over: what stands in the file is not all of it.
    """
    for name, content in stages.items():
        stage, path = _mapping(content), _place(name)
        if stage.get("kind") == "tune":
            stage, path = _mapping(stage.get("base")), _place(name, "base")
        if stage.get("kind") == "train" and "base" not in stage:
            yield from ((path + key, message) for key, message in _loop_faults(stage))
            yield from ((path + key, message) for key, message in _data_faults(stage, data_sets))


def _place(*keys: str) -> KeyPath:
    return ("stages", *keys)


def _loop_faults(stage: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    loop = _mapping(stage.get("loop"))
    if loop.get("metric") is not None and loop.get("select", "last") == "last":
        message = "this is for `loop.select: best` only, and here the last weights are kept; add that, or leave it out"
        yield ("loop", "metric"), message
    frozen = _mapping(loop.get("fine_tune")).get("freeze_epochs")
    is_frozen = frozen == "all" or (isinstance(frozen, int) and frozen > 0)
    if is_frozen and not _has_weights(stage.get("model")):
        message = "this would keep random weights as they are; give `model.weights`, or leave it out"
        yield ("loop", "fine_tune", "freeze_epochs"), message


def _has_weights(model: Any) -> bool:
    """Whether the model, or its backbone, starts from weights of another training."""
    return any(_mapping(part).get(WEIGHTS) is not None for part in (model, _mapping(model).get("backbone")))


def _data_faults(stage: Mapping[str, Any], data_sets: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    task, data = stage.get("task"), stage.get("data")
    kind = _mapping(data_sets.get(data)).get("format") if isinstance(data, str) else None
    if task in TASKS and TASKS[task].has_boxes and kind in WITHOUT_BOXES:
        able = " or ".join(other for other, entry in TASKS.items() if not entry.has_boxes)
        yield (
            ("data",),
            f"data set {data!r} of `format: {kind}` has no boxes, and {task} needs them; take `task: {able}`, or data "
            "with boxes",
        )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
