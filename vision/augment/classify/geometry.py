"""Random windows, resized parts, flips, turning and moving of one image; uint8, nothing but the pixels changes."""

import math

import cv2
import numpy as np

from vision.augment.classify.fitting import centred, window
from vision.augment.fitting import PAD_VALUE

NUM_TRIES = 10
"""Parts drawn until one lies inside the image, as in torchvision; then the centre is taken."""


def random_window(base: np.ndarray, size: tuple[int, int], rng: np.random.Generator, pad: float) -> np.ndarray:
    """Cut a window of `size` (height, width) out of an image with `pad` (share of `size`) of grey on every side.

    Along an axis on which the padded image is smaller than the window, it lies in the middle of it.
    """
    starts = []
    for have, want in zip(base.shape[:2], size, strict=True):
        pad_px = round(pad * want)
        room = have + 2 * pad_px - want
        starts.append(int(rng.random() * (room + 1)) - pad_px if room > 0 else int((have - want) / 2))
    return window(base, starts[0], starts[1], size)


def resized_part(
    base: np.ndarray,
    size: tuple[int, int],
    rng: np.random.Generator,
    area: tuple[float, float],
    ratio: tuple[float, float],
) -> np.ndarray:
    """Resize a random part to `size` (height, width).

    Source: Szegedy et al. 2015, arXiv:1409.4842, section 6; the aspect ratio is drawn evenly on a logarithmic scale.

    Args:
        base: (H, W, 3) uint8.
        size: of the result.
        rng: where the part comes from.
        area: range of its share of the image's area.
        ratio: range of its width / height.
    """
    height, width = base.shape[:2]
    for _ in range(NUM_TRIES):
        part_area = rng.uniform(*area) * height * width
        part_ratio = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        part_width, part_height = round(math.sqrt(part_area * part_ratio)), round(math.sqrt(part_area / part_ratio))
        if 0 < part_width <= width and 0 < part_height <= height:
            top = int(rng.random() * (height - part_height + 1))
            left = int(rng.random() * (width - part_width + 1))
            return _scaled(base[top : top + part_height, left : left + part_width], size)
    width_within = min(max(width / height, ratio[0]), ratio[1])
    part = (min(height, round(width / width_within)), min(width, round(height * width_within)))
    return _scaled(centred(base, part), size)


def _scaled(part: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if part.shape[:2] == size:
        return part
    return cv2.resize(part, size[::-1], interpolation=cv2.INTER_LINEAR)  # by area is ten times slower


def affine(
    image: np.ndarray, rng: np.random.Generator, rotate: float, scale: tuple[float, float], translate: float
) -> np.ndarray:
    """Turn by up to `rotate` degrees and scale around the centre, and move by up to a share of each side."""
    if not (rotate or translate or scale != (1.0, 1.0)):
        return image
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D(
        ((width - 1) / 2, (height - 1) / 2), rng.uniform(-rotate, rotate), rng.uniform(*scale)
    )
    matrix[:, 2] += rng.uniform(-translate, translate, 2) * (width, height)
    return warped(image, matrix)


def warped(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Move pixels by a (2, 3) matrix on (x, y), linearly interpolated; what was outside is grey."""
    return cv2.warpAffine(
        image, matrix, (image.shape[1], image.shape[0]), flags=cv2.INTER_LINEAR, borderValue=(PAD_VALUE,) * 3
    )
