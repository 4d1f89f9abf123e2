"""What each augmentation preset does, in numbers. Nothing is computed here, and no image library is imported."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from foundation.errors import ConfigError
from foundation.settings import StrictModel

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

AnyRecipe = TypeVar("AnyRecipe", bound="DataclassInstance")


Strategy = Literal["one_once", "one_several", "all_several"]
PasteSource = Literal["same", "other", "both"]


@dataclass(frozen=True, slots=True)
class CopyPaste:
    """How small objects are copied and pasted (Kisantal et al. 2019, arXiv:1902.07296, section 4.2)."""

    chance: float = 0.0
    """Chance that something is pasted into an image."""
    strategy: Strategy = "all_several"
    """One small object once, one several times, or all of an image's small objects several times each."""
    copies: tuple[int, int] = (1, 3)
    """[fewest, most] copies of an object, where it is copied several times."""
    most: int = 20
    """So many copies are pasted into an image at most."""
    source: PasteSource = "both"
    """Objects of the same image, of other images of the split, or of either, half and half."""
    scale: float = 0.2
    """A copy is scaled by a factor from 1 - scale to 1 + scale."""
    rotation: float = 15.0
    """... and turned by up to so many degrees either way."""
    feather: float = 2.0
    """Pixels over which a copy fades into its new place, beyond its edge."""
    masks: bool = True
    """Copy along the object's outline where the data has one, else along its box."""
    rare_weight: float = 0.0
    """An object is copied in proportion to its class's number of objects to the power of minus this; 0 = all alike."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """The strength of every built-in step; probabilities are per training sample."""

    small_size: float = 32.0
    """An object is small whose box has the area of a square with this side, or less, in pixels of the fitted image."""
    copy_paste: CopyPaste = CopyPaste()
    """Small objects pasted once more."""
    stitcher: float = 0.0
    """Chance that four images are shrunk into a two by two sheet, times the share of images that need it."""
    stitcher_threshold: float = 0.1
    """Those need it in which small objects take up less than this share of all objects' area."""
    mosaic: float = 0.0
    """Chance that four images are stitched into one."""
    mosaic_scale: tuple[float, float] = (1.0, 1.0)
    """Each tile of a mosaic is scaled by a factor from this range; 1 = its fitted size."""
    mixup: float = 0.0
    """Chance that a second image is blended in, half and half."""
    zoom: float = 0.0
    """Chance that only the surroundings of a small object are shown, enlarged."""
    zoom_factor: tuple[float, float] = (1.5, 3.0)
    """... by a factor from this range."""
    crop: float = 0.0
    """Chance that only a part of the image is shown, with at least one of its objects."""
    crop_sides: tuple[float, float] = (0.5, 1.0)
    """The part's height and width as shares of the image's, each drawn from this range."""
    visible_share: float = 0.75
    """Neither zoom nor crop leaves less than this share of an object, except nothing of it."""
    scale: tuple[float, float] = (1.0, 1.0)
    """An image that is in no sheet or mosaic and not cropped is scaled by a factor from this range."""
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
    "small_objects": Recipe(
        copy_paste=CopyPaste(chance=1.0, rare_weight=0.5),
        mosaic=0.35,
        mosaic_scale=(0.4, 1.0),
        scale=(0.65, 1.5),
        translate=0.15,
        flip_horizontal=0.5,
        gain=0.15,
        brightness=0.08,
        contrast=0.15,
    ),
}


def resolve(preset: str, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Return the preset's recipe with every value of `overrides` that is not None in place of its own.

    Raises:
        ConfigError: if there is no such preset.
    """
    return overridden(PRESETS, preset, overrides)


def overridden(presets: Mapping[str, AnyRecipe], preset: str, overrides: Mapping[str, Any] | None) -> AnyRecipe:
    """Look a recipe up and put every value of `overrides` that is not None and has a place in it there.

    A part of several values, as `copy_paste`, is overridden by a mapping, value by value.

    Raises:
        ConfigError: if there is no such preset.
    """
    if preset not in presets:
        raise ConfigError(f"unknown augmentation preset {preset!r}; known: {', '.join(sorted(presets))}")
    return _overridden(presets[preset], overrides or {})


def _overridden(recipe: AnyRecipe, overrides: Mapping[str, Any]) -> AnyRecipe:
    known = {field.name: getattr(recipe, field.name) for field in fields(recipe)}
    given = {name: value for name, value in overrides.items() if name in known and value is not None}
    parts = {
        name: _overridden(known[name], value)
        for name, value in given.items()
        if is_dataclass(known[name]) and isinstance(value, Mapping)
    }
    return replace(recipe, **{**given, **parts})


def describe(preset: str) -> dict[str, Any]:
    """Return the preset's numbers by name, ready to be printed as YAML or JSON.

    Raises:
        ConfigError: if there is no such preset.
    """
    return described(resolve(preset))


def described(recipe: "DataclassInstance") -> dict[str, Any]:
    """Return a recipe's numbers by name, with lists for ranges and mappings for parts."""
    return {name: _plain(value) for name, value in asdict(recipe).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, StrictModel):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    return list(value) if isinstance(value, tuple) else value
