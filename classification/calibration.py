"""How far a classifier's confidence can be believed: the reliability diagram's numbers."""

from dataclasses import dataclass

import numpy as np

BINS = 15
"""As in Guo et al. 2017, arXiv:1706.04599."""


@dataclass(frozen=True, slots=True)
class Reliability:
    """Answers sorted into `BINS` equal intervals of confidence. Empty bins hold zeros."""

    counts: np.ndarray
    """(BINS,) int64."""
    confidence: np.ndarray
    """(BINS,) float64, mean confidence of the answers."""
    accuracy: np.ndarray
    """(BINS,) float64, share of right answers."""

    @property
    def calibration_error(self) -> float:
        """Expected calibration error: the mean |confidence - accuracy| over all answers' bins; -1 without answers."""
        total = self.counts.sum()
        if not total:
            return -1.0
        return float((self.counts * np.abs(self.confidence - self.accuracy)).sum() / total)


def reliability(confidence: np.ndarray, is_right: np.ndarray) -> Reliability:
    """Sort answers into bins of confidence.

    Args:
        confidence: (N,) the highest probability of each answer; a bin holds its upper edge, not its lower one.
        is_right: (N,) bool.

    Source: Guo et al. 2017, arXiv:1706.04599, eq. 3.
    """
    place = np.clip(np.ceil(confidence.astype(np.float64) * BINS).astype(np.int64) - 1, 0, BINS - 1)
    counts = np.bincount(place, minlength=BINS)
    divisor = np.maximum(counts, 1)
    return Reliability(
        counts=counts,
        confidence=np.bincount(place, weights=confidence, minlength=BINS) / divisor,
        accuracy=np.bincount(place, weights=is_right, minlength=BINS) / divisor,
    )
