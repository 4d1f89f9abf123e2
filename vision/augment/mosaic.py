"""Four images stitched around one point (Bochkovskiy et al. 2020, arXiv:2004.10934, section 3.3)."""

from collections.abc import Sequence

import numpy as np

from vision.augment.geometry import BoxedImage, Window, blank, paste, rescale

CENTRE_RANGE = (0.25, 0.75)
"""The four tiles meet somewhere in this share of the canvas, along each axis."""


def mosaic(
    tiles: Sequence[BoxedImage],
    size: tuple[int, int],
    rng: np.random.Generator,
    scale: tuple[float, float],
    min_visibility: float,
) -> BoxedImage:
    """Stitch four samples; each keeps the corner that touches the meeting point, what juts out is cut off.

    Unlike the original, the canvas has the final size at once, which leaves a second warp out.

    Args:
        tiles: four samples, for top left, top right, bottom left and bottom right.
        size: (height, width) of the result.
        rng: where the meeting point and each tile's scale come from.
        scale: range of the factors.
        min_visibility: share of its area that a box must keep.
    """
    height, width = size
    centre_x = round(rng.uniform(*CENTRE_RANGE) * width)
    centre_y = round(rng.uniform(*CENTRE_RANGE) * height)
    canvas = blank(size)
    boxes, labels = [], []
    for index, tile in enumerate(tiles):
        is_right, is_lower = index % 2 == 1, index >= 2
        scaled = rescale(tile, rng.uniform(*scale))
        window = Window(
            left=centre_x if is_right else 0,
            top=centre_y if is_lower else 0,
            right=width if is_right else centre_x,
            bottom=height if is_lower else centre_y,
        )
        left = centre_x if is_right else centre_x - scaled.image.shape[1]
        top = centre_y if is_lower else centre_y - scaled.image.shape[0]
        tile_boxes, tile_labels = paste(canvas, scaled, left, top, window, min_visibility)
        boxes.append(tile_boxes)
        labels.append(tile_labels)
    return BoxedImage(canvas, np.concatenate(boxes), np.concatenate(labels))
