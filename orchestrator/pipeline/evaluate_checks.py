"""Faults in what an evaluate stage gives anew: keys that the model's task does not have, values that do not fit it."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from engine.catalog import TASKS, entry, load
from orchestrator.pipeline import graph
from orchestrator.pipeline.ensemble_checks import bundle_manifest
from orchestrator.pipeline.messages import explain
from orchestrator.pipeline.metric_checks import task_of
from orchestrator.pipeline.problems import KeyPath, listed
from orchestrator.pipeline.settings import AS_TRAINED, OVERRIDES

Found = Iterator[tuple[KeyPath, str]]


def evaluate_faults(stages: Mapping[str, Any], folder: Path) -> Found:
    """Yield (key path, message) for every fault in what evaluate stages put over the settings of their models.

    A model of the registry is not looked at: the values must fit one of the tasks.
    """
    for name, content in stages.items():
        stage = _mapping(content)
        if stage.get("kind") != "evaluate":
            continue
        given = {key: stage[key] for key in OVERRIDES if key in stage and stage[key] != AS_TRAINED}
        model = stage["model"] if isinstance(stage.get("model"), str) else ""
        manifest = bundle_manifest(model, folder)
        task = task_of(stages, name) or manifest.get("task")
        tasks = [task] if task in TASKS else sorted(TASKS)
        able = max(len(_known_part(one, given)) for one in tasks)
        faults = min(([*_faults(one, given)] for one in tasks if len(_known_part(one, given)) == able), key=len)
        if not faults and given and task in TASKS:
            trained = _mapping(stages.get(model.removeprefix(graph.STAGE_SCHEME)))
            own = trained if trained.get("kind") == "train" else _mapping(manifest.get("settings"))
            faults = [*_combination_faults(task, own, given)] if own else []
        yield from ((("stages", name, *path), message) for path, message in faults)


def _faults(task: str, given: Mapping[str, Any]) -> Found:
    settings = load(entry(task).evaluation)
    for key in given:
        if key not in settings.model_fields:
            known = listed(settings.model_fields)
            yield (key,), f"a model for {task} has no {key!r}; what can be given anew here is {known}"
    known_part = _known_part(task, given)
    try:
        settings.model_validate(known_part)
    except ValidationError as error:
        yield from explain(error, known_part, settings)


def _known_part(task: str, given: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in given.items() if key in load(entry(task).evaluation).model_fields}


def _combination_faults(task: str, trained: Mapping[str, Any], given: Mapping[str, Any]) -> Found:
    """Yield why the values do not fit the settings that the model was trained with, which are right by themselves."""
    settings = load(entry(task).settings)
    own = {key: value for key, value in trained.items() if key in settings.model_fields}
    try:
        settings.model_validate(own)
    except ValidationError:
        return
    try:
        settings.model_validate({**own, **given})
    except ValidationError as error:
        for _, message in explain(error, own, settings):
            yield (next(iter(given)),), f"this does not fit the settings of the model: {message}"


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
