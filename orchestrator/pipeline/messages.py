"""Turn pydantic's errors into problems that name the key, what was expected and what was found."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from orchestrator.pipeline.problems import KeyPath, listed, nearest
from orchestrator.pipeline.schema import known_keys
from orchestrator.pipeline.settings import MAX_NAME, Pipeline

KnownKeys = Callable[[KeyPath], list[str]]
"""The keys that the mapping at a path may have."""

MAX_LISTED_KEYS = 14
MAX_SHOWN_TEXT = 60

_EXPECTED: dict[str, str] = {
    "bool_type": "true or false",
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "text",
    "dict_type": "a mapping of keys",
    "mapping_type": "a mapping of keys",
    "model_type": "a mapping of keys",
    "model_attributes_type": "a mapping of keys",
    "list_type": "a list",
    "tuple_type": "a list",
    "path_type": "a path",
    "is_instance_of": "a path",
}
_COMPARED: dict[str, str] = {
    "greater_than": "> {gt:g}",
    "greater_than_equal": ">= {ge:g}",
    "less_than": "< {lt:g}",
    "less_than_equal": "<= {le:g}",
}


def explain(error: ValidationError, data: Any, root: type[BaseModel] = Pipeline) -> list[tuple[KeyPath, str]]:
    """Return (key path, message) for every fault that pydantic found in `data`, which should be a `root`.

    Faults of several alternatives of one union become one message.
    """
    known = partial(known_keys, data=data, root=root)
    by_path: dict[KeyPath, list[ErrorDetails]] = defaultdict(list)
    for detail in error.errors(include_url=False):
        by_path[_path_in_file(detail, data)].append(detail)
    return [
        (path, _message(path, details, known))
        for path, details in by_path.items()
        if not _is_other_alternative(path, details, by_path)
    ]


def _path_in_file(detail: ErrorDetails, data: Any) -> KeyPath:
    """Strip what pydantic adds to a location: the tags of unions, validators and `[key]`."""
    location = detail["loc"]
    if detail["type"] == "missing":
        return (*_longest_match(location[:-1], data), location[-1])
    if detail["type"] in ("union_tag_invalid", "union_tag_not_found") and isinstance(detail["input"], dict):
        return (*_longest_match(location, data), _discriminator(detail))
    return _longest_match(location, data)


def _longest_match(location: Sequence[str | int], value: Any) -> KeyPath:
    """Return the longest selection of `location` that is a path in `value`."""
    if not location:
        return ()
    head, rest = location[0], location[1:]
    without = _longest_match(rest, value)
    try:
        inner = value[head]
    except (KeyError, IndexError, TypeError):
        return without
    kept = (head, *_longest_match(rest, inner))
    return kept if len(kept) >= len(without) else without


def _is_other_alternative(path: KeyPath, details: list[ErrorDetails], by_path: dict[KeyPath, Any]) -> bool:
    """Whether `details` only say that `path` is not one alternative, while another one got further in."""
    is_wrong_type = all(detail["type"].endswith("_type") or detail["type"] == "literal_error" for detail in details)
    return is_wrong_type and any(len(other) > len(path) and other[: len(path)] == path for other in by_path)


def _message(path: KeyPath, details: list[ErrorDetails], known: KnownKeys) -> str:
    for detail in details:
        if detail["type"] in _SPECIAL:
            return _SPECIAL[detail["type"]](path, detail, known)
    expected = dict.fromkeys(_expectation(detail) for detail in details)
    given = details[0]["input"]
    if details[0]["type"] == "model_attributes_type" and isinstance(given, str) and "name" in known(path):
        return f"expected a mapping of keys such as {{name: {given}}}, got {described(given)}"
    return f"expected {' or '.join(expected)}, got {described(details[0]['input'])}{_nearest_choice(details)}"


def _unknown_key(path: KeyPath, _: ErrorDetails, known: KnownKeys) -> str:
    key, siblings = str(path[-1]), known(path[:-1])
    hint = nearest(key, siblings)
    if not hint:
        hint = _key_further_in(path, siblings, known)
    if not hint and 0 < len(siblings) <= MAX_LISTED_KEYS:
        hint = f"; known here: {', '.join(siblings)}"
    return f"unknown key {key!r}{hint or '; docs/pipeline.md and `orchestrator schema` list those there are'}"


def _key_further_in(path: KeyPath, siblings: Sequence[str], known: KnownKeys) -> str:
    """Say where the last key of `path` stands, if it is one level deeper than it was put: `loop.epochs`."""
    inner = (f"{name}.{path[-1]}" for name in siblings if path[-1] in known((*path[:-1], name)))
    return next((f"; did you mean {name!r}?" for name in inner), "")


def _missing_key(path: KeyPath, _: ErrorDetails, __: Any) -> str:
    if isinstance(path[-1], int):
        return f"the list is too short: item {path[-1] + 1} is missing"
    return f"missing key {str(path[-1])!r}"


def _wrong_tag(_: KeyPath, detail: ErrorDetails, __: Any) -> str:
    context = detail.get("ctx", {})
    key, tag = _discriminator(detail), str(context["tag"])
    known = [word.strip(" '") for word in str(context["expected_tags"]).split(",")]
    return f"unknown {key} {tag!r}; expected {listed(known)}{nearest(tag, known)}"


def _missing_tag(path: KeyPath, detail: ErrorDetails, known: KnownKeys) -> str:
    if isinstance(detail["input"], dict):
        return _missing_key(path, detail, known)
    return f"expected a mapping of keys, got {described(detail['input'])}"


def _discriminator(detail: ErrorDetails) -> str:
    """Return the key that chooses between the types, for example `kind`."""
    return str(detail.get("ctx", {})["discriminator"]).strip("'")


def _own_words(_: KeyPath, detail: ErrorDetails, __: Any) -> str:
    return str(detail.get("ctx", {}).get("error", detail["msg"]))


def _wrong_pattern(_: KeyPath, detail: ErrorDetails, __: Any) -> str:
    if "[key]" in detail["loc"] or r"\." not in str(detail.get("ctx", {})["pattern"]):
        given = described(detail["input"]).removeprefix("the text ")
        return f"the name {given} may only hold letters, digits, '_' and '-', 1 to {MAX_NAME} of them"
    return f"expected STAGE.METRIC such as 'test.map_50', got {described(detail['input'])}"


_SPECIAL: dict[str, Callable[[KeyPath, ErrorDetails, KnownKeys], str]] = {
    "extra_forbidden": _unknown_key,
    "missing": _missing_key,
    "union_tag_invalid": _wrong_tag,
    "union_tag_not_found": _missing_tag,
    "value_error": _own_words,
    "string_pattern_mismatch": _wrong_pattern,
}


def _expectation(detail: ErrorDetails) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind in _EXPECTED:
        return _EXPECTED[kind]
    if kind in _COMPARED:
        return f"a number {_COMPARED[kind].format(**context)}"
    if kind == "literal_error":
        return str(context["expected"])
    if kind in ("too_short", "too_long") and context.get("min_length") == context.get("max_length"):
        return f"{context.get('min_length')} items"
    if kind == "too_long":
        return f"at most {context['max_length']} items"
    if kind == "too_short":
        return f"at least {context['min_length']} items"
    return detail["msg"].removeprefix("Input should be ")


def _nearest_choice(details: list[ErrorDetails]) -> str:
    for detail in details:
        if detail["type"] == "literal_error" and isinstance(detail["input"], str):
            return nearest(detail["input"], str(detail.get("ctx", {})["expected"]).split("'")[1::2])
    return ""


def described(value: Any) -> str:
    """Say what `value` is in the words of a YAML file."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        shown = value if len(value) <= MAX_SHOWN_TEXT else f"{value[:MAX_SHOWN_TEXT]}…"
        return f"the text {shown!r}"
    if isinstance(value, dict):
        return "a mapping of keys"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    return repr(value)
