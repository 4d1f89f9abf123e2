"""Values under dotted keys, `loop.optimizer.lr`, put into settings and read from them. On plain data."""

import copy
from collections.abc import Mapping
from typing import Any

Values = dict[str, Any]
"""What a trial is made with: a value for each searched key that counts in it."""

MISSING: Any = object()


def with_values(settings: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of `settings` with a value under every key; mappings on the way are made.

    Raises:
        KeyError: with the key, where something on its way is a single value or a list has no such place.
    """
    changed = copy.deepcopy(dict(settings))
    for key, value in values.items():
        *way, last = key.split(".")
        container: Any = changed
        for part in way:
            if isinstance(container, dict) and container.get(part) is None:
                container[part] = {}
            container = container[_place(container, part, key)]
        container[_place(container, last, key)] = copy.deepcopy(value)
    return changed


def value_at(settings: Any, key: str) -> Any:
    """Return what lies under a dotted key, or MISSING."""
    for part in key.split("."):
        try:
            settings = settings[_place(settings, part, key)]
        except (KeyError, IndexError):
            return MISSING
    return settings


def overlap(one: str, other: str) -> bool:
    """Whether one of two dotted keys lies in the other, or they are the same."""
    a, b = one.split("."), other.split(".")
    return a[: len(b)] == b or b[: len(a)] == a


def flat_keys(settings: Any, prefix: str = "") -> list[str]:
    """Return the dotted keys of all single values and lists in nested mappings."""
    if not isinstance(settings, Mapping):
        return [prefix.rstrip(".")]
    return [key for name, inner in settings.items() for key in flat_keys(inner, f"{prefix}{name}.")]


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested mappings laid over each other; where both have a value, `above` counts.

    A mapping with another `name` replaces the one below: their keys belong to different types.
    """
    result = copy.deepcopy(dict(below))
    for key, value in above.items():
        before = result.get(key)
        if isinstance(value, Mapping) and isinstance(before, dict) and not _is_other_type(before, value):
            result[key] = merged(before, value)
        else:
            result[key] = copy.deepcopy(value)
    return result


def _is_other_type(below: Mapping[str, Any], above: Mapping[str, Any]) -> bool:
    return "name" in above and below.get("name") != above["name"]


def _place(container: Any, part: str, key: str) -> str | int:
    if isinstance(container, list) and part.isdigit() and int(part) < len(container):
        return int(part)
    if isinstance(container, dict):
        return part
    raise KeyError(key)
