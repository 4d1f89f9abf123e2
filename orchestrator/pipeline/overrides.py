"""`--set stages.detector.loop.epochs=3`: changes to the plain values of a file before they are checked."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.pipeline.problems import KeyPath, Problem, ProblemsFound, dotted, nearest
from orchestrator.pipeline.source import parse

MAX_SHOWN = 100
NAMED_PARTS = ("data", "stages")
"""Below these a name must exist in the file; elsewhere a key that the file leaves out may be set."""


@dataclass(frozen=True)
class Override:
    """One `--set KEY=VALUE`."""

    text: str
    path: KeyPath
    """What it brought in: the key, or the first key above it that the file did not have."""

    @property
    def origin(self) -> str:
        """How problems name it."""
        return _origin(self.text)


def apply_overrides(data: Any, texts: Sequence[str]) -> tuple[list[Override], list[Problem]]:
    """Change `data` in place; later ones win.

    Returns:
        The overrides that were applied, and the problems of the others.
    """
    applied: list[Override] = []
    problems: list[Problem] = []
    for text in texts:
        try:
            applied.append(_apply(data, text))
        except ProblemsFound as error:
            problems.extend(error.problems)
    return applied, problems


def _parse(text: str) -> tuple[list[str], Any]:
    key, equals, value = text.partition("=")
    origin = _origin(text)
    keys = key.split(".")
    if not equals or not all(keys):
        raise ProblemsFound([Problem(origin, None, (), "expected KEY=VALUE, such as stages.detector.loop.epochs=3")])
    try:
        source = parse(value, origin)
    except ProblemsFound as error:
        raise _without_line(origin, error.problems) from error
    if source.problems:
        raise _without_line(origin, source.problems)
    return keys, source.data


def _apply(data: Any, text: str) -> Override:
    keys, value = _parse(text)
    origin = _origin(text)
    container = data
    path: KeyPath = ()
    brought: KeyPath | None = None
    for key in keys[:-1]:
        place = _place(container, key, path, origin)
        path = (*path, place)
        if isinstance(container, dict) and container.get(key) is None:
            container[key] = {}
            brought = brought or path
        container = container[place]
    last = _place(container, keys[-1], path, origin)
    container[last] = value
    return Override(text, brought or (*path, last))


def _place(container: Any, key: str, path: KeyPath, origin: str) -> str | int:
    """Return `key` as it indexes `container`, or say why it cannot."""
    if isinstance(container, list):
        if key.isdigit() and int(key) < len(container):
            return int(key)
        raise _refused(origin, path, f"expected a position from 0 to {len(container) - 1}, got {key!r}")
    if not isinstance(container, dict):
        raise _refused(origin, path, "this is a single value; it has no keys of its own")
    if len(path) == 1 and path[0] in NAMED_PARTS and key not in container:
        hint = nearest(key, list(container)) or f"; there are: {', '.join(container)}"
        raise _refused(origin, (*path, key), f"there is no {dotted((*path, key))!r} in the file{hint}")
    return key


def _origin(text: str) -> str:
    shown = text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
    return f"--set {shown}"


def _refused(origin: str, path: KeyPath, message: str) -> ProblemsFound:
    return ProblemsFound([Problem(origin, None, path, message)])


def _without_line(origin: str, problems: Iterable[Problem]) -> ProblemsFound:
    return ProblemsFound(Problem(origin, None, (), problem.message) for problem in problems)
