"""Settings of augmentation for detection: the key `augment` of a `train` stage with `task: detection`. No torch."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PositiveFloat, PositiveInt, model_validator

from foundation.settings import FromList, Probability, Range, StrictModel
from vision.augment.presets import PasteSource, Strategy, resolve
from vision.augment.transform_list import TransformList


def _rising(value: tuple[int, int]) -> tuple[int, int]:
    if value[0] > value[1]:
        raise ValueError(f"expected [fewest, most], got {list(value)}")
    return value


def _at_least_one(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] < 1:
        raise ValueError(f"a zoom enlarges, so its factors are 1 or more, got {list(value)}")
    return value


def _at_most_one(value: tuple[float, float]) -> tuple[float, float]:
    if value[1] > 1:
        raise ValueError(f"a crop cannot be larger than its image: its shares are 1 or less, got {list(value)}")
    return value


class CopyPasteSettings(StrictModel):
    """Small objects pasted once more, where nothing else is; null = the preset's value."""

    chance: Probability | None = None
    """Chance that something is pasted into an image."""
    strategy: Strategy | None = None
    """`one_once`: one small object once; `one_several`: one several times; `all_several`: all several times each."""
    copies: Annotated[tuple[PositiveInt, PositiveInt], FromList, AfterValidator(_rising)] | None = None
    """[fewest, most] copies of an object, where it is copied several times."""
    most: PositiveInt | None = None
    """So many copies are pasted into an image at most."""
    source: PasteSource | None = None
    """`same`: objects of the same image; `other`: of other images of the split; `both`: either, half and half."""
    scale: Annotated[float, Field(ge=0, lt=1)] | None = None
    """A copy is scaled by a factor from 1 - scale to 1 + scale."""
    rotation: Annotated[float, Field(ge=0, le=180)] | None = None
    """... and turned by up to so many degrees either way."""
    feather: Annotated[float, Field(ge=0)] | None = None
    """Pixels over which a copy fades into its new place, beyond its edge."""
    masks: bool | None = None
    """Copy along the object's outline where the data has one (coco, scenes), else along its box."""
    rare_weight: Annotated[float, Field(ge=0)] | None = None
    """An object is copied in proportion to its class's number of objects to the power of minus this; 0 = all alike."""


class AugmentSettings(StrictModel):
    """What happens to a training image; null = the preset's value.

    Order: cache, copy-paste, flips; then one of stitcher, mosaic, zoom, crop (each by its chance where those before did
    not happen) or scale and translate; colour, transforms, mixup, letterbox; then multi-scale per step.
    """

    preset: Literal["none", "default", "strong", "small_objects"] = "default"
    """Where the values of all keys come from that are not given; `orchestrator data preset NAME` prints them."""
    small_size: PositiveFloat | None = None
    """An object is small whose box has at most the area of a square with this side, pixels of what the model sees."""
    copy_paste: CopyPasteSettings = CopyPasteSettings()
    """Small objects pasted once more."""
    stitcher: Probability | None = None
    """Chance that four images are shrunk into a two by two sheet, times the share of the images that need it."""
    stitcher_threshold: Probability | None = None
    """Those need it in which small objects take up less than this share of all objects' area."""
    mosaic: Probability | None = None
    """Chance that four images are stitched into one."""
    mosaic_scale: Range | None = None
    """Each tile of a mosaic is scaled by a factor between these."""
    mixup: Probability | None = None
    """Chance that a second image is blended in, half and half."""
    close_mosaic: Probability = 0.2
    """Copy-paste, stitcher, mosaic and mixup are off in this last part of the epochs, rounded to whole epochs."""
    zoom: Probability | None = None
    """Chance that only the surroundings of a small object are shown, enlarged."""
    zoom_factor: Annotated[Range, AfterValidator(_at_least_one)] | None = None
    """... by a factor between these."""
    crop: Probability | None = None
    """Chance that only a part of the image is shown, with at least one of its objects."""
    crop_sides: Annotated[Range, AfterValidator(_at_most_one)] | None = None
    """The part's height and width as shares of the image's, each drawn from between these."""
    visible_share: Probability | None = None
    """Neither zoom nor crop leaves less than this share of an object, except nothing of it."""
    scale: Range | None = None
    """An image that is in no sheet or mosaic and not cropped is scaled by a factor between these; 1 = fitted."""
    translate: Probability | None = None
    """... and moved from the centre by up to this share of `image_size`, along each axis."""
    flip_horizontal: Probability | None = None
    """Chance that left and right change places."""
    flip_vertical: Probability | None = None
    """Chance that top and bottom change places."""
    transpose: Probability | None = None
    """Chance that rows become columns; 0.5 here and in both flips gives all eight orientations of a view from above."""
    gain: Probability | None = None
    """Each colour channel is multiplied by its own factor from 1 - gain to 1 + gain."""
    brightness: Probability | None = None
    """Up to this share of the full range is added or taken away."""
    contrast: Probability | None = None
    """The distance from mid-grey is multiplied by a factor from 1 - contrast to 1 + contrast."""
    transforms: TransformList | None = None
    """Besides: albumentations transforms by their own names and arguments, `[{HorizontalFlip: {p: 0.5}}]`."""
    min_visibility: Probability = 0.25
    """A box that keeps less than this share of its area is dropped from the augmented sample."""

    @model_validator(mode="after")
    def _parts_have_an_effect(self) -> "AugmentSettings":
        recipe = resolve(self.preset, self.model_dump())
        for chance, keys in _DEPENDENT_KEYS.items():
            given = [key for key in keys if getattr(self, key) is not None]
            if given and getattr(recipe, chance) == 0 and getattr(self, chance) is None:
                raise ValueError(_without_effect(given[0], self.preset, chance))
        given = [key for key, value in self.copy_paste if value is not None]
        if given and recipe.copy_paste.chance == 0 and self.copy_paste.chance is None:
            raise ValueError(_without_effect(f"copy_paste.{given[0]}", self.preset, "copy_paste.chance"))
        return self


_DEPENDENT_KEYS = {
    "stitcher": ("stitcher_threshold",),
    "zoom": ("zoom_factor",),
    "crop": ("crop_sides",),
}
"""Keys by the chance without which they do nothing."""


def _without_effect(key: str, preset: str, chance: str) -> str:
    return f"{key} has no effect, as preset {preset!r} has {chance} 0; give {chance} as well, or leave {key} out"
