"""Small objects pasted once more, where nothing else is.

Source: Kisantal et al. 2019, arXiv:1902.07296, section 4.2. As there: objects of at most a given size, scaled by
+-20 %, turned by +-15 degrees, overlapping no other object, five pixels away from the image's edge, and none that is
occluded or cut off. Unlike there, copies fade at their edge, may come from other images, may be cut along the box where
there is no mask, and favour rare classes when asked to.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from vision.augment.geometry import BoxedImage
from vision.augment.presets import CopyPaste
from vision.augment.small_objects import box_areas, is_small

EDGE_MARGIN_PX = 5
EDGE_TOLERANCE_PX = 1
MOST_COVERED = 0.25
"""An object is not copied along its box if another one's box covers more than this share of it."""
ROOM_IMAGES = 64
"""So many images of a split, evenly spread, are asked for room before training."""
QUICK_TRIES = 16
"""Places tried at random before all of them are looked at."""

MaskOf = Callable[[int], np.ndarray | None]
"""Gives the (H, W) bool mask of an image's object by its row among the boxes, or None where the data has none."""


class Pasted(NamedTuple):
    """What became of the copies."""

    sample: BoxedImage
    num_pasted: int
    num_without_room: int


class Patch(NamedTuple):
    """One copy, ready to be blended in."""

    image: np.ndarray
    """(h, w, 3) uint8."""
    alpha: np.ndarray
    """(h, w) float32 in [0, 1]; 1 on the object, falling to 0 at the patch's edge."""
    box: np.ndarray
    """(4,) float32 xyxy in pixels of the patch."""


def copy_paste(
    sample: BoxedImage,
    donor: BoxedImage,
    rng: np.random.Generator,
    recipe: CopyPaste,
    *,
    small_size: float,
    class_weights: np.ndarray,
    mask_of: MaskOf | None = None,
) -> Pasted:
    """Paste copies of a donor's small objects into a sample.

    Args:
        sample: where they go; it is not changed. Copies are appended to its boxes and labels.
        donor: where they come from; may be the sample itself.
        rng: where every choice comes from.
        recipe: how many, of which, and how they are changed.
        small_size: side of the square that a small object's area does not exceed, pixels.
        class_weights: (K,) how much each class wants copying.
        mask_of: the donor's outlines; None = its boxes.

    Returns:
        The new sample, and how many copies were pasted and how many found no room.
    """
    image = sample.image
    occupied, boxes, labels = list(sample.boxes), [], []
    num_without_room = 0
    for row in _choose(donor, rng, recipe, small_size, class_weights, has_masks=mask_of is not None):
        factor = 1 + rng.uniform(-recipe.scale, recipe.scale)
        degrees = rng.uniform(-recipe.rotation, recipe.rotation)
        mask = mask_of(int(row)) if mask_of is not None else None
        patch = cut_out(donor.image, donor.boxes[row], factor, degrees, recipe.feather, mask)
        height, width = patch.alpha.shape
        place = find_room(np.array(occupied).reshape(-1, 4), (height, width), image.shape[:2], rng)
        if place is None:
            num_without_room += 1
            continue
        left, top = place
        if image is sample.image:
            image = image.copy()
        _blend(image[top : top + height, left : left + width], patch)
        occupied.append(np.array([left, top, left + width, top + height], np.float32))
        boxes.append(patch.box + np.array([left, top, left, top], np.float32))
        labels.append(donor.labels[row])
    if not boxes:
        return Pasted(sample, 0, num_without_room)
    pasted = BoxedImage(
        image, np.concatenate([sample.boxes, boxes]).astype(np.float32), np.concatenate([sample.labels, labels])
    )
    return Pasted(pasted, len(boxes), num_without_room)


