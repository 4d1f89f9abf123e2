"""Stages that build on another one's settings: a search names the stage it tries, a training the search it follows.

On plain values, before they are checked: afterwards every stage has all its keys.
"""

from collections.abc import Mapping
from typing import Any

from orchestrator.pipeline.graph import STAGE_SCHEME
from orchestrator.pipeline.problems import KeyPath, nearest
from orchestrator.tune.values import flat_keys, merged, overlap

Faults = list[tuple[KeyPath, str]]


def fill_in_bases(data: Any) -> Faults:
    """Put settings in the place of names in `data`, and say what is wrong with the names."""
    stages = data.get("stages") if isinstance(data, dict) else None
    if not isinstance(stages, dict):
        return []
    written = dict(stages)
    faults: Faults = []
    for fill_in in (_fill_in_search, _fill_in_training):
        for name, stage in list(stages.items()):
            if isinstance(stage, Mapping):
                stages[name] = fill_in(name, dict(stage), {**written, **stages}, faults)
    return faults


def _fill_in_search(name: str, stage: dict[str, Any], stages: Mapping[str, Any], faults: Faults) -> dict[str, Any]:
    base = stage.get("base")
    if stage.get("kind") != "tune" or not isinstance(base, str):
        return stage
    path: KeyPath = ("stages", name, "base")
    known = [other for other, content in stages.items() if isinstance(content, Mapping) and _is_train(content)]
    if base.startswith(STAGE_SCHEME):
        faults.append((path, f"a search needs a stage's settings, not its result; write {base[len(STAGE_SCHEME) :]!r}"))
    elif base not in known:
        hint = nearest(base, known) or f"; train stages: {', '.join(known) or 'none'}"
        faults.append((path, f"there is no train stage {base!r}{hint}"))
    elif "base" in stages[base]:
        faults.append((path, f"stage {base!r} has a base of its own; name one whose keys all stand in it"))
    else:
        return {**stage, "base": dict(stages[base])}
    return stage


def _fill_in_training(name: str, stage: dict[str, Any], stages: Mapping[str, Any], faults: Faults) -> dict[str, Any]:
    base = stage.get("base")
    if not _is_train(stage) or not isinstance(base, str) or not base.startswith(STAGE_SCHEME):
        return stage
    path: KeyPath = ("stages", name, "base")
    search = stages.get(base.removeprefix(STAGE_SCHEME))
    if not isinstance(search, Mapping):
        return stage  # reported as every reference to a stage that there is none of
    if search.get("kind") != "tune":
        faults.append((path, f"stage {base.removeprefix(STAGE_SCHEME)!r} is no tune stage; name one, or leave it out"))
        return stage
    settings, space = search.get("base"), search.get("space")
    if not isinstance(settings, Mapping):
        return stage
    for key in flat_keys({key: value for key, value in stage.items() if key != "base"}):
        searched = next((other for other in space or () if overlap(key, str(other))), None)
        if searched is not None:
            faults.append(
                (("stages", name, *key.split(".")), f"{searched!r} is searched by {base!r}, which gives it its value")
            )
    return merged(settings, stage)


def _is_train(stage: Mapping[str, Any]) -> bool:
    return stage.get("kind") == "train"
