"""Faults that the types cannot see: names that lead nowhere, cycles, addresses of the wrong form, missing files."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from engine.catalog import TASKS, load
from foundation.errors import ConfigError
from orchestrator.pipeline import addresses, graph
from orchestrator.pipeline.effect_checks import effect_faults
from orchestrator.pipeline.ensemble_checks import BUNDLE_FILE, ensemble_faults
from orchestrator.pipeline.evaluate_checks import evaluate_faults
from orchestrator.pipeline.metric_checks import metric_faults
from orchestrator.pipeline.problems import KeyPath, nearest
from orchestrator.pipeline.tune_checks import tune_faults
from orchestrator.tracking.location import tracking_uri

Found = Iterator[tuple[KeyPath, str]]

RESERVED_ALIAS = "latest"
MODEL_HOLDERS = ("evaluate", "register")
"""Kinds of stages whose `model` is an address."""
EQUALISING = ("class_balanced", "oversample", "undersample")
"""Samplers after which no class is rare any more."""


def find_faults(data: Any, folder: Path) -> Found:
    """Yield (key path, message) for every fault in a pipeline file given as plain values.

    Parts of the wrong type are passed over: the types report them.

    Args:
        data: the file as plain values.
        folder: where relative paths start.
    """
    if not isinstance(data, Mapping):
        return
    data_sets, stages = _mapping(data.get("data")), _mapping(data.get("stages"))
    yield from _reference_faults(stages)
    yield from _cycle_faults(stages)
    yield from _stage_faults(stages, data_sets, folder)
    yield from ensemble_faults(stages, data_sets, folder)
    yield from evaluate_faults(stages, folder)
    yield from tune_faults(stages)
    yield from metric_faults(stages)
    yield from effect_faults(stages, data_sets)
    for name, data_set in data_sets.items():
        yield from _data_faults(("data", name), _mapping(data_set), folder)
    if "stages" in data and data["stages"] == {}:
        yield ("stages",), "there are no stages; nothing would run"
    yield from _store_faults(data)


def _store_faults(data: Mapping[str, Any]) -> Found:
    storage, uri = data.get("storage"), _mapping(data.get("tracking")).get("uri")
    if isinstance(storage, str) and "://" in storage:
        yield ("storage",), f"expected a folder, got {storage!r}"
    if isinstance(uri, str):
        try:
            tracking_uri(Path(), uri)
        except ConfigError as error:
            yield ("tracking", "uri"), str(error)


def _reference_faults(stages: Mapping[str, Any]) -> Found:
    for reference in graph.references(stages):
        if reference.target not in stages:
            hint = nearest(reference.target, list(stages)) or f"; stages: {', '.join(stages)}"
            yield reference.path, f"there is no stage {reference.target!r}{hint}"
            continue
        kind = _mapping(stages[reference.target]).get("kind")
        if reference.is_gate and kind == "register":
            yield reference.path, f"stage {reference.target!r} is a register stage and has no metrics"
        elif not reference.is_gate and kind in ("evaluate", "register"):
            message = f"stage {reference.target!r} is of kind {kind!r} and has no model; name a train stage"
            yield reference.path, message


def _cycle_faults(stages: Mapping[str, Any]) -> Found:
    found = graph.references(stages)
    for cycle in graph.order(graph.dependencies(stages))[1]:
        path = next(item.path for item in found if item.stage == cycle[0] and item.target == cycle[1])
        yield path, f"stages wait for each other: {' -> '.join(cycle)}"


def _stage_faults(stages: Mapping[str, Any], data_sets: Mapping[str, Any], folder: Path) -> Found:
    for name, content in stages.items():
        stage = _mapping(content)
        path: KeyPath = ("stages", name)
        if stage.get("kind") == "tune":
            stage, path = _mapping(stage.get("base")), (*path, "base")
        data = stage.get("data")
        if isinstance(data, str) and data not in data_sets:
            hint = nearest(data, list(data_sets)) or f"; data sets: {', '.join(data_sets) or 'none'}"
            yield (*path, "data"), f"there is no data set {data!r}{hint}"
        if stage.get("alias") == RESERVED_ALIAS:
            yield (*path, "alias"), f"the alias {RESERVED_ALIAS!r} is MLflow's own; choose another"
        for place, text in graph.strings(stage, path):
            yield from _address_faults(place, text, stage.get("kind"), folder)
        yield from _combination_faults(path, stage)
        yield from _sampler_faults((*path, "sampler", "name"), stage)
        yield from _transform_faults((*path, "augment", "transforms"), stage)


def _address_faults(path: KeyPath, text: str, kind: Any, folder: Path) -> Found:
    is_model = (len(path) == 3 and path[-1] == "model" and kind in MODEL_HOLDERS) or (
        len(path) == 4 and path[-2] == "models"
    )
    if path[-1] != "weights" and not is_model:
        return
    schemes = addresses.WEIGHTS_SCHEMES
    if is_model:
        schemes = ("stage",) if kind == "register" else addresses.MODEL_SCHEMES
    fault = addresses.address_fault(text, schemes)
    if fault:
        yield path, fault
    elif text.startswith(addresses.FILE_SCHEME) and not addresses.file_path(text, folder).exists():
        yield path, f"there is no file {addresses.file_path(text, folder)}"
    elif is_model and text.startswith(addresses.FILE_SCHEME) and not _is_bundle(addresses.file_path(text, folder)):
        given = addresses.file_path(text, folder)
        yield path, f"{given} is no bundle (it has no {BUNDLE_FILE}); give the `bundle` folder that a train stage wrote"


def _is_bundle(path: Path) -> bool:
    return (path / BUNDLE_FILE).is_file()


def _combination_faults(path: KeyPath, stage: Mapping[str, Any]) -> Found:
    """Yield keys that contradict each other or would have no effect."""
    resources = _mapping(stage.get("resources"))
    match resources.get("num_workers"):
        case [int(fewest), int(most)] if fewest > most:
            yield (*path, "resources", "num_workers"), f"expected [fewest, most], got {[fewest, most]}"
    if resources.get("use_gpu") is False and "GPU" in _mapping(resources.get("resources_per_worker")):
        yield (*path, "resources", "use_gpu"), "this is false, but `resources_per_worker` asks for a GPU"
    if "val_split" not in stage or stage["val_split"] is not None:
        return
    loop = _mapping(stage.get("loop"))
    watching = {
        "early_stop": loop.get("early_stop") is not None,
        "select": loop.get("select") == "best",
        "schedule": _mapping(loop.get("schedule")).get("name") == "plateau",
    }
    for key in (key for key, is_watching in watching.items() if is_watching):
        yield (*path, "loop", key), "this watches a validation metric, but `val_split` is null"


def _transform_faults(path: KeyPath, stage: Mapping[str, Any]) -> Found:
    transforms = _mapping(stage.get("augment")).get("transforms")
    if transforms and isinstance(transforms, list) and all(map(_is_named, transforms)):
        from vision.augment.check import validate_transforms  # slow: imports albumentations

        faults = validate_transforms(transforms, with_boxes=_has_boxes(stage))
        size = _image_size(stage)
        if not faults and size is not None:
            from vision.augment.transform_trial import trial_problems

            faults = trial_problems(transforms, size, with_boxes=_has_boxes(stage))
        for message in faults:
            yield path, message


def _is_named(transform: Any) -> bool:
    """Whether a transform is written as `Name: {argument: value}`; the types report any other."""
    return isinstance(transform, dict) and len(transform) == 1 and isinstance(next(iter(transform.values())), dict)


def _image_size(stage: Mapping[str, Any]) -> tuple[int, int] | None:
    """The (height, width) that a stage's images are augmented to; None where it is not given rightly."""
    task = stage.get("task")
    if not isinstance(task, str) or task not in TASKS:
        return None
    match stage.get("image_size", load(TASKS[task].settings).model_fields["image_size"].default):
        case [int(height), int(width)] if height > 0 and width > 0:
            return height, width
    return None


