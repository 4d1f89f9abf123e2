"""RandAugment and TrivialAugment: fourteen operations on uint8 images, and how a policy draws from them.

Sources: Cubuk et al. 2020, arXiv:1909.13719; Müller and Hutter 2021, arXiv:2103.10158 (wide ranges). The operations
are those of the Python Imaging Library, moved pixels are interpolated linearly and what comes from outside is grey.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from vision.augment.classify.colour import LUMA, recoloured, saturation_matrix
from vision.augment.classify.geometry import warped
from vision.augment.classify.presets import NUM_MAGNITUDES, NoPolicy, RandAugment, TrivialAugment

_NUM_BITS = 8
_VALUES = np.arange(256)
_SMOOTH = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / 13
"""PIL's kernel `SMOOTH`."""


class Span(NamedTuple):
    """An operation's argument at magnitude 0 and at the greatest one."""

    weakest: float
    strongest: float

    def at(self, magnitude: int) -> float:
        """Return the argument at a magnitude 0 … 30."""
        return self.weakest + (self.strongest - self.weakest) * magnitude / (NUM_MAGNITUDES - 1)


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation and the strengths that both policies give it."""

    apply: Callable[[np.ndarray, float], np.ndarray]
    rand: Span
    trivial: Span
    is_signed: bool = False
    """The argument is negated half of the time."""
    side: int | None = None
    """The axis whose length RandAugment's argument is a share of."""


def identity(image: np.ndarray, _: float) -> np.ndarray:
    """Change nothing."""
    return image


def shear_x(image: np.ndarray, slope: float) -> np.ndarray:
    """Move row y by `-slope * y` pixels to the right."""
    return warped(image, np.array([[1, -slope, 0], [0, 1, 0]]))


def shear_y(image: np.ndarray, slope: float) -> np.ndarray:
    """Move column x down by `-slope * x` pixels."""
    return warped(image, np.array([[1, 0, 0], [-slope, 1, 0]]))


def translate_x(image: np.ndarray, pixels: float) -> np.ndarray:
    """Move to the right by whole pixels."""
    return warped(image, np.array([[1.0, 0, int(pixels)], [0, 1, 0]]))


def translate_y(image: np.ndarray, pixels: float) -> np.ndarray:
    """Move down by whole pixels."""
    return warped(image, np.array([[1.0, 0, 0], [0, 1, int(pixels)]]))


def rotate(image: np.ndarray, degrees: float) -> np.ndarray:
    """Turn counter-clockwise around the centre."""
    centre = ((image.shape[1] - 1) / 2, (image.shape[0] - 1) / 2)
    return warped(image, cv2.getRotationMatrix2D(centre, degrees, 1.0))


def brightness(image: np.ndarray, change: float) -> np.ndarray:
    """Multiply all values by 1 + change."""
    return _blend(image, np.zeros_like(image), change)


def colour(image: np.ndarray, change: float) -> np.ndarray:
    """Multiply the distance from each pixel's grey by 1 + change."""
    return recoloured(image, saturation_matrix(1 + change))


def contrast(image: np.ndarray, change: float) -> np.ndarray:
    """Multiply the distance from the image's mean grey by 1 + change."""
    mean = float(LUMA @ cv2.mean(image)[:3])
    return _blend(image, np.full_like(image, round(mean)), change)


def sharpness(image: np.ndarray, change: float) -> np.ndarray:
    """Multiply the distance from the smoothed image by 1 + change; the outermost pixels stay."""
    smooth = image.copy()
    smooth[1:-1, 1:-1] = cv2.filter2D(image, -1, _SMOOTH)[1:-1, 1:-1]
    return _blend(image, smooth, change)


def posterize(image: np.ndarray, bits_less: float) -> np.ndarray:
    """Clear the lowest bits of every value."""
    return image & np.uint8(256 - 2 ** round(bits_less))


def solarize(image: np.ndarray, threshold: float) -> np.ndarray:
    """Invert the values from `threshold` on."""
    return cv2.LUT(image, np.where(threshold > _VALUES, _VALUES, 255 - _VALUES).astype(np.uint8))


