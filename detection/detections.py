"""What a detector says about one image."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Detections:
    """Detections of one image, in the pixels of the ORIGINAL image, sorted by falling score.

    Shapes: N detections; N may be 0.
    """

    sample_id: int
    boxes: np.ndarray
    """(N, 4) float32 xyxy."""
    scores: np.ndarray
    """(N,) float32 in [0, 1]."""
    labels: np.ndarray
    """(N,) int64 in 0 … K-1."""
