"""Four whole images shrunk into one, so that their objects become small (Chen et al. 2020, arXiv:2004.12432).

The paper stitches the next batch when small objects had less than a tenth of the last batch's loss. Here a sample's
augmentation is a function of (seed, epoch, sample id) alone, so that it does not depend on the number of workers and a
resumed run sees the same samples; a loss is none of these. Instead stitching has a chance per sample that is fixed for
the run and follows from the data: the share of images whose small objects have less than `stitcher_threshold` of the
area of all objects (`small_objects.survey_small_objects`).
"""

from collections.abc import Sequence

import numpy as np

from vision.augment.fitting import fit
from vision.augment.geometry import BoxedImage, blank
from vision.augment.letterbox import resize_to_fit


def stitch(tiles: Sequence[BoxedImage], size: tuple[int, int]) -> BoxedImage:
    """Shrink four samples into the quarters of a canvas, each whole and with its aspect ratio (k = 4 of the paper).

    Args:
        tiles: four samples, for top left, top right, bottom left and bottom right.
        size: (height, width) of the result.

    Returns:
        The canvas with the objects of all four; none is cut.
    """
    height, width = size
    tops, lefts = (0, height // 2, height), (0, width // 2, width)
    canvas = blank(size)
    boxes = []
    for index, tile in enumerate(tiles):
        row, column = divmod(index, 2)
        cell = tops[row + 1] - tops[row], lefts[column + 1] - lefts[column]
        info = fit((tile.image.shape[0], tile.image.shape[1]), cell)
        top, left = tops[row] + info.pad_top, lefts[column] + info.pad_left
        shrunk = resize_to_fit(tile.image, info)
        canvas[top : top + shrunk.shape[0], left : left + shrunk.shape[1]] = shrunk
        boxes.append(info.to_letterboxed(tile.boxes) + np.array([lefts[column], tops[row]] * 2, np.float32))
    return BoxedImage(canvas, np.concatenate(boxes), np.concatenate([tile.labels for tile in tiles]))
