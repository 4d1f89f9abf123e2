"""Labelled data sets without files, for tests of metrics and reports."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from classification.predictions import Prediction
from vision.record import LabelledDataset, LabelledImage


def make_dataset(
    labels: Sequence[int] | np.ndarray, classes: Sequence[str], path: Path = Path("missing.png")
) -> LabelledDataset:
    """One image per label; ids count from 0."""
    records = [LabelledImage(i, f"image-{i}", path, (8, 8), int(label)) for i, label in enumerate(labels)]
    return LabelledDataset(tuple(classes), tuple(records))


def make_predictions(probabilities: Sequence[Sequence[float]] | np.ndarray) -> list[Prediction]:
    """One prediction per row; ids count from 0."""
    return [Prediction(i, np.asarray(row, np.float32)) for i, row in enumerate(probabilities)]


def random_answers(count: int, num_classes: int, seed: int = 0, skill: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """(N, K) float32 probabilities that lean towards the (N,) labels, classes falling in frequency."""
    rng = np.random.default_rng(seed)
    labels = np.minimum(rng.geometric(0.35, count) - 1, num_classes - 1)
    logits = rng.normal(size=(count, num_classes))
    logits[np.arange(count), labels] += skill
    probabilities = np.exp(logits)
    return (probabilities / probabilities.sum(axis=1, keepdims=True)).astype(np.float32), labels
