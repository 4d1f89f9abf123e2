"""Rows as aligned text: the tables of the command line. No rich, so that short commands stay quick."""

from collections.abc import Mapping, Sequence
from typing import Any

GAP = "  "


def aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return the rows under their head, each column as wide as its widest cell."""
    table = [list(head), *[list(row) for row in rows]]
    widths = [max(len(row[column]) for row in table) for column in range(len(head))]
    lines = [GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
    return "\n".join(lines)


def table_of(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> str:
    """Return dicts as a table; the columns are the keys of the first row unless given."""
    head = list(columns or (rows[0] if rows else ()))
    return aligned(head, [[cell(row.get(column)) for column in head] for row in rows])


def outline(value: Any, depth: int = 0) -> str:
    """Return nested plain data as indented lines `key: value`."""
    indent = GAP * depth
    if isinstance(value, Mapping):
        return "\n".join(_entry(indent, f"{key}:", inner, depth) for key, inner in value.items())
    if isinstance(value, list | tuple):
        return "\n".join(_entry(indent, "-", inner, depth) for inner in value)
    return f"{indent}{cell(value)}"


def cell(value: Any) -> str:
    """Return a value as one cell: nothing for None, lists joined with commas, floats rounded."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={cell(inner)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(cell(inner) for inner in value)
    return str(value)


def number(value: float | str) -> str:
    """Return a number with four significant digits or four decimals, whichever is shorter; text as it is."""
    if isinstance(value, str):
        return value
    return f"{value:.4f}" if 0.001 <= abs(value) < 100 else f"{value:.4g}"


def _entry(indent: str, label: str, value: Any, depth: int) -> str:
    is_nested = isinstance(value, Mapping) or (
        isinstance(value, list) and any(isinstance(item, Mapping) for item in value)
    )
    if is_nested and value:
        return f"{indent}{label}\n{outline(value, depth + 1)}"
    return f"{indent}{label} {cell(value)}".rstrip()