def _sampler_faults(path: KeyPath, stage: Mapping[str, Any]) -> Found:
    sampler = _mapping(stage.get("sampler")).get("name")
    if sampler == "small_objects" and not _has_boxes(stage):
        yield path, f"small_objects goes by the size of objects, which {stage['task']} has not; take another sampler"
    if sampler in EQUALISING:
        for key in _weighed_by_frequency(_mapping(stage.get("loss"))):
            yield (
                path,
                f"{sampler} shows all classes equally often, and `{key}` goes by how often the split has them: rare "
                "classes would count twice over; leave one of the two out",
            )


def _weighed_by_frequency(loss: Mapping[str, Any]) -> Iterator[str]:
    """Yield the keys of a loss that make up for classes that are not equally frequent."""
    if loss.get("class_weights") in ("balanced", "effective_number"):
        yield f"loss.class_weights: {loss['class_weights']}"
    if loss.get("name") == "class_balanced":
        yield "loss.name: class_balanced"
    if loss.get("logit_adjustment", 0) not in (0, None):
        yield "loss.logit_adjustment"


def _has_boxes(stage: Mapping[str, Any]) -> bool:
    """Whether a stage's task is about objects in images; so it is taken to be where there is no such task."""
    task = stage.get("task")
    return not isinstance(task, str) or task not in TASKS or TASKS[task].has_boxes


def _data_faults(path: KeyPath, data_set: Mapping[str, Any], folder: Path) -> Found:
    """Yield what is missing on disk; a data set with a `download` is fetched before it is used."""
    kind, root, splits = data_set.get("format"), data_set.get("root"), _mapping(data_set.get("splits"))
    if kind == "coco" and root is None and not splits:
        yield path, "a coco data set needs `root`, or `splits` with the files of each split"
    if kind in ("scenes", "digits") or data_set.get("download") is not None:
        return
    if isinstance(root, str) and not addresses.absolute(Path(root), folder).is_dir():
        yield (*path, "root"), f"there is no folder {addresses.absolute(Path(root), folder)}"
    for name, split in splits.items():
        for key in ("annotations", "images"):
            place = _mapping(split).get(key)
            if isinstance(place, str) and not addresses.absolute(Path(place), folder).exists():
                what = "file" if key == "annotations" else "folder"
                yield (*path, "splits", name, key), f"there is no {what} {addresses.absolute(Path(place), folder)}"


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
