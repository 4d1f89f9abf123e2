"""Rows as aligned text: the tables of the command line. No rich, so that short commands stay quick."""

import os
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

GAP = "  "
MIN_WIDTH = 16
"""Columns are not wrapped to less than this."""


def aligned(head: Sequence[str], rows: Sequence[Sequence[str]], width: int | None = None) -> str:
    """Return the rows under their head, each column as wide as its widest cell.

    Args:
        head: names of the columns.
        rows: as many cells each.
        width: of the whole table; the widest columns are wrapped to fit, as far as that goes. None = no limit.
    """
    table = [list(head), *[list(row) for row in rows]]
    widths = [max(len(row[column]) for row in table) for column in range(len(head))]
    if width is not None:
        widths = _narrowed(widths, width)
    return "\n".join(line for row in table for line in _lines(row, widths))


def table_of(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> str:
    """Return dicts as a table; the columns are the keys of the first row unless given. It fits a terminal."""
    head = list(columns or (rows[0] if rows else ()))
    return aligned(head, [[cell(row.get(column)) for column in head] for row in rows], terminal_width())


def terminal_width() -> int | None:
    """Return how wide a table may be; None in a pipe, where each row stays one line."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() or "COLUMNS" in os.environ else None


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
    return f"{value:.4f}" if 0.001 <= abs(value) < 100 or value == 0 else f"{value:.4g}"


def _narrowed(widths: Sequence[int], total: int) -> list[int]:
    """Take from the widest columns but the first, which holds names to copy, until all of them fit into `total`."""
    first, *narrowed = widths
    while narrowed and first + sum(narrowed) + len(GAP) * len(narrowed) > total and max(narrowed) > MIN_WIDTH:
        narrowed[narrowed.index(max(narrowed))] -= 1
    return [first, *narrowed]


def _lines(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    """Return a row as one line, or as several where cells are wrapped."""
    cells = [
        [text] if len(text) <= width else textwrap.wrap(text, width) for text, width in zip(row, widths, strict=True)
    ]
    lines = zip_longest(*cells, fillvalue="")
    return [GAP.join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def _entry(indent: str, label: str, value: Any, depth: int) -> str:
    is_nested = isinstance(value, Mapping) or (
        isinstance(value, list) and any(isinstance(item, Mapping) for item in value)
    )
    if is_nested and value:
        return f"{indent}{label}\n{outline(value, depth + 1)}"
    return f"{indent}{label} {cell(value)}".rstrip()