def room_notes(
    objects: Sequence[np.ndarray], image_sizes: Sequence[tuple[int, int]], recipe: CopyPaste, small_size: float
) -> list[str]:
    """Say, in one sentence, if not even the smallest object finds room in any of `ROOM_IMAGES` images of a split.

    Args:
        objects: per image (N, 4) xyxy boxes in pixels of the fitted image.
        image_sizes: its (height, width).
        recipe: whether anything is copied, and how much smaller.
        small_size: as in `copy_paste`.
    """
    boxes = np.concatenate([np.zeros((0, 4)), *objects])
    small = boxes[is_small(boxes, small_size)]
    if not recipe.chance or not len(small):
        return []
    width, height = (small[:, 2:] - small[:, :2])[box_areas(small).argmin()] * (1 - recipe.scale)
    size = max(1, int(height)), max(1, int(width))
    rng = np.random.default_rng(0)  # whether there is room does not depend on it
    looked_at = np.unique(np.linspace(0, len(objects) - 1, ROOM_IMAGES).round().astype(int))
    if any(find_room(objects[index], size, image_sizes[index], rng) is not None for index in looked_at):
        return []
    return [
        f"augment: copy_paste finds no room: in none of {len(looked_at)} images would even the smallest object, of "
        f"{size[1]} x {size[0]} px, overlap no other; set `copy_paste.chance: 0`, or use a larger `image_size`"
    ]


def _choose(
    donor: BoxedImage,
    rng: np.random.Generator,
    recipe: CopyPaste,
    small_size: float,
    class_weights: np.ndarray,
    *,
    has_masks: bool,
) -> np.ndarray:
    """Draw which of the donor's objects are copied; (P,) rows, each as often as it is to be pasted, in random order."""
    fits = is_small(donor.boxes, small_size) & ~_is_at_edge(donor.boxes, donor.image.shape[:2])
    if not has_masks:
        fits &= ~_is_covered(donor.boxes)
    rows = np.flatnonzero(fits)
    if not len(rows):
        return rows
    weights = class_weights[donor.labels[rows]]
    if recipe.strategy == "all_several":
        rows = rows[rng.random(len(rows)) < weights / weights.max()]
    else:
        rows = rng.choice(rows, 1, p=weights / weights.sum())
    if recipe.strategy != "one_once":
        rows = np.repeat(rows, rng.integers(recipe.copies[0], recipe.copies[1] + 1, len(rows)))
    return rng.permutation(rows)[: recipe.most]


