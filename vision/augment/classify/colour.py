"""Random colours in one pass over the pixels: every change is linear, so all of them are one matrix."""

import math

import cv2
import numpy as np

from vision.augment.classify.presets import Recipe
from vision.augment.colour import FULL_RANGE, MID_GREY

LUMA = np.array([0.299, 0.587, 0.114])
"""Weights of red, green and blue in a pixel's grey (ITU-R BT.601)."""
_YIQ = np.array([LUMA, [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
"""Grey and the plane of colours, in which turning changes nothing but the hue."""
_FROM_YIQ = np.linalg.inv(_YIQ)


def changes_colour(recipe: Recipe) -> bool:
    """Tell whether a recipe changes colours by itself, its policy aside."""
    strengths = (recipe.gain, recipe.brightness, recipe.contrast, recipe.saturation, recipe.hue, recipe.pca_colour)
    return any(strengths)


def random_colour_matrix(
    recipe: Recipe, rng: np.random.Generator, principal_colours: np.ndarray | None = None
) -> np.ndarray:
    """Draw channel gains, hue, saturation, contrast, brightness and the principal colours' shift, in this order.

    Args:
        recipe: their strengths; what is 0 draws nothing.
        rng: where the numbers come from.
        principal_colours: (3, 3), see `principal_shift`; needed where `recipe.pca_colour` is not 0.

    Returns:
        (3, 4) float32 for `cv2.transform`, on values 0 … 255.
    """
    matrix = np.eye(3, 4)
    if recipe.gain:
        matrix[[0, 1, 2], [0, 1, 2]] = 1 + rng.uniform(-recipe.gain, recipe.gain, 3)
    if recipe.hue:
        matrix = hue_matrix(rng.uniform(-recipe.hue, recipe.hue)) @ matrix
    if recipe.saturation:
        matrix = saturation_matrix(1 + rng.uniform(-recipe.saturation, recipe.saturation)) @ matrix
    if recipe.contrast:
        spread = 1 + rng.uniform(-recipe.contrast, recipe.contrast)
        matrix *= spread
        matrix[:, 3] += MID_GREY * (1 - spread)
    if recipe.brightness:
        matrix[:, 3] += rng.uniform(-recipe.brightness, recipe.brightness) * FULL_RANGE
    if recipe.pca_colour and principal_colours is not None:
        matrix[:, 3] += principal_shift(principal_colours, rng.normal(0, recipe.pca_colour, 3)) * FULL_RANGE
    return matrix.astype(np.float32)


def recoloured(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Apply a (3, 3) or (3, 4) matrix to the colours of an (H, W, 3) uint8 image; saturates at 0 and 255."""
    return cv2.transform(image, matrix)


def hue_matrix(turn: float) -> np.ndarray:
    """Return the (3, 3) matrix that turns colours by a share of the circle and leaves greys as they are."""
    cos, sin = math.cos(2 * math.pi * turn), math.sin(2 * math.pi * turn)
    return _FROM_YIQ @ np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]]) @ _YIQ


def saturation_matrix(factor: float) -> np.ndarray:
    """Return the (3, 3) matrix that multiplies a pixel's distance from its own grey by `factor`."""
    return factor * np.eye(3) + (1 - factor) * np.tile(LUMA, (3, 1))


def principal_shift(principal_colours: np.ndarray, alphas: np.ndarray) -> np.ndarray:
    """Return what is added to every pixel of an image, (3,), for colours in [0, 1].

    Source: Krizhevsky et al. 2012, "ImageNet classification with deep convolutional neural networks", section 4.1:
    [p1, p2, p3] [a1 l1, a2 l2, a3 l3]^T with the eigenvectors p and eigenvalues l of the covariance of the training
    set's pixels. The paper leaves the unit open; on values 0 … 255 the same formula would saturate every image.

    Args:
        principal_colours: (3, 3) eigenvectors as columns, each times its eigenvalue.
        alphas: (3,) one draw per image.
    """
    return principal_colours @ alphas
