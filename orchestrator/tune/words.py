"""Values of a trial in words."""

from typing import Any


def described(values: dict[str, Any]) -> str:
    """Return values as `key=value` with short keys."""
    return ", ".join(f"{short(key)}={shown(value)}" for key, value in values.items()) or "the base's own values"


def short(key: str) -> str:
    """The last part of a dotted key, with the one before it where that is all there is to tell it from others."""
    *_, last = key.split(".")
    return key.rpartition(".")[0].rpartition(".")[2] + "." + last if last == "name" else last


def shown(value: Any) -> str:
    """Return a value as it fits into a table."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
