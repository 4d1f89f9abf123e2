"""Checks the albumentations transforms of a pipeline file: names, arguments, types, and that boxes follow."""

import difflib
import inspect
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import albumentations
from albumentations.core.type_definitions import Targets
from pydantic import Field, PositiveInt, TypeAdapter, ValidationError

COMPOSITIONS = {
    "OneOf": albumentations.OneOf,
    "RandomOrder": albumentations.RandomOrder,
    "Sequential": albumentations.Sequential,
    "SomeOf": albumentations.SomeOf,
}
"""Transforms that hold a list of `transforms`, written in the same way."""

_COMPOSITION_ARGUMENTS: dict[str, TypeAdapter[Any]] = {
    "n": TypeAdapter(PositiveInt),
    "p": TypeAdapter(Annotated[float, Field(ge=0, le=1)]),
    "replace": TypeAdapter(bool),
}

_OTHER_IMAGES = "it needs other images, which cannot be given in a settings file"
_MASK = "it needs a mask, and the data has none"
_DTYPE = "the image must stay uint8 (H, W, 3); the model normalises it itself"
_NOT_SAFE = "boxes do not follow its pixels"
_NEEDS_BOX = "it needs boxes, and the data has none"
REFUSED = {
    "CropNonEmptyMaskIfExists": _MASK,
    "FDA": _OTHER_IMAGES,
    "FromFloat": _DTYPE,
    "HistogramMatching": _OTHER_IMAGES,
    "Lambda": "a function cannot be given in a settings file",
    "MaskDropout": _MASK,
    "Mosaic": _OTHER_IMAGES,
    "Normalize": _DTYPE,
    "OverlayElements": _OTHER_IMAGES,
    "PixelDistributionAdaptation": _OTHER_IMAGES,
    "RandomCropNearBBox": "it needs a box of its own besides those of the data",
    "TextImage": _OTHER_IMAGES,
    "ToFloat": _DTYPE,
    "ToTensor3D": _DTYPE,
    "ToTensorV2": _DTYPE,
}
"""Transforms that exist but cannot work here, and why."""
REFUSED_WITH_BOXES = {
    "Morphological": "it fails on boxes with the installed OpenCV",
    "Mosaic": f"{_OTHER_IMAGES}; use `augment.mosaic`",
    "RandomGridShuffle": f"{_NOT_SAFE}: it cuts objects into pieces",
    "ThinPlateSpline": f"{_NOT_SAFE}: measured errors reach tens of pixels",
}
"""Besides these, where the images have boxes."""
REFUSED_WITHOUT_BOXES = {
    "AtLeastOneBBoxRandomCrop": _NEEDS_BOX,
    "BBoxSafeRandomCrop": _NEEDS_BOX,
    "RandomSizedBBoxSafeCrop": _NEEDS_BOX,
}
"""Besides these, where the images have none."""

_BASES = {"BasicTransform", "DualTransform", "ImageOnlyTransform", "Transform3D"}


def validate_transforms(transforms: Sequence[Mapping[str, Any]], with_boxes: bool = True) -> list[str]:
    """List what is wrong with transforms given as `[{HorizontalFlip: {p: 0.5}}, ...]`.

    Args:
        transforms: albumentations' own names and arguments.
        with_boxes: the images have boxes, which must follow their pixels.

    Returns:
        One sentence per problem, with the nearest known name where one was misspelt; empty when all is well.
    """
    problems: list[str] = []
    for position, entry in enumerate(transforms):
        if not isinstance(entry, Mapping) or len(entry) != 1:
            problems.append(f"transform {position}: expected one `Name: {{argument: value}}`, got {entry!r}")
            continue
        [(name, arguments)] = entry.items()
        if not isinstance(arguments, Mapping):
            problems.append(f"{name}: expected its arguments as `{{argument: value}}`, got {arguments!r}")
        elif name in COMPOSITIONS:
            problems.extend(_composition_problems(name, arguments, with_boxes))
        else:
            problems.extend(_transform_problems(name, arguments, with_boxes))
    return problems


def known_transforms(with_boxes: bool = True) -> dict[str, type]:
    """Return the albumentations classes that can be used, by name: with boxes those that carry them along or leave
    the pixels where they are.
    """
    return {name: kind for name, kind in _all_transforms().items() if _refusal(name, kind, with_boxes) is None}


