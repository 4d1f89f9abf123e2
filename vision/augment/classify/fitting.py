"""How a whole image comes to the size a classifier sees: the centre of it, squashed, or with borders."""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from vision.augment.fitting import PAD_VALUE, fit

Resize = Literal["crop", "squash", "letterbox"]


@dataclass(frozen=True, slots=True)
class Fitting:
    """Two steps: `base` resizes an image as far as it can be kept, `final` cuts or pads it to `image_size`."""

    image_size: tuple[int, int]
    """(height, width) of the result."""
    base_size: tuple[int, int]
    """(height, width) that the base covers (crop), has (squash) or fits into (letterbox); `image_size` or larger."""
    resize: Resize = "crop"

    def size_of(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Return the (height, width) of the base of an image of `image_size`."""
        if self.resize == "squash":
            return self.base_size
        if self.resize == "letterbox":
            return fit(image_size, self.base_size).fitted_size
        scale = max(self.base_size[0] / image_size[0], self.base_size[1] / image_size[1])
        height, width = (
            max(round(side * scale), least) for side, least in zip(image_size, self.base_size, strict=True)
        )
        return height, width

    def base(self, image: np.ndarray) -> np.ndarray:
        """Resize (H, W, 3) uint8 to its base size; the same array where it has it already."""
        return resized(image, self.size_of((image.shape[0], image.shape[1])))

    def final(self, base: np.ndarray) -> np.ndarray:
        """Cut `image_size` out of the centre of a base, or pad it with grey to that size."""
        return centred(base, self.image_size)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Fit an (H, W, 3) uint8 image of any size, as evaluation and prediction do."""
        return self.final(self.base(image))


def resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize (H, W, 3) uint8 to `size` (height, width): by area where an axis shrinks, else linearly."""
    if image.shape[:2] == size:
        return image
    shrinks = size[0] < image.shape[0] or size[1] < image.shape[1]
    return cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def centred(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Cut the centre of `size` (height, width) out of an (H, W, 3) uint8 image; where it is smaller, pad with grey."""
    top, left = (int((have - want) / 2) for have, want in zip(image.shape[:2], size, strict=True))
    return window(image, top, left, size)


def window(image: np.ndarray, top: int, left: int, size: tuple[int, int]) -> np.ndarray:
    """Cut `size` (height, width) out of an (H, W, 3) uint8 image, from (top, left) on, which may lie outside of it.

    Returns:
        a view where the window lies inside, else a new array with grey around the image.
    """
    height, width = image.shape[:2]
    bottom, right = top + size[0], left + size[1]
    inside = image[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    borders = (max(-top, 0), max(bottom - height, 0), max(-left, 0), max(right - width, 0))
    if not any(borders):
        return inside
    return cv2.copyMakeBorder(inside, *borders, cv2.BORDER_CONSTANT, value=(PAD_VALUE,) * 3)
