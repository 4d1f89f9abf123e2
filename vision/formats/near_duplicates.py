"""Images of nearly the same view in two splits: recompressed, resized, brightened, slightly cropped, or shot twice."""

from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np

from vision.record import Fault

HASH_SIDE = 16
NUM_BITS = HASH_SIDE**2 - 1

MOST_DIFFERING_BITS = NUM_BITS // 4
"""Of images that show different things, half of the bits differ, give or take 8 of 255. Measured on blood cells, cell
nuclei and photographs: copies that are recompressed, halved, brightened or noisy differ in at most 22 bits, those that
lost 5 % of each side in 54, the nearest of 500 different images in 92."""

_SHRUNK_SIDE = 4 * HASH_SIDE
_LEAST_CONTRAST = 2.0
"""Grey levels of deviation: below it an image is one colour, and its hash would be chance."""
_ROWS_AT_ONCE = 2048


def perceptual_hash(image: np.ndarray) -> np.ndarray | None:
    """Describe the coarse look of an image.

    The signs of the lowest frequencies around their median, of the grey image shrunk to 64 x 64: brightness, contrast
    and size cancel out. Source: Zauner 2010, "Implementation and Benchmarking of Perceptual Image Hash Functions",
    section 3.2.1, with 255 bits instead of 64.

    Args:
        image: (H, W, 3) uint8 RGB.

    Returns:
        (255,) bool; None for an image of one colour.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    shrunk = cv2.resize(grey, (_SHRUNK_SIDE, _SHRUNK_SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    if shrunk.std() < _LEAST_CONTRAST:
        return None
    waves = cv2.dct(shrunk)[:HASH_SIDE, :HASH_SIDE].ravel()[1:]
    return np.asarray(waves > np.median(waves))


def near_duplicates(hashes: Mapping[str, Mapping[Path, np.ndarray]]) -> Iterator[Fault]:
    """Report, for each image of a split, the image of each other split that looks most like it, if it nearly does.

    Args:
        hashes: `perceptual_hash` of the images of each split, by path; those in both splits are passed over.
    """
    for one, other in combinations(hashes, 2):
        shared = hashes[one].keys() & hashes[other].keys()
        paths, others = ([path for path in hashes[split] if path not in shared] for split in (one, other))
        if not paths or not others:
            continue
        signs, other_signs = _signs(hashes[one], paths), _signs(hashes[other], others)
        for start in range(0, len(paths), _ROWS_AT_ONCE):
            differing = (NUM_BITS - signs[start : start + _ROWS_AT_ONCE] @ other_signs.T) / 2
            nearest = differing.argmin(axis=1)
            bits = differing.min(axis=1)
            for row in np.flatnonzero(bits <= MOST_DIFFERING_BITS):
                path, twin = paths[start + row], others[nearest[row]]
                message = (
                    f"in split {one!r}, looks like {twin} in split {other!r} ({bits[row]:.0f} of {NUM_BITS} bits "
                    f"differ, {NUM_BITS // 2} between strangers): leakage, if they show the same"
                )
                yield Fault("near_duplicate_image", path, message, path.stem, is_fatal=False)


def _signs(hashes: Mapping[Path, np.ndarray], paths: list[Path]) -> np.ndarray:
    """(N, 255) float32 of -1 and 1: the product of two rows is the number of equal bits minus that of the others."""
    return np.array([hashes[path] for path in paths], np.float32) * 2 - 1
