"""Mean, deviation and covariance of the colours of a data set's pixels, exact and the same in any order."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from vision.images import read_shown
from vision.record import LabelledDataset

Channels = tuple[float, float, float]

_FULL_RANGE = 255
_NUM_THREADS = 4


@dataclass(frozen=True, slots=True)
class ColourStatistics:
    """Of red, green and blue in [0, 1], every pixel counted once."""

    mean: Channels
    std: Channels
    """Over all pixels (divided by their number); 1 for a channel that never changes, so that it can be divided by."""
    covariance: np.ndarray
    """(3, 3) float64."""
    num_pixels: int

    def principal_colours(self) -> np.ndarray:
        """Return the eigenvectors of the covariance as columns, each times its eigenvalue, (3, 3), largest first.

        The sign of each column is such that its component of largest size is positive.
        """
        values, vectors = np.linalg.eigh(self.covariance)
        values, vectors = values[::-1], vectors[:, ::-1]
        largest = np.abs(vectors).argmax(axis=0)
        return vectors * np.sign(vectors[largest, [0, 1, 2]]) * np.maximum(values, 0)


def channel_statistics(dataset: LabelledDataset) -> tuple[Channels, Channels]:
    """Return mean and deviation of the channels, see `colour_statistics`."""
    measured = colour_statistics(dataset)
    return measured.mean, measured.std


def colour_statistics(dataset: LabelledDataset) -> ColourStatistics:
    """Measure all pixels of a data set as they lie in its files, objects with the surroundings that are shown.

    Raises:
        DataError: if an image cannot be read.
    """
    with ThreadPoolExecutor(_NUM_THREADS) as pool:
        return statistics_of(pool.map(read_shown, dataset.records))


def statistics_of(images: Iterable[np.ndarray]) -> ColourStatistics:
    """Measure all pixels of (H, W, 3) uint8 images.

    Raises:
        ValueError: if there is no pixel.
    """
    count, sums, products = 0, np.zeros(3), np.zeros((3, 3))
    for image in images:
        # Whole numbers far below 2**53: float64 adds and multiplies them exactly, in any order.
        pixels = image.reshape(-1, 3).astype(np.float64)
        count += len(pixels)
        sums += pixels.sum(axis=0)
        products += pixels.T @ pixels
    if not count:
        raise ValueError("statistics need at least one pixel")
    mean = sums / count
    covariance = (products / count - np.outer(mean, mean)) / _FULL_RANGE**2
    deviation = np.sqrt(np.maximum(np.diag(covariance), 0))
    deviation[deviation == 0] = 1
    return ColourStatistics(_triple(mean / _FULL_RANGE), _triple(deviation), covariance, count)


def _triple(values: np.ndarray) -> Channels:
    red, green, blue = (float(value) for value in values)
    return red, green, blue
