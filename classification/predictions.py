"""What a classifier says about one image."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Prediction:
    """The probabilities of one image's classes."""

    sample_id: int
    probabilities: np.ndarray
    """(K,) float32, sum 1."""

    @property
    def ranking(self) -> np.ndarray:
        """(K,) int64 labels by falling probability; of equal ones the lower label comes first."""
        return np.argsort(-self.probabilities, kind="stable")

    @property
    def scores(self) -> np.ndarray:
        """(K,) float32 probabilities, falling."""
        return self.probabilities[self.ranking]