def _is_at_edge(boxes: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """Say which of (N, 4) boxes reach to within a pixel of the image's edge, where objects are cut off; (N,) bool."""
    limit = np.array([image_size[1], image_size[0]]) - EDGE_TOLERANCE_PX
    is_beyond = np.concatenate([boxes[:, :2] < EDGE_TOLERANCE_PX, boxes[:, 2:] > limit], axis=1)
    return np.asarray(is_beyond.any(axis=1))


def _is_covered(boxes: np.ndarray) -> np.ndarray:
    """Say of (N, 4) boxes which have more than `MOST_COVERED` of their area under a single other one; (N,) bool."""
    top_left = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    bottom_right = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    shared = np.maximum(bottom_right - top_left, 0).prod(axis=2)
    np.fill_diagonal(shared, 0)
    return np.asarray(shared.max(axis=1, initial=0) > MOST_COVERED * box_areas(boxes))


def cut_out(
    image: np.ndarray,
    box: np.ndarray,
    factor: float,
    degrees: float,
    feather: float,
    mask: np.ndarray | None = None,
) -> Patch:
    """Cut an object out, scaled and turned around its middle.

    Args:
        image: (H, W, 3) uint8.
        box: (4,) xyxy of the object; both sides positive.
        factor: scale.
        degrees: turn.
        feather: pixels over which alpha falls from 1 to 0, outside of the object.
        mask: (H, W) bool outline; None, or one without a pixel in the box = the box itself, turned.

    Returns:
        A patch just large enough. Its box encloses the turned mask; without one it encloses the turned ellipse in
        the box, as the turned box's own corners hold background.
    """
    centre = (box[:2] + box[2:]) / 2
    width, height = (box[2:] - box[:2]) * factor
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    size_x = int(np.ceil(width * abs(cos) + height * abs(sin) + 2 * feather))
    size_y = int(np.ceil(width * abs(sin) + height * abs(cos) + 2 * feather))
    middle = np.array([size_x, size_y]) / 2
    turn = np.array([[cos, -sin], [sin, cos]])
    # OpenCV counts from the middle of the first pixel, boxes from its edge: hence the halves.
    offset = middle - 0.5 - factor * turn @ (centre - 0.5)
    matrix = np.column_stack([factor * turn, offset])
    pixels = cv2.warpAffine(image, matrix, (size_x, size_y), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    outline = None
    if mask is not None:
        outline = cv2.warpAffine(mask.astype(np.uint8), matrix, (size_x, size_y), flags=cv2.INTER_NEAREST)
    if outline is not None and outline.any():
        distance = cv2.distanceTransform(1 - outline, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        patch_box = _box_of_mask(outline)
    else:
        distance = _distance_to_box((size_y, size_x), turn, width, height)
        reach = np.hypot([width * cos, width * sin], [height * sin, height * cos]) / 2
        patch_box = np.concatenate([middle - reach, middle + reach])
    alpha = np.clip(1 - distance / max(feather, np.finfo(np.float32).eps), 0, 1)
    return Patch(pixels, alpha.astype(np.float32), patch_box.astype(np.float32))


def _distance_to_box(size: tuple[int, int], turn: np.ndarray, width: float, height: float) -> np.ndarray:
    """(h, w) distances of a patch's pixel centres to the turned box in its middle; 0 inside."""
    y, x = np.ogrid[: size[0], : size[1]]
    y, x = y + 0.5 - size[0] / 2, x + 0.5 - size[1] / 2
    along, across = turn[0, 0] * x + turn[1, 0] * y, turn[0, 1] * x + turn[1, 1] * y
    return np.hypot(np.maximum(abs(along) - width / 2, 0), np.maximum(abs(across) - height / 2, 0))


def _box_of_mask(mask: np.ndarray) -> np.ndarray:
    """The (4,) xyxy box around the pixels of an (H, W) mask that has some."""
    x, y, width, height = cv2.boundingRect(mask)
    return np.array([x, y, x + width, y + height])


def _blend(region: np.ndarray, patch: Patch) -> None:
    """Draw a patch over a region of its size, in place; where alpha is 0 nothing changes."""
    alpha = patch.alpha[..., None]
    region[...] = np.rint(region * (1 - alpha) + patch.image * alpha)


def find_room(
    occupied: np.ndarray, size: tuple[int, int], image_size: tuple[int, int], rng: np.random.Generator
) -> tuple[int, int] | None:
    """Draw a place from all those where a patch overlaps nothing and keeps `EDGE_MARGIN_PX` from the edge.

    Args:
        occupied: (N, 4) xyxy; touching them is no overlap.
        size: (height, width) of the patch.
        image_size: (height, width).

    Returns:
        Its (left, top), every free place as likely as any other; None where there is none.
    """
    height, width = size
    rows = image_size[0] - 2 * EDGE_MARGIN_PX - height + 1
    columns = image_size[1] - 2 * EDGE_MARGIN_PX - width + 1
    if rows <= 0 or columns <= 0:
        return None
    tries = rng.integers((columns, rows), size=(QUICK_TRIES, 2)) + EDGE_MARGIN_PX
    starts_before_end = tries[:, None] < occupied[None, :, 2:]
    ends_after_start = tries[:, None] + np.array([width, height]) > occupied[None, :, :2]
    overlaps = np.logical_and(starts_before_end, ends_after_start).all(axis=2)
    free_tries = np.flatnonzero(~overlaps.any(axis=1))
    if len(free_tries):
        left, top = tries[free_tries[0]]
        return int(left), int(top)
    is_free = np.ones((rows, columns), bool)
    first = np.floor(occupied[:, :2] - (width, height)).astype(int) + 1 - EDGE_MARGIN_PX
    beyond = np.ceil(occupied[:, 2:]).astype(int) - EDGE_MARGIN_PX
    for (left, top), (right, bottom) in zip(np.maximum(first, 0), np.maximum(beyond, 0), strict=True):
        is_free[top:bottom, left:right] = False
    places = np.flatnonzero(is_free)
    if not len(places):
        return None
    row, column = divmod(int(rng.choice(places)), columns)
    return column + EDGE_MARGIN_PX, row + EDGE_MARGIN_PX
