"""What the types say about a place in the file: the keys known there, and the JSON schema for editors."""

import types
import typing
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from orchestrator.pipeline.problems import KeyPath
from orchestrator.pipeline.settings import Pipeline

SCHEMA_FILE = "orchestrator.schema.json"


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of a pipeline file; descriptions come from the docstrings of the types."""
    schema = Pipeline.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "orchestrator pipeline"}


def known_keys(path: KeyPath, data: Any, root: type[BaseModel] = Pipeline) -> list[str]:
    """Return the keys that the mapping at `path` may have; empty where every key is allowed.

    Args:
        path: of a mapping in the file.
        data: the whole file as plain values; its `kind`, `task`, `format` and `name` choose between types.
        root: the type of the whole.
    """
    annotation: Any = root
    value = data
    for key in path:
        annotation = _inner_type(annotation, value, key)
        value = _inner_value(value, key)
    model = _chosen_model(annotation, value)
    return list(model.model_fields) if model else []


def _inner_type(annotation: Any, value: Any, key: str | int) -> Any:
    model = _chosen_model(annotation, value)
    if model is not None:
        return model.model_fields[key].annotation if key in model.model_fields else None
    for alternative in _alternatives(annotation):
        arguments = typing.get_args(alternative)
        if typing.get_origin(alternative) is dict:
            return arguments[1]
        if typing.get_origin(alternative) in (list, tuple) and arguments:
            return arguments[0]
    return None


def _inner_value(value: Any, key: str | int) -> Any:
    try:
        return value[key]
    except (KeyError, IndexError, TypeError):
        return None


def _alternatives(annotation: Any) -> Iterator[Any]:
    """Yield the members of unions, without what `Annotated` adds."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        yield from _alternatives(typing.get_args(annotation)[0])
    elif origin in (typing.Union, types.UnionType):
        for argument in typing.get_args(annotation):
            yield from _alternatives(argument)
    else:
        yield annotation


def _chosen_model(annotation: Any, value: Any) -> type[BaseModel] | None:
    """Return the model among the alternatives whose literal fields fit `value` best; None if there is none."""
    models = [kind for kind in _alternatives(annotation) if isinstance(kind, type) and issubclass(kind, BaseModel)]
    return max(models, key=lambda model: _fit(model, value), default=None)


def _fit(model: type[BaseModel], value: Any) -> int:
    """Count the literal fields of `model` that `value` agrees with, less those it contradicts."""
    fit = 0
    for name, field in model.model_fields.items():
        if typing.get_origin(field.annotation) is typing.Literal and isinstance(value, dict) and name in value:
            fit += 1 if value[name] in typing.get_args(field.annotation) else -1
    return fit
