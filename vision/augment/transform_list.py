"""The key `transforms` of both augmentations: albumentations' own names and arguments. No albumentations here."""

from typing import Annotated, Any

from pydantic import BeforeValidator

from foundation.settings import FromList


def _is_one_name_each(value: object) -> object:
    """Say how a transform is written; what the names and arguments are worth is seen when a pipeline is checked."""
    for position, item in enumerate(value if isinstance(value, list | tuple) else ()):
        if not isinstance(item, dict) or len(item) != 1:
            named = item.get("name", "Name") if isinstance(item, dict) else item
            raise ValueError(
                f"item {position} is {item!r}; expected one name with its arguments: `- {named}: {{argument: value}}`"
            )
        ((name, arguments),) = item.items()
        if not isinstance(arguments, dict):
            raise ValueError(
                f"item {position}, {name}, has {arguments!r} for arguments; expected `{name}: {{argument: value}}`, or "
                "`{}` for none"
            )
    return value


TransformList = Annotated[tuple[dict[str, dict[str, Any]], ...], FromList, BeforeValidator(_is_one_name_each)]
"""Albumentations' transforms by their own names and arguments, `[{CLAHE: {p: 0.5}}]`."""
