"""What a split says about its small objects, counted once before training: where they are, and which are rare."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vision.augment.presets import Recipe


@dataclass(frozen=True, slots=True)
class SmallObjects:
    """The small objects of a split. Shapes: D images that have some, K classes."""

    indices: np.ndarray
    """(D,) positions of the images that have some; D may be 0."""
    cumulative: np.ndarray
    """(D,) rising to 1: an image is drawn in proportion to the weights of its small objects."""
    class_weights: np.ndarray
    """(K,) 1 for the class with most objects, more for rarer ones; see `CopyPaste.rare_weight`."""
    stitch_share: float
    """Share of the images in which small objects take up too little of all objects' area."""

    def draw(self, rng: np.random.Generator) -> int:
        """Draw the position of an image with small objects; there must be one."""
        return int(self.indices[np.searchsorted(self.cumulative, rng.random(), side="right")])


NOTHING_SMALL = SmallObjects(np.zeros(0, np.int64), np.zeros(0), np.ones(0), 0.0)
"""For a pipeline that asks for none of it."""


def notes_on(recipe: Recipe, small_objects: SmallObjects) -> list[str]:
    """Say which steps of a recipe find nothing to do in a split, one sentence each."""
    notes = []
    idle = [name for name, chance in (("copy_paste", recipe.copy_paste.chance), ("zoom", recipe.zoom)) if chance]
    if idle and not len(small_objects.indices):
        notes.append(
            f"augment: there is nothing for {' and '.join(idle)} to do, as no object of the training split is as small "
            f"as `small_size` {recipe.small_size:g} px at this `image_size`"
        )
    if recipe.stitcher and not small_objects.stitch_share:
        notes.append(
            "augment: stitcher does nothing, as small objects have their share (`stitcher_threshold` "
            f"{recipe.stitcher_threshold:g}) of the area in every image"
        )
    return notes


def is_small(boxes: np.ndarray, small_size: float) -> np.ndarray:
    """Say of (N, 4) xyxy boxes which have at most the area of a square of side `small_size`, and any; (N,) bool."""
    area = box_areas(boxes)
    return (area > 0) & (area <= small_size**2)


def box_areas(boxes: np.ndarray) -> np.ndarray:
    """(N,) areas of (N, 4) xyxy boxes; 0 where a side is not positive."""
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    return sides[:, 0] * sides[:, 1]


def survey_small_objects(
    objects: Sequence[tuple[np.ndarray, np.ndarray]], num_classes: int, recipe: Recipe
) -> SmallObjects:
    """Count the small objects of a split.

    Args:
        objects: per image (N, 4) xyxy boxes in pixels of the fitted image, as the model sees it, and (N,) labels.
        num_classes: K.
        recipe: what is small, how much more rare classes weigh, and when an image needs stitching.
    """
    class_weights = _class_weights([labels for _, labels in objects], num_classes, recipe.copy_paste.rare_weight)
    image_weights = np.zeros(len(objects))
    needs_stitching = np.zeros(len(objects), bool)
    for index, (boxes, labels) in enumerate(objects):
        small = is_small(boxes, recipe.small_size)
        image_weights[index] = class_weights[labels[small]].sum()
        areas = box_areas(boxes)
        needs_stitching[index] = areas[small].sum() < recipe.stitcher_threshold * areas.sum() or not small.any()
    indices = np.flatnonzero(image_weights)
    cumulative = np.cumsum(image_weights[indices])
    if len(indices):
        cumulative /= cumulative[-1]
    return SmallObjects(indices, cumulative, class_weights, float(needs_stitching.mean()) if len(objects) else 0.0)


def _class_weights(labels: Sequence[np.ndarray], num_classes: int, power: float) -> np.ndarray:
    """(K,) (most / count) ** power; a class without objects, which nothing is drawn from, has weight 1."""
    joined = np.concatenate([np.zeros(0, np.int64), *labels])
    counts = np.bincount(joined, minlength=num_classes).astype(np.float64)
    present = counts > 0
    weights = np.ones(num_classes)
    weights[present] = (counts.max() / counts[present]) ** power
    return weights
