"""Values of a trial in words."""

from collections.abc import Iterable
from typing import Any

LARGE, HUGE = 1e3, 1e6
"""Numbers between these are shown in whole units."""


def described(values: dict[str, Any]) -> str:
    """Return values as `key=value` with short keys."""
    names = short_names(values)
    return ", ".join(f"{names[key]}={shown(value)}" for key, value in values.items()) or "the base's own values"


def brief(text: str, most: int = 120) -> str:
    """The first part of a reason, no longer than `most` characters; the ledger has all of it."""
    first = text.partition("; ")[0]
    return first if len(first) <= most else f"{first[: most - 1]}…"


def short_names(keys: Iterable[str]) -> dict[str, str]:
    """Return for each dotted key its last part, with as many before it as tell it from the others; of a `name` two."""
    parts = {key: key.split(".") for key in keys}
    lengths = {key: 2 if path[-1] == "name" else 1 for key, path in parts.items()}
    while True:
        names = {key: ".".join(path[-lengths[key] :]) for key, path in parts.items()}
        texts = list(names.values())
        unclear = [key for key, name in names.items() if texts.count(name) > 1 and lengths[key] < len(parts[key])]
        if not unclear:
            return names
        lengths.update({key: lengths[key] + 1 for key in unclear})


def shown(value: Any) -> str:
    """Return a value as it fits into a table; of settings the name, then the other keys."""
    if isinstance(value, dict):
        rest = [f"{key}={shown(inner)}" for key, inner in value.items() if key != "name"]
        return " ".join([*([str(value["name"])] if "name" in value else []), *rest]) or "{}"
    if not isinstance(value, float):
        return str(value)
    return f"{value:.0f}" if LARGE <= abs(value) < HUGE else f"{value:.3g}"
