"""The whole way of a training image, from the kept uint8 base to one of the model's size, perhaps with a second one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np

from vision.augment.classify.colour import changes_colour, random_colour_matrix, recoloured
from vision.augment.classify.fitting import Fitting, resized
from vision.augment.classify.geometry import affine, random_window, resized_part
from vision.augment.classify.mixing import cutmix, erase, mixup
from vision.augment.classify.policy import apply_policy
from vision.augment.classify.presets import Recipe
from vision.augment.colour import FULL_RANGE

ImageTransforms = Callable[[np.ndarray, np.random.Generator], np.ndarray]


class Mixed(NamedTuple):
    """An augmented image and whose it is."""

    image: np.ndarray
    """(H, W, 3) uint8."""
    partner: int
    """Index of the image that was mixed in; its own without mixing."""
    share: float
    """What belongs to the image itself; 1 without mixing."""


@dataclass(frozen=True)
class Pipeline:
    """Augmentation of one training image; holds settings only, the randomness is passed in."""

    recipe: Recipe
    fitting: Fitting
    principal_colours: np.ndarray | None = None
    """(3, 3), see `vision.augment.classify.colour.principal_shift`; needed for `recipe.pca_colour`."""
    user_transforms: ImageTransforms | None = None

    def __call__(
        self,
        source: Callable[[int], np.ndarray],
        index: int,
        rng: np.random.Generator,
        *,
        num_images: int,
        is_closing: bool = False,
    ) -> Mixed:
        """Augment the image at `index`.

        Args:
            source: gives the base image at an index; see `Fitting`.
            index: which one.
            rng: the sample's own generator, see `vision.augment.pipeline.sample_rng`.
            num_images: partners are drawn from so many.
            is_closing: leave mixing out, as in the last epochs.

        Returns:
            an image of `fitting.image_size`; it may be a view of the base.
        """
        recipe = self.recipe
        image = self._alone(source(index), rng)
        is_mixing = not is_closing and (recipe.mixup or recipe.cutmix) and rng.random() < recipe.mixing
        if not is_mixing:
            return Mixed(image, index, 1.0)
        partner = int(rng.random() * num_images)
        other = self._alone(source(partner), rng)
        use_cutmix = bool(recipe.cutmix) and (not recipe.mixup or rng.random() < 0.5)
        if use_cutmix:
            mixed, share = cutmix(image, other, rng.beta(recipe.cutmix, recipe.cutmix), rng)
        else:
            share = rng.beta(recipe.mixup, recipe.mixup)
            mixed = mixup(image, other, share)
        return Mixed(mixed, partner, share)

    def _alone(self, base: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Do everything that concerns a single image."""
        recipe = self.recipe
        image = self._cropped(base, rng)
        if recipe.flip_horizontal and rng.random() < recipe.flip_horizontal:
            image = cv2.flip(image, 1)
        if recipe.flip_vertical and rng.random() < recipe.flip_vertical:
            image = cv2.flip(image, 0)
        image = affine(image, rng, recipe.rotate, recipe.scale, recipe.translate)
        image = apply_policy(image, recipe.policy, rng)
        if changes_colour(recipe):
            image = recoloured(image, random_colour_matrix(recipe, rng, self.principal_colours))
        if self.user_transforms is not None:
            image = resized(self.user_transforms(image, rng), self.fitting.image_size)
        if recipe.noise:
            noise = rng.standard_normal(image.shape, np.float32) * np.float32(recipe.noise * FULL_RANGE)
            image = cv2.add(image, noise, dtype=cv2.CV_8U)
        if recipe.erasing and rng.random() < recipe.erasing:
            image = erase(image, rng, recipe.erasing_area)
        return image

    def _cropped(self, base: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        recipe, size = self.recipe, self.fitting.image_size
        if recipe.crop == "random":
            return random_window(base, size, rng, recipe.pad)
        if recipe.crop == "resized":
            return resized_part(base, size, rng, recipe.crop_area, recipe.crop_ratio)
        return self.fitting.final(base)


def build_pipeline(
    recipe: Recipe,
    fitting: Fitting,
    *,
    principal_colours: np.ndarray | None = None,
    transforms: Sequence[dict[str, dict[str, Any]]] = (),
) -> Pipeline:
    """Build the augmentation of training images; albumentations is loaded only where `transforms` asks for it.

    Raises:
        ConfigError: if a transform does not exist, has wrong arguments, or needs more than an image.
    """
    user_transforms: ImageTransforms | None = None
    if transforms:
        # Here and not above: importing albumentations takes seconds, and most pipelines do not use it.
        from vision.augment.albumentations_builder import build_image_transforms

        user_transforms = build_image_transforms(transforms)
    return Pipeline(recipe, fitting, principal_colours, user_transforms)
