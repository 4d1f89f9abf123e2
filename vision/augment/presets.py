"""What each augmentation preset does, in numbers. Nothing is computed here, and no image library is imported."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from foundation.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Recipe:
    """The strength of every built-in step; probabilities are per training sample."""

    mosaic: float = 0.0
    """Chance that four images are stitched into one."""
    mosaic_scale: tuple[float, float] = (1.0, 1.0)
    """Each tile of a mosaic is scaled by a factor from this range; 1 = its fitted size."""
    mixup: float = 0.0
    """Chance that a second image is blended in, half and half."""
    scale: tuple[float, float] = (1.0, 1.0)
    """An image that is not in a mosaic is scaled by a factor from this range."""
    translate: float = 0.0
    """... and moved from the centre by up to this share of the canvas, along each axis."""
    flip_horizontal: float = 0.0
    flip_vertical: float = 0.0
    transpose: float = 0.0
    """Chance that rows become columns; together with both flips this gives every turn by 90 degrees."""
    gain: float = 0.0
    """Each colour channel is multiplied by its own factor from 1 - gain to 1 + gain."""
    brightness: float = 0.0
    """Up to this share of the full range is added or taken away."""
    contrast: float = 0.0
    """The distance from mid-grey is multiplied by a factor from 1 - contrast to 1 + contrast."""


PRESETS: dict[str, Recipe] = {
    "none": Recipe(),
    "default": Recipe(
        mosaic=0.35,
        mosaic_scale=(0.4, 1.0),
        scale=(0.65, 1.5),
        translate=0.15,
        flip_horizontal=0.5,
        gain=0.15,
        brightness=0.08,
        contrast=0.15,
    ),
    "strong": Recipe(
        mosaic=0.8,
        mosaic_scale=(0.3, 1.2),
        mixup=0.15,
        scale=(0.3, 1.8),
        translate=0.2,
        flip_horizontal=0.5,
        gain=0.3,
        brightness=0.15,
        contrast=0.3,
    ),
}


def resolve(preset: str, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Return the preset's recipe with every value of `overrides` that is not None in place of its own.

    Raises:
        ConfigError: if there is no such preset.
    """
    if preset not in PRESETS:
        raise ConfigError(f"unknown augmentation preset {preset!r}; known: {', '.join(sorted(PRESETS))}")
    known = {field.name for field in fields(Recipe)}
    given = {name: value for name, value in (overrides or {}).items() if name in known and value is not None}
    return replace(PRESETS[preset], **given)


def describe(preset: str) -> dict[str, Any]:
    """Return the preset's numbers by name, ready to be printed as YAML or JSON.

    Raises:
        ConfigError: if there is no such preset.
    """
    values = asdict(resolve(preset))
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
