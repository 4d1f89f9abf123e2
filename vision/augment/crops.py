"""Parts of an image that cut no object badly: around any object, or around a small one and enlarged."""

import numpy as np

from vision.augment.geometry import BoxedImage, Window, rescale
from vision.augment.small_objects import box_areas


def crop_around(
    sample: BoxedImage, target: int | None, sides: tuple[float, float], rng: np.random.Generator, visible_share: float
) -> BoxedImage:
    """Cut a part out at a random place, and enlarge it until it fills the image's height or width.

    No object is cut below `visible_share`: the part grows until it holds such objects whole.

    Args:
        sample: with a fitted image.
        target: row of the object that the part shows, whole if it fits; None = the part lies anywhere.
        sides: the part's (height, width) as shares of the image's, up to 1.
        rng: where the place comes from.
        visible_share: of each object that is not outside altogether, at least this share stays inside.

    Returns:
        A sample no larger than before, with the objects that are inside, clipped to it.
    """
    height, width = sample.image.shape[:2]
    box = None if target is None else sample.boxes[target]
    crop_height, crop_width = max(1, round(sides[0] * height)), max(1, round(sides[1] * width))
    top = _start(crop_height, height, None if box is None else (box[1], box[3]), rng)
    left = _start(crop_width, width, None if box is None else (box[0], box[2]), rng)
    window = grow(Window(left, top, left + crop_width, top + crop_height), sample.boxes, visible_share)
    window = Window(max(0, window.left), max(0, window.top), min(width, window.right), min(height, window.bottom))
    part = cut(sample, window)
    part_height, part_width = part.image.shape[:2]
    return rescale(part, min(height / part_height, width / part_width))


def _start(length: int, full: int, span: tuple[float, float] | None, rng: np.random.Generator) -> int:
    """Draw where `length` of `full` pixels begin, so that they hold `span` if it fits, else its middle."""
    last = full - length
    if span is None:
        return int(rng.integers(last + 1))
    low, high = np.ceil(span[1]) - length, np.floor(span[0])
    if low > high:
        middle = (span[0] + span[1]) / 2
        low, high = np.ceil(middle) - length, np.floor(middle)
    low, high = np.clip([low, high], 0, last)
    return int(rng.integers(int(low), int(high) + 1))


def grow(window: Window, boxes: np.ndarray, visible_share: float) -> Window:
    """Widen a window to whole pixels around every box of which it shows something, but less than `visible_share`.

    Args:
        boxes: (N, 4) xyxy; N may be 0. What is added may show a part of others, so that it goes on until none is left.
    """
    areas = box_areas(boxes)
    while True:
        corner, opposite = np.array(window[:2]), np.array(window[2:])
        inside = np.concatenate([np.maximum(boxes[:, :2], corner), np.minimum(boxes[:, 2:], opposite)], axis=1)
        visible = box_areas(inside)
        is_cut = (visible > 0) & (visible < visible_share * areas)
        if not is_cut.any():
            return window
        low = np.floor(boxes[is_cut, :2].min(axis=0)).astype(int)
        high = np.ceil(boxes[is_cut, 2:].max(axis=0)).astype(int)
        window = Window(
            *(int(each) for each in np.minimum(corner, low)), *(int(each) for each in np.maximum(opposite, high))
        )


def cut(sample: BoxedImage, window: Window) -> BoxedImage:
    """Cut a window out; what is outside goes, what is cut is clipped."""
    corner = np.array([window.left, window.top] * 2, np.float32)
    limit = np.array([window.right - window.left, window.bottom - window.top] * 2, np.float32)
    boxes = np.clip(sample.boxes - corner, 0, limit)
    keep = box_areas(boxes) > 0
    image = sample.image[window.top : window.bottom, window.left : window.right]
    return BoxedImage(image, boxes[keep], sample.labels[keep])
