"""Faults in ensembles that the types cannot see: models that cannot be joined, and fits that would measure memory."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from engine.catalog import TASKS, load
from orchestrator.pipeline import addresses, graph
from orchestrator.pipeline.metric_checks import task_of
from orchestrator.pipeline.problems import KeyPath, listed

BUNDLE_FILE = "bundle.json"
FITTED_METHODS = ("weighted_averaging", "stacking")
Found = Iterator[tuple[KeyPath, str]]


def ensemble_faults(stages: Mapping[str, Any], data_sets: Mapping[str, Any], folder: Path) -> Found:
    """Yield (key path, message) for every fault in the ensemble stages, and in the use that is made of them."""
    for name, content in stages.items():
        stage = _mapping(content)
        if stage.get("kind") == "ensemble":
            models = [model if isinstance(model, str) else "" for model in _list(stage.get("models"))]
            path = ("stages", name, "models")
            yield from _repeated(path, models)
            yield from _of_other_tasks(path, models, stages, folder)
            yield from _of_other_classes(path, models, stages, data_sets, folder)
            yield from _of_other_sight(path, models, stages, folder)
            if stage.get("method") in FITTED_METHODS:
                yield from _fitted_to_training_data(("stages", name), stage, models, stages)
    yield from _ensembles_as_weights(stages)


def _repeated(path: KeyPath, models: list[str]) -> Found:
    for index, model in enumerate(models):
        if model and model in models[:index]:
            yield (*path, index), f"{model!r} is named twice; give each model once (`weighted_averaging` fits weights)"


def _of_other_tasks(path: KeyPath, models: list[str], stages: Mapping[str, Any], folder: Path) -> Found:
    able = [task for task, entry in TASKS.items() if entry.ensemble]
    for index, model in enumerate(models):
        task = task_of(stages, _target(model)) if _target(model) else bundle_manifest(model, folder).get("task")
        if task in TASKS and task not in able:
            yield (*path, index), f"{model!r} is a model for {task!r}; an ensemble joins models for {listed(able)}"


def _of_other_classes(
    path: KeyPath, models: list[str], stages: Mapping[str, Any], data_sets: Mapping[str, Any], folder: Path
) -> Found:
    """Compare the classes that are known without reading data: those of bundles and those the file lists."""
    known: dict[int, set[str]] = {}
    for index, model in enumerate(models):
        trained_on = _mapping(stages.get(_target(model))).get("data")
        data_set = _mapping(data_sets.get(trained_on)) if isinstance(trained_on, str) else {}
        classes = (
            _list(data_set.get("classes")) if _target(model) else _list(bundle_manifest(model, folder).get("classes"))
        )
        if classes:
            known[index] = {str(label) for label in classes}
    first = min(known, default=None)
    for index, classes_of in known.items():
        strangers = classes_of ^ known[first] if first is not None else set()
        if strangers:
            yield (
                (*path, index),
                f"{models[index]!r} and {models[first or 0]!r} know different classes: only one of them has "
                f"{listed(sorted(strangers), 'and')}",
            )


def _of_other_sight(path: KeyPath, models: list[str], stages: Mapping[str, Any], folder: Path) -> Found:
    """Compare what is known of the image that each model sees; members of one ensemble see the same one."""
    known: dict[int, tuple[str, str]] = {}
    for index, model in enumerate(models):
        stage, manifest = _mapping(stages.get(_target(model))), bundle_manifest(model, folder)
        is_whole = stage.get("kind") == "train" and "base" not in stage
        task, settings = (stage.get("task"), stage) if is_whole else (manifest.get("task"), manifest.get("settings"))
        if seen := _sight(task, _mapping(settings)):
            known[index] = seen
    first = min(known, default=0)
    for index, seen in known.items():
        if seen != known[first]:
            yield (
                (*path, index),
                f"{models[index]!r} and {models[first]!r} cannot see the same image: {' and '.join(seen)} of one, "
                f"{' and '.join(known[first])} of the other; join models that agree in both",
            )


def _sight(task: Any, settings: Mapping[str, Any]) -> tuple[str, str] | None:
    """How an image is resized, and its shape, in the user's words; None where the settings do not tell."""
    if not isinstance(task, str) or task not in TASKS or not TASKS[task].ensemble or not settings:
        return None
    fields = load(TASKS[task].settings).model_fields
    size, resize = (settings.get(key, fields[key].default) for key in ("image_size", "resize"))
    is_size = isinstance(size, list | tuple) and len(size) == 2 and all(isinstance(side, int) and side for side in size)
    if not is_size:
        return None
    return f"resize: {resize}", f"image_size of {round(size[0] / size[1], 3):g} to 1"


def _fitted_to_training_data(
    path: KeyPath, ensemble: Mapping[str, Any], models: list[str], stages: Mapping[str, Any]
) -> Found:
    split = ensemble.get("split", "val")
    for model in models:
        stage = _mapping(stages.get(_target(model)))
        is_same_data = stage.get("data") == ensemble.get("data")
        if stage.get("kind") == "train" and is_same_data and stage.get("train_split", "train") == split:
            yield (
                (*path, "split"),
                f"{model!r} was trained on {split!r}, where it looks better than it is; fit on a split that no model "
                "was trained on",
            )
            return


def _ensembles_as_weights(stages: Mapping[str, Any]) -> Found:
    """A network cannot start from an ensemble; a student can learn from one."""
    for reference in graph.references(stages):
        is_start = reference.path[-1] == "weights" and "distill" not in reference.path
        if is_start and _mapping(stages.get(reference.target)).get("kind") == "ensemble":
            message = f"stage {reference.target!r} is an ensemble, which has no single network; name one of its members"
            yield reference.path, message


def _target(model: str) -> str:
    """The stage that an address names; empty for other addresses."""
    return model.removeprefix(graph.STAGE_SCHEME) if model.startswith(graph.STAGE_SCHEME) else ""


def bundle_manifest(address: str, folder: Path) -> Mapping[str, Any]:
    """What the bundle behind a `file:` address says; nothing where there is none, or it cannot be read."""
    if not address.startswith(addresses.FILE_SCHEME):
        return {}
    try:
        return _mapping(json.loads((addresses.file_path(address, folder) / BUNDLE_FILE).read_text()))
    except (OSError, ValueError):
        return {}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
