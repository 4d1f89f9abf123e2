"""The glyphs of `scenes`: real handwritten digits from scikit-learn's bundled scans, smoothly enlarged."""

from functools import cache
from typing import Literal, get_args

import cv2
import numpy as np

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
CLASSES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

MARGIN_CELLS = 2
"""Empty cells around the 8 x 8 scan, room for a sticker's rim or a tile."""
_SMOOTH_PX = 96
"""Enough pixels to smooth 8 x 8 cells in; a finer board only costs time before the threshold."""
_SHARPENING = 2.2
_THIN_PEN, _THICK_PEN = 0.64, 0.48
"""Thresholds on the sharpened scan, found by eye: thinner breaks zeros, thicker fills sixes and eights."""
_SPLIT_OF_TENTH: tuple[Split, ...] = ("train",) * 6 + ("val",) * 2 + ("test",) * 2


@cache
def load_scans(split: Split) -> tuple[np.ndarray, ...]:
    """Load the digit scans that belong to one split; no scan belongs to two.

    Returns:
        Ten arrays (N, 8, 8) float32 in [0, 1], one per digit, 1 = ink.
    """
    from sklearn.datasets import load_digits  # takes over a second; who only reads scenes never needs it

    digits = load_digits()
    images = digits.images.astype(np.float32)
    images /= images.max(axis=(1, 2), keepdims=True)  # some writers pressed lightly
    scans = []
    for digit in range(len(CLASSES)):
        own = images[digits.target == digit]
        tenth = np.arange(len(own)) % len(_SPLIT_OF_TENTH)
        scans.append(own[[_SPLIT_OF_TENTH[place] == split for place in tenth]])
    return tuple(scans)


def enlarge_scan(scan: np.ndarray, size: int, weight: float = 0.5) -> np.ndarray:
    """Turn an 8 x 8 scan into a smooth, antialiased glyph.

    The grey scan is interpolated bicubically and sharpened against its surroundings, which closes pale strokes and
    opens small loops; a soft threshold then gives the round edge of a pen instead of enlarged pixels.

    Args:
        scan: (8, 8) float32 in [0, 1].
        size: side of the square result in pixels.
        weight: 0 = thin pen, 1 = thick pen.

    Returns:
        (size, size) float32 in [0, 1], the ink's coverage; the scan fills the middle two thirds.
    """
    padded = cv2.copyMakeBorder(scan, *(MARGIN_CELLS,) * 4, borderType=cv2.BORDER_CONSTANT, value=0.0)
    smooth_px = min(size, _SMOOTH_PX)
    cell_px = smooth_px / padded.shape[0]
    smooth = cv2.resize(padded, (smooth_px, smooth_px), interpolation=cv2.INTER_CUBIC)
    stroke = cv2.GaussianBlur(smooth, (0, 0), max(0.3 * cell_px, 0.3))
    stroke += _SHARPENING * (stroke - cv2.GaussianBlur(stroke, (0, 0), 1.3 * cell_px))
    stroke = cv2.resize(stroke, (size, size), interpolation=cv2.INTER_CUBIC)
    threshold = _THIN_PEN + (_THICK_PEN - _THIN_PEN) * weight
    softness = min(padded.shape[0] / size, 0.4)  # about one pixel of slope at the stroke's edge
    return np.clip((stroke - threshold) / (2 * softness) + 0.5, 0.0, 1.0)
