"""What each classification preset does, in numbers, and the policies it may name. No image library is imported."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt

from foundation.settings import StrictModel
from vision.augment.presets import overridden

NUM_MAGNITUDES = 31
"""Magnitudes are whole numbers 0 … 30, as in both papers' own code."""


class NoPolicy(StrictModel):
    """No policy, whatever the preset says."""

    name: Literal["none"]


class RandAugment(StrictModel):
    """`n` operations in a row, all of one strength (Cubuk et al. 2020, arXiv:1909.13719)."""

    name: Literal["randaugment"]
    n: PositiveInt = 2
    """Operations per image."""
    m: Annotated[int, Field(ge=0, lt=NUM_MAGNITUDES)] = 9
    """Strength of all of them, 0 … 30."""


class TrivialAugment(StrictModel):
    """One operation of random strength, wide ranges (Müller and Hutter 2021, arXiv:2103.10158)."""

    name: Literal["trivialaugment"]


Policy = Annotated[NoPolicy | RandAugment | TrivialAugment, Field(discriminator="name")]
NO_POLICY = NoPolicy(name="none")


@dataclass(frozen=True, slots=True)
class Recipe:
    """The strength of every step; probabilities are per training sample."""

    crop: Literal["none", "random", "resized"] = "none"
    """none = as in evaluation; random = a window of `image_size`; resized = a part of random area and aspect ratio."""
    pad: float = 0.0
    """crop: random: grey added to every side before, as a share of `image_size`."""
    crop_area: tuple[float, float] = (0.08, 1.0)
    """crop: resized: the part's share of the image's area (Szegedy et al. 2015, arXiv:1409.4842)."""
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    """crop: resized: width / height of the part."""
    flip_horizontal: float = 0.0
    flip_vertical: float = 0.0
    rotate: float = 0.0
    """Degrees, up to which the image is turned either way."""
    scale: tuple[float, float] = (1.0, 1.0)
    """The image is scaled around its centre by a factor from this range."""
    translate: float = 0.0
    """... and moved by up to this share of `image_size`, along each axis."""
    policy: Policy = NO_POLICY
    gain: float = 0.0
    """Each colour channel is multiplied by its own factor from 1 - gain to 1 + gain."""
    brightness: float = 0.0
    """Up to this share of the full range is added or taken away."""
    contrast: float = 0.0
    """The distance from mid-grey is multiplied by a factor from 1 - contrast to 1 + contrast."""
    saturation: float = 0.0
    """The distance from the pixel's own grey is multiplied by a factor from 1 - saturation to 1 + saturation."""
    hue: float = 0.0
    """Colours are turned by up to this share of the colour circle."""
    pca_colour: float = 0.0
    """Standard deviation of the shift along the principal colours of the training split."""
    noise: float = 0.0
    """Standard deviation of Gaussian noise, as a share of the full range."""
    erasing: float = 0.0
    """Chance that a rectangle is replaced by random pixels."""
    erasing_area: tuple[float, float] = (0.02, 0.33)
    """The rectangle's share of the image's area."""
    mixing: float = 1.0
    """Chance that a second image is mixed in, by `mixup` or `cutmix`."""
    mixup: float = 0.0
    """Blend: the share of both images is drawn from Beta(mixup, mixup); 0 = never."""
    cutmix: float = 0.0
    """Paste a rectangle of the second: its area is drawn from Beta(cutmix, cutmix); 0 = never."""


PRESETS: dict[str, Recipe] = {
    "none": Recipe(),
    "small": Recipe(crop="random", pad=0.125, flip_horizontal=0.5),
    "imagenet": Recipe(crop="resized", flip_horizontal=0.5, brightness=0.1, contrast=0.3, saturation=0.3),
    "alexnet": Recipe(crop="random", flip_horizontal=0.5, pca_colour=0.1),
    "strong": Recipe(
        crop="resized",
        crop_area=(0.25, 1.0),
        flip_horizontal=0.5,
        policy=TrivialAugment(name="trivialaugment"),
        erasing=0.1,
        mixup=0.2,
        cutmix=1.0,
    ),
}


def resolve(preset: str, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Return the preset's recipe with every value of `overrides` that is not None in place of its own.

    Raises:
        ConfigError: if there is no such preset.
    """
    return overridden(PRESETS, preset, overrides)