def autocontrast(image: np.ndarray, _: float) -> np.ndarray:
    """Spread each channel's values over the full range; a channel of one value stays."""
    return _looked_up(image, _spread)


def equalize(image: np.ndarray, _: float) -> np.ndarray:
    """Make each channel's values about equally frequent, by PIL's rule; a channel that has too few stays."""
    return _looked_up(image, _equalized)


def _spread(counts: np.ndarray) -> np.ndarray:
    low, high = np.flatnonzero(counts)[[0, -1]]
    return _VALUES if low == high else np.clip((_VALUES - low) * (255 / (high - low)), 0, 255)


def _equalized(counts: np.ndarray) -> np.ndarray:
    step = (counts.sum() - counts[counts > 0][-1]) // 255
    before = np.cumsum(counts) - counts
    return np.clip((before + step // 2) // step, 0, 255) if step else _VALUES


_TONE, _WIDE_TONE = Span(0, 0.9), Span(0, 0.99)
_UNUSED = Span(0, 0)
OPERATIONS: dict[str, Operation] = {
    "identity": Operation(identity, _UNUSED, _UNUSED),
    "shear_x": Operation(shear_x, Span(0, 0.3), Span(0, 0.99), is_signed=True),
    "shear_y": Operation(shear_y, Span(0, 0.3), Span(0, 0.99), is_signed=True),
    "translate_x": Operation(translate_x, Span(0, 150 / 331), Span(0, 32), is_signed=True, side=1),
    "translate_y": Operation(translate_y, Span(0, 150 / 331), Span(0, 32), is_signed=True, side=0),
    "rotate": Operation(rotate, Span(0, 30), Span(0, 135), is_signed=True),
    "brightness": Operation(brightness, _TONE, _WIDE_TONE, is_signed=True),
    "colour": Operation(colour, _TONE, _WIDE_TONE, is_signed=True),
    "contrast": Operation(contrast, _TONE, _WIDE_TONE, is_signed=True),
    "sharpness": Operation(sharpness, _TONE, _WIDE_TONE, is_signed=True),
    "posterize": Operation(posterize, Span(0, 4), Span(0, 6)),
    "solarize": Operation(solarize, Span(255, 0), Span(255, 0)),
    "autocontrast": Operation(autocontrast, _UNUSED, _UNUSED),
    "equalize": Operation(equalize, _UNUSED, _UNUSED),
}
"""In the order of both papers' code; arguments in pixels, degrees or as said above."""
_ALL = tuple(OPERATIONS.values())


def apply_policy(
    image: np.ndarray, policy: NoPolicy | RandAugment | TrivialAugment, rng: np.random.Generator
) -> np.ndarray:
    """Apply the operations that a policy draws to an (H, W, 3) uint8 image; the image itself where it draws none."""
    if isinstance(policy, RandAugment):
        for _ in range(policy.n):
            operation = _ALL[int(rng.random() * len(_ALL))]
            value = operation.rand.at(policy.m)
            if operation.side is not None:
                value *= image.shape[operation.side]
            image = _signed(image, operation, value, rng)
    elif isinstance(policy, TrivialAugment):
        operation = _ALL[int(rng.random() * len(_ALL))]
        value = operation.trivial.at(int(rng.random() * NUM_MAGNITUDES))
        image = _signed(image, operation, value, rng)
    return image


def _signed(image: np.ndarray, operation: Operation, value: float, rng: np.random.Generator) -> np.ndarray:
    is_negated = operation.is_signed and rng.random() < 0.5
    return operation.apply(image, -value if is_negated else value)


def _blend(image: np.ndarray, other: np.ndarray, change: float) -> np.ndarray:
    """Return other + (image - other) * (1 + change), which goes beyond `image` for a positive change."""
    return cv2.addWeighted(image, 1 + change, other, -change, 0)


def _looked_up(image: np.ndarray, table_of: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Replace each channel's values by those of a (256,) table, made from how often each of them occurs."""
    counts = [cv2.calcHist([image], [channel], None, [256], [0, 256]).ravel() for channel in range(3)]
    tables = [table_of(count.astype(np.int64)) for count in counts]
    return cv2.LUT(image, np.stack(tables, axis=1).astype(np.uint8).reshape(1, 256, 3))
