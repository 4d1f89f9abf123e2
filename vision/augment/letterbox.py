"""Fitting the pixels of an image, and its boxes, into the size a model sees."""

import cv2
import numpy as np

from vision.augment.fitting import PAD_VALUE, LetterboxInfo, fit


def resize_to_fit(image: np.ndarray, info: LetterboxInfo) -> np.ndarray:
    """Resize (H, W, 3) uint8 to `info.fitted_size`, by area when it shrinks; the same array where it fits already."""
    height, width = info.fitted_size
    if image.shape[:2] == (height, width):
        return image
    interpolation = cv2.INTER_AREA if info.scale < 1 else cv2.INTER_LINEAR
    return cv2.resize(image, (width, height), interpolation=interpolation)


def pad_to_size(image: np.ndarray, info: LetterboxInfo, size: tuple[int, int]) -> np.ndarray:
    """Pad a fitted (h, w, 3) uint8 image to `size` (height, width)."""
    bottom = size[0] - image.shape[0] - info.pad_top
    right = size[1] - image.shape[1] - info.pad_left
    if not (info.pad_top or info.pad_left or bottom or right):
        return image
    return cv2.copyMakeBorder(
        image, info.pad_top, bottom, info.pad_left, right, cv2.BORDER_CONSTANT, value=(PAD_VALUE,) * 3
    )


def letterbox(
    image: np.ndarray, boxes: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, LetterboxInfo]:
    """Scale an image to fit `size`, keep its aspect ratio, and pad the rest evenly with grey.

    Args:
        image: (h, w, 3) uint8 RGB.
        boxes: (N, 4) xyxy in its pixels; N may be 0.
        size: (height, width) to fill.

    Returns:
        The (H, W, 3) uint8 image, the (N, 4) float32 boxes in its pixels, and the way back.
    """
    info = fit((image.shape[0], image.shape[1]), size)
    return pad_to_size(resize_to_fit(image, info), info, size), info.to_letterboxed(boxes), info
