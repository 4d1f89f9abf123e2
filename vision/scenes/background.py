"""The backgrounds of `scenes`: crops of scikit-learn's two bundled photographs, each in another light."""

from functools import cache

import cv2
import numpy as np

_SHORTEST_CROP_PX = 140
_NOISE_PX = 512


@cache
def load_photographs() -> tuple[np.ndarray, ...]:
    """Load the photographs, each (427, 640, 3) uint8 RGB."""
    from sklearn.datasets import load_sample_images  # takes over a second; who only reads scenes never needs it

    return tuple(np.ascontiguousarray(image) for image in load_sample_images().images)


def draw_background(rng: np.random.Generator, image_size: tuple[int, int]) -> np.ndarray:
    """Crop, mirror and recolour a photograph.

    Returns:
        (H, W, 3) float32 RGB in [0, 1].
    """
    photographs = load_photographs()
    photograph = photographs[rng.integers(len(photographs))]
    aspect = image_size[1] / image_size[0]
    # The livelier of two crops: much of one photograph is empty sky.
    crop = max((_random_crop(photograph, rng, aspect) for _ in range(2)), key=lambda crop: crop[::4, ::4, 1].std())
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    shrinks = crop.shape[0] > image_size[0]
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    image = cv2.resize(np.ascontiguousarray(crop), image_size[::-1], interpolation=interpolation)
    if rng.random() < 0.4:  # a shallow depth of field, so that some backgrounds are calm
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.8, 3.0))
    return _recolour(image, rng)


def light_scene(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Put one light over background and objects: a soft slope, a vignette, a lens' blur and a sensor's noise.

    Args:
        image: (H, W, 3) float32 RGB in [0, 1].

    Returns:
        (H, W, 3) uint8 RGB.
    """
    height, width = image.shape[:2]
    y, x = np.linspace(-1, 1, height, dtype=np.float32)[:, None], np.linspace(-1, 1, width, dtype=np.float32)[None]
    slope_x, slope_y = rng.uniform(-0.14, 0.14, 2).astype(np.float32)
    vignette = np.float32(rng.uniform(0.0, 0.12))
    lit = image * (1.02 + slope_x * x + slope_y * y - vignette * (x * x + y * y))[..., None]
    if rng.random() < 0.25:
        lit = cv2.GaussianBlur(lit, (0, 0), rng.uniform(0.35, 0.6))
    lit += np.float32(rng.uniform(0.0, 0.022)) * _sensor_noise(rng, height, width)[..., None]
    # Scaling to bytes also rounds and cuts off at 0 and 255.
    return cv2.convertScaleAbs(np.maximum(lit, 0, out=lit), alpha=255)


def _random_crop(photograph: np.ndarray, rng: np.random.Generator, aspect: float) -> np.ndarray:
    height, width = photograph.shape[:2]
    tallest = min(height, width / aspect)
    crop_height = rng.uniform(min(_SHORTEST_CROP_PX, tallest), tallest)
    crop_width = crop_height * aspect
    top, left = int(rng.uniform(0, height - crop_height)), int(rng.uniform(0, width - crop_width))
    return photograph[top : top + max(int(crop_height), 1), left : left + max(int(crop_width), 1)]


def _recolour(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    hue_shift = int(rng.integers(180)) if rng.random() < 0.2 else int(rng.integers(-12, 13)) % 180
    hsv[..., 0] = (hsv[..., 0].astype(np.int16) + hue_shift) % 180
    hsv[..., 1] = cv2.convertScaleAbs(hsv[..., 1], alpha=rng.uniform(0.35, 1.15))
    contrast, brightness = rng.uniform(0.65, 1.0), rng.uniform(-0.1, 0.06)
    levels = (np.arange(256) / 255 - 0.5) * contrast + 0.5 + brightness
    return cv2.LUT(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), np.clip(levels, 0, 1).astype(np.float32))


@cache
def _noise_board() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((_NOISE_PX, _NOISE_PX), dtype=np.float32)


def _sensor_noise(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Cut unit noise, (H, W), out of one prepared board at a random place; drawing it anew would cost half the time."""
    top, left = rng.integers(_NOISE_PX, size=2)
    rows, columns = (top + np.arange(height)) % _NOISE_PX, (left + np.arange(width)) % _NOISE_PX
    return _noise_board().take(rows, axis=0).take(columns, axis=1)
