"""Augmentations that change what an image shows, so that its label may become wrong. No image library is imported."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from vision.augment.classify.presets import NoPolicy, Recipe, TrivialAugment
from vision.augment.classify.settings import AugmentSettings


def _listed(text: str) -> frozenset[str]:
    return frozenset(text.split())


_SIDES = _listed("left right leftward rightward leftwards rightwards east west clockwise counterclockwise")
_HEIGHTS = _listed("up down top bottom upper lower upward downward upwards downwards upside north south")
_DIGITS = _listed("zero one two three four five six seven eight nine")
_COLOURS = _listed(
    "red orange yellow green blue purple violet pink brown magenta cyan turquoise beige golden silver colourful "
    "colorful grey gray"
)
_MIRROR_SAFE = _listed("0 8 A H I M O T U V W X Y o v w x zero eight")
"""Signs that look the same in a mirror."""
_UPSIDE_DOWN_DEGREES = 45.0
"""Turned by more, a sign may be read as another one (6 and 9, N and Z)."""
_TINTING_GAIN = 0.3
_GREYING_SATURATION = 0.8
"""Changes by more than these make one named colour look like another."""

_FLIPPING_TRANSFORMS = {
    "HorizontalFlip": "horizontal",
    "VerticalFlip": "vertical",
    "D4": "both",
    "SquareSymmetry": "both",
    "Transpose": "both",
    "RandomRotate90": "both",
}
_COLOUR_TRANSFORMS = _listed(
    "ChannelDropout ChannelShuffle ColorJitter HueSaturationValue InvertImg PlanckianJitter RGBShift Solarize "
    "ToGray ToSepia"
)
_ADVICE = "Their labels may become wrong; switch it off, or go on if it does no harm here."


def label_changing(classes: Sequence[str], augment: AugmentSettings) -> list[str]:
    """Say which augmentations may turn an image of one class into one of another, judging by the classes' names.

    Args:
        classes: names; those with words such as `left` or `red` are looked for, and digits and letters.
        augment: what is done to training images.

    Returns:
        One paragraph per augmentation and kind of classes; empty where nothing speaks against them.
    """
    recipe = augment.recipe()
    names = list(_transform_names(augment.transforms or ()))
    sided, upright, coloured = (_with_words(classes, words) for words in (_SIDES, _HEIGHTS, _COLOURS))
    signs = _signs(classes)
    mirrored = [name for name in signs if name not in _MIRROR_SAFE]
    found: list[str] = []
    for setting in _mirrors(recipe, names):
        found += _note(setting, "swaps left and right", [*sided, *mirrored])
    for setting in _upside_down(recipe, names):
        found += _note(setting, "turns the image upside down", [*upright, *sided, *signs])
    for setting in _recolours(recipe, names):
        found += _note(setting, "changes colours", coloured)
    return found


def _note(setting: str, effect: str, classes: Sequence[str]) -> list[str]:
    if not classes:
        return []
    named = ", ".join(repr(name) for name in dict.fromkeys(classes))
    return [f"{setting} {effect}, and these classes depend on that by their names: {named}. {_ADVICE}"]


def _mirrors(recipe: Recipe, transforms: Sequence[str]) -> Iterator[str]:
    if recipe.flip_horizontal:
        yield "augment.flip_horizontal"
    yield from _transforms(transforms, {"horizontal", "both"})


def _upside_down(recipe: Recipe, transforms: Sequence[str]) -> Iterator[str]:
    if recipe.flip_vertical:
        yield "augment.flip_vertical"
    if recipe.rotate > _UPSIDE_DOWN_DEGREES:
        yield f"augment.rotate by up to {recipe.rotate:g} degrees"
    if isinstance(recipe.policy, TrivialAugment):
        yield "augment.policy trivialaugment, which turns by up to 135 degrees,"
    yield from _transforms(transforms, {"vertical", "both"})


def _recolours(recipe: Recipe, transforms: Sequence[str]) -> Iterator[str]:
    if recipe.hue:
        yield "augment.hue"
    if recipe.gain > _TINTING_GAIN:
        yield "augment.gain"
    if recipe.saturation > _GREYING_SATURATION:
        yield "augment.saturation"
    if not isinstance(recipe.policy, NoPolicy):
        yield f"augment.policy {recipe.policy.name}, which inverts and greys,"
    yield from (f"augment.transforms {name}" for name in transforms if name in _COLOUR_TRANSFORMS)


def _transforms(names: Sequence[str], directions: set[str]) -> Iterator[str]:
    yield from (f"augment.transforms {name}" for name in names if _FLIPPING_TRANSFORMS.get(name) in directions)


def _transform_names(transforms: Sequence[dict[str, dict[str, Any]]]) -> Iterator[str]:
    for entry in transforms:
        for name, arguments in entry.items():
            yield name
            yield from _transform_names(arguments.get("transforms") or ())


def _with_words(classes: Sequence[str], words: frozenset[str]) -> list[str]:
    return [name for name in classes if words & _words(name)]


def _words(name: str) -> set[str]:
    """Split a class name at everything that is no letter, and before capitals: `turnLeft_2` holds `turn`, `left`."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)}


def _signs(classes: Sequence[str]) -> list[str]:
    """Return the classes that are digits or letters, when there are two or more of them."""
    signs = [name for name in classes if len(name) == 1 or name.lower() in _DIGITS]
    return signs if len(signs) > 1 else []
