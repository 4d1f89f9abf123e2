"""The whole way of a training sample, from fitted uint8 images to one of the model's size."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from vision.augment.colour import jitter_colour
from vision.augment.copy_paste import copy_paste
from vision.augment.crops import crop_around
from vision.augment.geometry import (
    BoxedImage,
    Window,
    blank,
    flip_horizontal,
    flip_vertical,
    paste,
    rescale,
    transpose,
)
from vision.augment.letterbox import letterbox
from vision.augment.mixup import mixup
from vision.augment.mosaic import mosaic
from vision.augment.presets import Recipe
from vision.augment.small_objects import NOTHING_SMALL, SmallObjects, is_small
from vision.augment.stitcher import stitch

MIN_SIDE_PX = 1.0
"""A thinner box has no pixel of its own to be learned from."""

Source = Callable[[int], BoxedImage]
MaskSource = Callable[[int, int], np.ndarray | None]
"""Gives the (H, W) bool mask of an object by the image's index and its row among the boxes; None = there is none."""
UserTransforms = Callable[[BoxedImage, np.random.Generator], BoxedImage]


def sample_rng(seed: int, epoch: int, sample_id: int, occurrence: int) -> np.random.Generator:
    """Return the generator of one sample: the same four numbers give the same stream, in any process and order."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, epoch, sample_id, occurrence))))


@dataclass(frozen=True)
class Pipeline:
    """Augmentation of one training sample; holds settings only, the randomness is passed in."""

    recipe: Recipe
    image_size: tuple[int, int]
    """(height, width) of what comes out."""
    min_visibility: float
    user_transforms: UserTransforms | None = None

    def __call__(
        self,
        source: Source,
        index: int,
        rng: np.random.Generator,
        *,
        partners: np.ndarray,
        mixup_partners: np.ndarray,
        small_objects: SmallObjects = NOTHING_SMALL,
        masks: MaskSource | None = None,
        is_closing: bool = False,
        tally: Counter[str] | None = None,
    ) -> BoxedImage:
        """Augment the sample at `index`.

        Args:
            source: gives the fitted image and boxes at an index.
            index: which sample.
            rng: the sample's own generator, see `sample_rng`.
            partners: (P,) indices that a mosaic or a sheet may draw from.
            mixup_partners: (Q,) indices that mixup may draw from; none are mixed when it is empty.
            small_objects: those of the split.
            masks: outlines in the fitted images' pixels; None = boxes only.
            is_closing: put no images together, as in the last epochs: no copy-paste, sheet, mosaic or mixup.
            tally: counts what became of the copies, under `pasted` and `without_room`.

        Returns:
            An (H, W, 3) image of `image_size` with boxes of at least `MIN_SIDE_PX`.
        """
        recipe = self.recipe

        def turned(other: int) -> BoxedImage:
            sample = source(other)
            if not is_closing and _happens(rng, recipe.copy_paste.chance):
                sample = self._with_copies(sample, other, source, rng, small_objects, masks, tally)
            return self._turn(sample, rng)

        stitcher = recipe.stitcher * small_objects.stitch_share
        if not is_closing and _happens(rng, stitcher):
            sample = stitch([turned(int(other)) for other in _tiles(index, partners, rng)], self.image_size)
        elif not is_closing and rng.random() < recipe.mosaic:
            tiles = [turned(int(other)) for other in _tiles(index, partners, rng)]
            sample = mosaic(tiles, self.image_size, rng, recipe.mosaic_scale, self.min_visibility)
        else:
            sample = self._alone(turned(index), rng)
        image = jitter_colour(sample.image, rng, recipe.gain, recipe.brightness, recipe.contrast)
        sample = sample._replace(image=image)
        if self.user_transforms is not None:
            sample = self.user_transforms(sample, rng)
        if not is_closing and len(mixup_partners) and rng.random() < recipe.mixup:
            size = (sample.image.shape[0], sample.image.shape[1])
            sample = mixup(sample, self._place(turned(int(rng.choice(mixup_partners))), size, rng))
        return self._finish(sample)

    def _with_copies(
        self,
        sample: BoxedImage,
        index: int,
        source: Source,
        rng: np.random.Generator,
        small_objects: SmallObjects,
        masks: MaskSource | None,
        tally: Counter[str] | None,
    ) -> BoxedImage:
        """Paste small objects of this or another image into a sample; as it is where there are none."""
        recipe = self.recipe.copy_paste
        if not len(small_objects.indices):
            return sample
        is_same = recipe.source == "same" or (recipe.source == "both" and rng.random() < 0.5)  # half and half
        donor_index = index if is_same else small_objects.draw(rng)
        pasted = copy_paste(
            sample,
            sample if is_same else source(donor_index),
            rng,
            recipe,
            small_size=self.recipe.small_size,
            class_weights=small_objects.class_weights,
            mask_of=partial(masks, donor_index) if masks is not None and recipe.masks else None,
        )
        if tally is not None:
            tally.update(pasted=pasted.num_pasted, without_room=pasted.num_without_room)
        return pasted.sample

    def _alone(self, sample: BoxedImage, rng: np.random.Generator) -> BoxedImage:
        """Show one image: around a small object, a part, or scaled and moved."""
        recipe = self.recipe
        if _happens(rng, recipe.zoom):
            small = np.flatnonzero(is_small(sample.boxes, recipe.small_size))
            if len(small):
                side = 1 / rng.uniform(*recipe.zoom_factor)
                return crop_around(sample, int(rng.choice(small)), (side, side), rng, recipe.visible_share)
        if _happens(rng, recipe.crop):
            target = int(rng.integers(len(sample.boxes))) if len(sample.boxes) else None
            sides = rng.uniform(*recipe.crop_sides), rng.uniform(*recipe.crop_sides)
            return crop_around(sample, target, sides, rng, recipe.visible_share)
        return self._place(sample, self.image_size, rng)

    def _turn(self, sample: BoxedImage, rng: np.random.Generator) -> BoxedImage:
        """Flip and transpose by chance; a transposed image that no longer fits is shrunk until it does."""
        if rng.random() < self.recipe.flip_horizontal:
            sample = flip_horizontal(sample)
        if rng.random() < self.recipe.flip_vertical:
            sample = flip_vertical(sample)
        if rng.random() < self.recipe.transpose:
            sample = transpose(sample)
            height, width = sample.image.shape[:2]
            sample = rescale(sample, min(1.0, self.image_size[0] / height, self.image_size[1] / width))
        return sample

    def _place(self, sample: BoxedImage, size: tuple[int, int], rng: np.random.Generator) -> BoxedImage:
        """Scale a sample and draw it on a canvas of `size`, near the centre."""
        recipe = self.recipe
        scaled = rescale(sample, rng.uniform(*recipe.scale))
        shift_y, shift_x = rng.uniform(-recipe.translate, recipe.translate, 2) * size
        top = (size[0] - scaled.image.shape[0]) // 2 + round(shift_y)
        left = (size[1] - scaled.image.shape[1]) // 2 + round(shift_x)
        canvas = blank(size)
        window = Window(0, 0, size[1], size[0])
        return BoxedImage(canvas, *paste(canvas, scaled, left, top, window, self.min_visibility))

    def _finish(self, sample: BoxedImage) -> BoxedImage:
        """Letterbox to `image_size` and drop boxes that have become too thin."""
        image, boxes, _ = letterbox(sample.image, sample.boxes, self.image_size)
        keep = ((boxes[:, 2:] - boxes[:, :2]) >= MIN_SIDE_PX).all(axis=1)
        return BoxedImage(image, boxes[keep], sample.labels[keep])


def _happens(rng: np.random.Generator, chance: float) -> bool:
    """Decide by chance; without one nothing is drawn, so that a step that is off changes no other."""
    return chance > 0 and rng.random() < chance


def _tiles(index: int, partners: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The (4,) indices of a sample and three partners, in random order."""
    return rng.permutation(np.append(rng.choice(partners, 3), index))


def build_pipeline(
    recipe: Recipe,
    image_size: tuple[int, int],
    *,
    transforms: Sequence[dict[str, dict[str, Any]]] = (),
    min_visibility: float = 0.25,
) -> Pipeline:
    """Build the augmentation of training samples; albumentations is loaded only where `transforms` asks for it.

    Raises:
        ConfigError: if a transform does not exist, has wrong arguments, or does not take its boxes along.
    """
    user_transforms: UserTransforms | None = None
    if transforms:
        # Here and not above: importing albumentations takes seconds, and most pipelines do not use it.
        from vision.augment.albumentations_builder import build_transforms

        user_transforms = build_transforms(transforms, min_visibility)
    return Pipeline(recipe, image_size, min_visibility, user_transforms)
