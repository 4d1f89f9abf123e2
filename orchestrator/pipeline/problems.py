"""What may be wrong with a pipeline file: all of it at once, each with its place, its key and what was expected."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from foundation.errors import ConfigError

KeyPath = tuple[str | int, ...]
"""Keys and list positions from the top of the file to a value."""


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a pipeline file."""

    origin: str
    """The file, or `--set KEY=VALUE`."""
    line: int | None
    """1-based line in the file; None for an override."""
    path: KeyPath
    message: str

    @property
    def key(self) -> str:
        """The key path as the user writes it, for example `stages.detector.loop.epochs`."""
        return dotted(self.path)

    def __str__(self) -> str:
        place = self.origin if self.line is None else f"{self.origin}:{self.line}"
        return ": ".join(part for part in (place, self.key, self.message) if part)

    def to_json(self) -> dict[str, Any]:
        """Return the problem as plain data."""
        return {"origin": self.origin, "line": self.line, "key": self.key, "message": self.message}


class ProblemsFound(ConfigError):
    """A pipeline file with problems; the message has one line for each, in the file's order."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        found = sorted(set(problems), key=lambda problem: (problem.line is None, problem.line or 0, problem.key))
        self.problems: tuple[Problem, ...] = tuple(found)
        super().__init__("\n".join(str(problem) for problem in found))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.problems,)


def dotted(path: KeyPath) -> str:
    """Join a key path with dots."""
    return ".".join(str(part) for part in path)


def nearest(given: str, known: Sequence[str]) -> str:
    """Return `; did you mean 'x'?` for the known word nearest to `given`, or an empty text."""
    lowered = {word.lower(): word for word in known}
    matches = difflib.get_close_matches(given.lower(), list(lowered), n=1, cutoff=0.6)
    return f"; did you mean {lowered[matches[0]]!r}?" if matches else ""


def listed(words: Iterable[str], last: str = "or") -> str:
    """Return `'a', 'b' or 'c'`."""
    quoted = [repr(word) for word in words]
    if len(quoted) < 2:
        return "".join(quoted)
    return f"{', '.join(quoted[:-1])} {last} {quoted[-1]}"