def _all_transforms() -> dict[str, type]:
    members = inspect.getmembers(albumentations, inspect.isclass)
    return {
        name: kind for name, kind in members if issubclass(kind, albumentations.BasicTransform) and name not in _BASES
    }


def _refusal(name: str, kind: type, with_boxes: bool) -> str | None:
    reasons = REFUSED | (REFUSED_WITH_BOXES if with_boxes else REFUSED_WITHOUT_BOXES)
    if name in reasons:
        return reasons[name]
    if issubclass(kind, albumentations.ImageOnlyTransform):
        return None
    targets = kind._targets  # type: ignore[attr-defined]
    known = targets if isinstance(targets, tuple) else (targets,)
    if with_boxes:
        return None if Targets.BBOXES in known else "it does not know boxes"
    return None if Targets.IMAGE in known else "it does not know images"


def _composition_problems(name: str, arguments: Mapping[str, Any], with_boxes: bool) -> Iterator[str]:
    inner = arguments.get("transforms")
    if not isinstance(inner, Sequence) or isinstance(inner, str) or not inner:
        yield f"{name}: expected a list of transforms under `transforms`, got {inner!r}"
        return
    known = inspect.signature(COMPOSITIONS[name]).parameters
    yield from _unknown_arguments(name, arguments, list(known))
    for argument in known.keys() & arguments.keys() & _COMPOSITION_ARGUMENTS.keys():
        try:
            _COMPOSITION_ARGUMENTS[argument].validate_python(arguments[argument], strict=True)
        except ValidationError as error:
            yield f"{name}: argument `{argument}` is {arguments[argument]!r}; {_lowered(error.errors()[0]['msg'])}"
    for problem in validate_transforms(inner, with_boxes):
        yield f"{name}: {problem}"


def _transform_problems(name: str, arguments: Mapping[str, Any], with_boxes: bool) -> Iterator[str]:
    every = _all_transforms()
    if name not in every:
        nearest = _nearest(name, [*known_transforms(with_boxes), *COMPOSITIONS])
        yield f"{name}: there is no such albumentations transform{nearest}"
        return
    kind = every[name]
    refusal = _refusal(name, kind, with_boxes)
    if refusal is not None:
        yield f"{name}: cannot be used here, since {refusal}"
        return
    parameters = inspect.signature(kind).parameters
    unknown = list(_unknown_arguments(name, arguments, list(parameters)))
    yield from unknown
    given = {key: value for key, value in arguments.items() if key in parameters}
    missing = [key for key, value in parameters.items() if value.default is value.empty and key not in given]
    if missing:
        yield f"{name}: argument `{missing[0]}` is missing"
        return
    yield from _value_problems(name, kind, given)


def _unknown_arguments(name: str, arguments: Mapping[str, Any], known: Sequence[str]) -> Iterator[str]:
    for argument in arguments:
        if argument not in known:
            yield f"{name}: there is no argument `{argument}`{_nearest(str(argument), known)}"


def _value_problems(name: str, kind: type, arguments: Mapping[str, Any]) -> Iterator[str]:
    """Let the transform's own schema judge the values; its mere advice ("consider using ...") is not a problem."""
    defaults = {key: value.default for key, value in inspect.signature(kind).parameters.items()}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            kind.InitSchema(**{**defaults, **arguments, "strict": True})  # type: ignore[attr-defined]
            kind(**arguments)
    except ValidationError as error:
        # A union reports every branch that does not fit; the first speaks for all of them.
        by_argument = {str(fault["loc"][0]) if fault["loc"] else "": fault for fault in reversed(error.errors())}
        for argument, fault in sorted(by_argument.items()):
            given = f"argument `{argument}` is {arguments.get(argument)!r}" if argument else f"got {dict(arguments)!r}"
            yield f"{name}: {given}; {_lowered(fault['msg'])}"
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        yield f"{name}: got {dict(arguments)!r}; {_lowered(str(error))}"


def _lowered(message: str) -> str:
    message = " ".join(message.removeprefix("Value error, ").split())
    return message[:1].lower() + message[1:]


def _nearest(name: str, known: Sequence[str]) -> str:
    lowered = {candidate.lower(): candidate for candidate in known}
    matches = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.5)
    return f"; did you mean `{lowered[matches[0]]}`?" if matches else f"; known: {', '.join(sorted(known))}"
