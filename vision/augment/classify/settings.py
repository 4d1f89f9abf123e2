"""Settings of the augmentation of labelled images: the key `augment` of a classification stage. No torch, no OpenCV."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, model_validator

from foundation.settings import Probability, Range, StrictModel
from vision.augment.classify.presets import Policy, Recipe, resolve
from vision.augment.transform_list import TransformList

Angle = Annotated[float, Field(ge=0.0, le=180.0)]


class AugmentSettings(StrictModel):
    """What happens to a training image; null = the preset's value.

    Order: cache, crop, flips, turning and moving, policy, colour, transforms, noise, erasing, mixing.
    """

    preset: Literal["none", "small", "imagenet", "alexnet", "strong"] = "small"
    """Where the values of all keys come from that are not given. small = pad, random window, flip; imagenet = random
    resized crop, flip, colour; alexnet = random window of a larger image, flip, principal colours (Krizhevsky et al.
    2012); strong = random resized crop, flip, TrivialAugment, erasing, mixup and cutmix."""
    crop: Literal["none", "random", "resized"] | None = None
    """none = as in evaluation; random = a window of `image_size` anywhere in the image, whose shortest side is
    `resize_size`, with `pad` around it; resized = a part of random area and aspect ratio, resized to `image_size`."""
    pad: Probability | None = None
    """crop: random: grey added to every side before, as a share of `image_size`; 0.125 = 4 of 32 pixels."""
    crop_area: Range | None = None
    """crop: resized: the part's share of the image's area, between these."""
    crop_ratio: Range | None = None
    """crop: resized: width / height of the part, between these."""
    flip_horizontal: Probability | None = None
    """Chance that left and right change places."""
    flip_vertical: Probability | None = None
    """Chance that top and bottom change places."""
    rotate: Angle | None = None
    """Degrees, up to which the image is turned either way."""
    scale: Range | None = None
    """The image is scaled around its centre by a factor between these."""
    translate: Probability | None = None
    """... and moved by up to this share of `image_size`, along each axis."""
    policy: Policy | None = None
    """`{name: randaugment, n: 2, m: 9}`, `{name: trivialaugment}` or `{name: none}`."""
    gain: Probability | None = None
    """Each colour channel is multiplied by its own factor from 1 - gain to 1 + gain."""
    brightness: Probability | None = None
    """Up to this share of the full range is added or taken away."""
    contrast: Probability | None = None
    """The distance from mid-grey is multiplied by a factor from 1 - contrast to 1 + contrast."""
    saturation: Probability | None = None
    """The distance from the pixel's own grey is multiplied by a factor from 1 - saturation to 1 + saturation."""
    hue: Annotated[float, Field(ge=0.0, le=0.5)] | None = None
    """Colours are turned by up to this share of the colour circle."""
    pca_colour: NonNegativeFloat | None = None
    """Strength of the shift along the principal colours of the training split, 0.1 in Krizhevsky et al. 2012."""
    noise: Probability | None = None
    """Standard deviation of Gaussian noise, as a share of the full range."""
    erasing: Probability | None = None
    """Chance that a rectangle is replaced by random pixels (Zhong et al. 2020, arXiv:1708.04896)."""
    erasing_area: Range | None = None
    """The rectangle's share of the image's area, between these."""
    mixing: Probability | None = None
    """Chance that a second image is mixed in, by mixup or cutmix; if both are on, either is as likely."""
    mixup: NonNegativeFloat | None = None
    """Blend: both images' shares come from Beta(mixup, mixup); 0 = never (Zhang et al. 2018, arXiv:1710.09412)."""
    cutmix: NonNegativeFloat | None = None
    """Paste a rectangle of the second image: its area comes from Beta(cutmix, cutmix); 0 = never (Yun et al. 2019,
    arXiv:1905.04899)."""
    close_mixing: Probability = 0.1
    """Mixup and cutmix are off in this last part of the epochs, rounded to whole epochs."""
    transforms: TransformList | None = None
    """Besides: albumentations transforms by their own names and arguments, `[{CLAHE: {p: 0.5}}]`."""

    def recipe(self) -> Recipe:
        """Return the preset with the given values in place of its own."""
        given = {name: getattr(self, name) for name in type(self).model_fields}
        return resolve(self.preset, given)

    @model_validator(mode="after")
    def _everything_has_an_effect(self) -> "AugmentSettings":
        recipe = self.recipe()
        needs = {
            "pad": (recipe.crop == "random", f"`crop: {recipe.crop}`; it needs `crop: random`"),
            "crop_area": (recipe.crop == "resized", f"`crop: {recipe.crop}`; it needs `crop: resized`"),
            "crop_ratio": (recipe.crop == "resized", f"`crop: {recipe.crop}`; it needs `crop: resized`"),
            "erasing_area": (recipe.erasing > 0, "`erasing: 0`"),
            "mixing": (recipe.mixup > 0 or recipe.cutmix > 0, "neither `mixup` nor `cutmix`"),
        }
        for name, (has_effect, reason) in needs.items():
            if getattr(self, name) is not None and not has_effect:
                raise ValueError(f"`{name}` has no effect with {reason}; leave it out, or mend the other")
        for name in ("crop_area", "erasing_area"):
            value = getattr(self, name)
            if value is not None and value[1] > 1:
                raise ValueError(f"`{name}` is a share of the image's area, at most 1, got {list(value)}")
        return self
