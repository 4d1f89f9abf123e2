"""Read a YAML file into plain values and remember the line of every key. No meaning of keys here."""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from foundation.errors import ConfigError
from orchestrator.pipeline.problems import KeyPath, Problem, ProblemsFound, nearest

MAX_SHOWN_PATH = 200

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# The core schema of YAML 1.2: `1e-3` is a number, `no` and `on` are texts.
_CONSTANTS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER = re.compile(r"[-+]?[0-9]+")
_OCTAL_OR_HEX = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL_FLOAT = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")

_PLACEHOLDER = re.compile(r"\$\{([^}]*)\}")
_ENVIRONMENT = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)
_MERGE_TAG = "tag:yaml.org,2002:merge"
_STANDARD_TAG = re.compile(r"tag:yaml\.org,2002:(null|bool|int|float|str|seq|map|timestamp|value|merge)")


@dataclass(frozen=True)
class Source:
    """A YAML file as plain values, with the line of each key path."""

    name: str
    """The path as the user gave it; problems begin with it."""
    text: str
    data: Any
    lines: dict[KeyPath, int]
    problems: tuple[Problem, ...] = ()
    unresolved: frozenset[KeyPath] = frozenset()
    """Values with a `${…}` that could not be filled in; nothing else is said about them."""

    def line(self, path: KeyPath) -> int:
        """1-based line of `path`, or of the nearest key above it that is in the file."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def read_source(path: Path) -> Source:
    """Read `path`.

    Raises:
        ConfigError: if the file cannot be read; `ProblemsFound` (with the line) if it is not YAML.
    """
    return parse(_read_text(path), str(path))


def parse(text: str, name: str) -> Source:
    """Turn YAML `text` into a `Source`.

    Duplicate keys and `${…}` that cannot be filled in are collected in `problems`.

    Raises:
        ProblemsFound: with the line, if `text` is not YAML.
    """
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise ProblemsFound([Problem(name, line, (), _syntax_message(error, text, line))]) from error
    except yaml.YAMLError as error:
        raise ProblemsFound([Problem(name, 1, (), f"this is not YAML: {error}".split("\n")[0])]) from error
    builder = _Builder(name)
    data = builder.build(node, ()) if node is not None else None
    return Source(name, text, data, builder.lines, tuple(builder.problems), frozenset(builder.unresolved))


def scalar(text: str) -> Any:
    """Return the value of an unquoted YAML scalar by the core schema of YAML 1.2."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _OCTAL_OR_HEX.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _SPECIAL_FLOAT.fullmatch(text):
        return float(text.replace(".", ""))
    return text


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        here = sorted(found.name for found in path.parent.glob("*.y*ml"))
        hint = nearest(path.name, here) or (f"; there are: {', '.join(here[:5])}." if here else ".")
        raise ConfigError(
            f"there is no pipeline file {path}{hint} Give the path of one, or write one: `orchestrator init`."
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8.") from error
    except OSError as error:
        shown = str(path) if len(str(path)) <= MAX_SHOWN_PATH else f"{str(path)[:MAX_SHOWN_PATH]}…"
        raise ConfigError(f"{shown} cannot be read ({error.strerror}); give the path of a YAML file.") from error


def _syntax_message(error: yaml.MarkedYAMLError, text: str, line: int) -> str:
    lines = text.split("\n")
    if line <= len(lines) and re.match(r" *\t", lines[line - 1]):
        return "a tab indents this line; YAML wants spaces"
    context = f" ({error.context})" if error.context else ""
    hint = "; inside { } and [ ] write a ${…} in quotes" if line <= len(lines) and "${" in lines[line - 1] else ""
    return f"this is not YAML: {(error.problem or '').removeprefix('but ')}{context}{hint}"


@dataclass
class _Builder:
    """Turns nodes into values; gathers lines and problems on the way."""

    name: str
    lines: dict[KeyPath, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    unresolved: set[KeyPath] = field(default_factory=set)
    open_nodes: list[int] = field(default_factory=list)

    def build(self, node: yaml.Node, path: KeyPath) -> Any:
        self.lines.setdefault(path, _line(node))
        if not _STANDARD_TAG.fullmatch(node.tag):
            self._report(node, path, f"the tag {node.tag!r} is not supported; write plain values")
            return None
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        if id(node) in self.open_nodes:
            self._report(node, path, "this alias contains itself")
            return None
        self.open_nodes.append(id(node))
        built: Any
        if isinstance(node, yaml.MappingNode):
            built = self._mapping(node, path)
        else:
            built = [self.build(item, (*path, index)) for index, item in enumerate(node.value)]
        self.open_nodes.pop()
        return built

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._report(key_node, path, "a key must be plain text")
                continue
            key = key_node.value
            inner = (*path, key)
            if key_node.tag == _MERGE_TAG:
                self._report(key_node, inner, "merge keys (`<<`) are not supported; write the keys out")
            elif key in mapping:
                self._report(key_node, inner, f"duplicate key {key!r}; it stands already in line {self.lines[inner]}")
            else:
                self.lines[inner] = _line(key_node)
                mapping[key] = self.build(value_node, inner)
        return mapping

    def _scalar(self, node: yaml.ScalarNode, path: KeyPath) -> Any:
        is_plain = not node.style
        if "${" not in node.value:
            return scalar(node.value) if is_plain else node.value
        text = self._interpolated(node, path)
        return scalar(text) if is_plain else text

    def _interpolated(self, node: yaml.ScalarNode, path: KeyPath) -> str:
        def fill_in(match: re.Match[str]) -> str:
            environment = _ENVIRONMENT.fullmatch(match[1])
            if environment is None:
                expected = "only ${env:NAME} and ${env:NAME:-default} are known"
                self._report(node, path, f"cannot fill in {match[0]!r}; {expected}", is_unresolved=True)
                return match[0]
            name, default = environment.groups()
            value = os.environ.get(name)
            value = default if not value and default is not None else value
            if value is None:
                mend = f"set it, or write ${{env:{name}:-default}}"
                self._report(node, path, f"the environment variable {name} is not set; {mend}", is_unresolved=True)
                return match[0]
            return value

        return _PLACEHOLDER.sub(fill_in, node.value)

    def _report(self, node: yaml.Node, path: KeyPath, message: str, is_unresolved: bool = False) -> None:
        self.problems.append(Problem(self.name, _line(node), path, message))
        if is_unresolved:
            self.unresolved.add(path)


def _line(node: yaml.Node) -> int:
    return node.start_mark.line + 1
