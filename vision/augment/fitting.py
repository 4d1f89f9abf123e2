"""How an image is fitted into the size a model sees, as numbers; the pixels themselves are moved in `letterbox.py`."""

from dataclasses import dataclass

import numpy as np

PAD_VALUE = 114
"""Grey of the padding, as in the YOLO family, so that published weights see what they were trained with."""


@dataclass(frozen=True, slots=True)
class LetterboxInfo:
    """How one image was fitted: scaled by `scale`, rounded to whole pixels, then padded."""

    scale: float
    pad_left: int
    pad_top: int
    image_size: tuple[int, int]
    """(height, width) of the original image."""

    @property
    def fitted_size(self) -> tuple[int, int]:
        """(height, width) of the image inside the padding."""
        height, width = self.image_size
        return max(1, round(height * self.scale)), max(1, round(width * self.scale))

    def to_letterboxed(self, boxes: np.ndarray) -> np.ndarray:
        """Map (N, 4) xyxy boxes from original to letterboxed pixels; float32, N may be 0."""
        moved = np.asarray(boxes, np.float32).reshape(-1, 4) * self._ratios() + self._offsets()
        return moved.astype(np.float32, copy=False)

    def to_original(self, boxes: np.ndarray) -> np.ndarray:
        """Map (N, 4) xyxy boxes from letterboxed to original pixels, clipped to the image; float32, N may be 0."""
        moved = (np.asarray(boxes, np.float32).reshape(-1, 4) - self._offsets()) / self._ratios()
        height, width = self.image_size
        return np.clip(moved, 0, np.array([width, height, width, height])).astype(np.float32, copy=False)

    def _ratios(self) -> np.ndarray:
        # Not `scale` itself: rounding to whole pixels makes each axis a little different.
        (height, width), (fitted_height, fitted_width) = self.image_size, self.fitted_size
        return np.array([fitted_width / width, fitted_height / height] * 2, np.float32)

    def _offsets(self) -> np.ndarray:
        return np.array([self.pad_left, self.pad_top] * 2, np.float32)


def fit(image_size: tuple[int, int], size: tuple[int, int]) -> LetterboxInfo:
    """Return how an image of `image_size` (height, width) goes into the middle of `size` (height, width)."""
    scale = min(size[0] / image_size[0], size[1] / image_size[1])
    height, width = LetterboxInfo(scale, 0, 0, image_size).fitted_size
    return LetterboxInfo(scale, (size[1] - width) // 2, (size[0] - height) // 2, image_size)
