"""Two images in one: mixup and cutmix, and the rectangle that erasing fills with noise. uint8."""

import math

import cv2
import numpy as np

MAX_RATIO = 3.3
"""Erased rectangles are at most so many times as long as wide, as in Zhong et al. 2020."""
_NUM_TRIES = 10


def mixup(image: np.ndarray, partner: np.ndarray, share: float) -> np.ndarray:
    """Blend two (H, W, 3) images; `share` is the first one's (Zhang et al. 2018, arXiv:1710.09412)."""
    return cv2.addWeighted(image, share, partner, 1 - share, 0)


def cutmix(image: np.ndarray, partner: np.ndarray, share: float, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Paste a rectangle of the partner, in the same place (Yun et al. 2019, arXiv:1905.04899, eq. 2).

    Args:
        image: (H, W, 3) uint8; not changed.
        partner: of the same size.
        share: of the area that should stay; the rectangle has the image's aspect ratio and is cut off at its edges.
        rng: where the rectangle's centre comes from.

    Returns:
        the new image, and the share of its area that is still `image`.
    """
    height, width = image.shape[:2]
    half_height, half_width = height * math.sqrt(1 - share) / 2, width * math.sqrt(1 - share) / 2
    centre_y, centre_x = rng.random() * height, rng.random() * width
    top, bottom = max(round(centre_y - half_height), 0), min(round(centre_y + half_height), height)
    left, right = max(round(centre_x - half_width), 0), min(round(centre_x + half_width), width)
    mixed = image.copy()
    mixed[top:bottom, left:right] = partner[top:bottom, left:right]
    return mixed, 1 - (bottom - top) * (right - left) / (height * width)


def erase(image: np.ndarray, rng: np.random.Generator, area: tuple[float, float]) -> np.ndarray:
    """Fill a random rectangle with random pixels (Zhong et al. 2020, arXiv:1708.04896, algorithm 1).

    Args:
        image: (H, W, 3) uint8; not changed.
        rng: where the rectangle and its pixels come from.
        area: range of the rectangle's share of the image's area.

    Returns:
        a new image; the given one where no rectangle of ten lay inside.
    """
    height, width = image.shape[:2]
    for _ in range(_NUM_TRIES):
        pixels = rng.uniform(*area) * height * width
        ratio = math.exp(rng.uniform(-math.log(MAX_RATIO), math.log(MAX_RATIO)))
        part_height, part_width = round(math.sqrt(pixels * ratio)), round(math.sqrt(pixels / ratio))
        if 0 < part_height <= height and 0 < part_width <= width:
            top = int(rng.random() * (height - part_height + 1))
            left = int(rng.random() * (width - part_width + 1))
            erased = image.copy()
            noise = np.frombuffer(rng.bytes(part_height * part_width * 3), np.uint8)
            erased[top : top + part_height, left : left + part_width] = noise.reshape(part_height, part_width, 3)
            return erased
    return image
