"""Outlines of objects as COCO writes them, polygons or run lengths, drawn as masks. Boxes are `vision.boxes`."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from vision.scenes.rle import mask_from_rle

SUBPIXEL_BITS = 4
"""OpenCV draws polygons with corners in sixteenths of a pixel."""
_FEWEST_NUMBERS = 6


def mask_from_outline(outline: Any, image_size: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """Draw a COCO `segmentation` for an image that was resized.

    Args:
        outline: polygons `[[x, y, x, y, ...], ...]`, or `{"size": [H, W], "counts": ...}` with run lengths as a list
            or as COCO's compressed text.
        image_size: (height, width) of the image that was annotated.
        size: (height, width) of the mask.

    Returns:
        `size` bool.

    Raises:
        ValueError: if it is none of these, or its runs do not cover the image.
    """
    if isinstance(outline, dict):
        counts = outline["counts"]
        runs = counts_from_text(counts) if isinstance(counts, str) else counts
        mask = mask_from_rle({"size": outline["size"], "counts": runs}).astype(np.float32)
        if mask.shape == size:
            return mask > 0
        return cv2.resize(mask, (size[1], size[0]), interpolation=cv2.INTER_AREA) >= 0.5  # half of a pixel or more
    return _mask_from_polygons(outline, image_size, size)


def _mask_from_polygons(
    polygons: Sequence[Sequence[float]], image_size: tuple[int, int], size: tuple[int, int]
) -> np.ndarray:
    ratios = np.array([size[1] / image_size[1], size[0] / image_size[0]])
    mask = np.zeros(size, np.uint8)
    for polygon in polygons:
        if len(polygon) < _FEWEST_NUMBERS or len(polygon) % 2:
            raise ValueError(f"a polygon has three corners or more, each with x and y; got {len(polygon)} numbers")
        corners = np.asarray(polygon, np.float64).reshape(-1, 2) * ratios - 0.5  # OpenCV counts from pixel centres
        cv2.fillPoly(mask, [np.rint(corners * 2**SUBPIXEL_BITS).astype(np.int32)], 1, shift=SUBPIXEL_BITS)
    return mask > 0


def counts_from_text(text: str) -> list[int]:
    """Decode COCO's compressed run lengths: five bits a character, low ones first; from the third run on, differences
    to the run before the last.

    Raises:
        ValueError: if the text ends within a number.
    """
    counts: list[int] = []
    value = shift = 0
    for code in text.encode("ascii"):
        bits = code - 48
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("compressed run lengths end within a number")
    return counts
