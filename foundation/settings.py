"""The base of every settings class: strict, frozen, explained where it is declared."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PositiveFloat, PositiveInt


class StrictModel(BaseModel):
    """Settings that refuse unknown keys and wrong types and cannot be changed afterwards."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        use_attribute_docstrings=True,
        protected_namespaces=(),
    )


def _path_from_text(value: object) -> object:
    return Path(value) if isinstance(value, str) else value


def _tuple_from_list(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


FilePath = Annotated[Path, BeforeValidator(_path_from_text)]
"""A path given as text; the pipeline loader has already made it absolute."""

FromList = BeforeValidator(_tuple_from_list)
"""Lets a YAML list fill a tuple field although the models are strict."""


def _ordered(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] > value[1]:
        raise ValueError(f"expected [smallest, largest], got {list(value)}")
    return value


Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Size = Annotated[tuple[PositiveInt, PositiveInt], FromList]
"""(height, width) in pixels."""
Range = Annotated[tuple[PositiveFloat, PositiveFloat], FromList, AfterValidator(_ordered)]
"""[smallest, largest]."""


def default_name(name: str) -> BeforeValidator:
    """Complete a mapping that has no `name`, so that a union which is chosen by the name has a default."""
    return BeforeValidator(lambda value: {"name": name, **value} if isinstance(value, dict) else value)
