"""What a classifier is worth on a split that several processes may have predicted in parts; exact over ranks.

Macro means are scikit-learn's: over the classes that occur as truth or as answer, a division by zero counting 0.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from classification.calibration import reliability
from classification.predictions import Prediction
from vision.record import LabelledDataset

UNDEFINED = -1.0
"""A metric that has nothing to measure, such as `top5` of five classes."""
TOP = 5
LEAST_PROBABILITY = 1e-12
"""Probabilities below it count as this in `nll`, which would be infinite otherwise."""
GROUPS = ("head", "medium", "tail")
LEAST_IMBALANCE = 2.0
"""Classes are put into groups where the most frequent one has so many times the images of the rarest."""


class ClassificationMetric:
    """A classifier's numbers on one split; implements `engine.task.Metric`.

    Args:
        dataset: the split, with the true labels.
        train_counts: (K,) training images of each class, for the groups `GROUPS`; None = not known.
    """

    def __init__(self, dataset: LabelledDataset, train_counts: np.ndarray | None = None) -> None:
        self.dataset = dataset
        self.group_of = frequency_groups(train_counts)
        self._labels = {record.sample_id: record.label for record in dataset.records}
        self._predictions: dict[int, np.ndarray] = {}

    def update(self, predictions: Sequence[Prediction]) -> None:
        """Add the predictions of some images.

        Raises:
            ValueError: if an image is not in the split, or was given before.
        """
        for prediction in predictions:
            sample_id = int(prediction.sample_id)
            if sample_id not in self._labels:
                raise ValueError(f"sample {sample_id} is not in this split of {len(self._labels)} images")
            if sample_id in self._predictions:
                raise ValueError(f"sample {sample_id} was given to the metric twice; each image counts once")
            self._predictions[sample_id] = np.asarray(prediction.probabilities, np.float32)

    def state(self) -> dict[str, np.ndarray]:
        """Return `sample_ids` (N,) int64, rising, and `probabilities` (N, K) float32."""
        sample_ids, probabilities = self._arrays()
        return {"sample_ids": sample_ids, "probabilities": probabilities}

    def merge(self, states: Sequence[dict[str, np.ndarray]]) -> None:
        """Replace what was gathered by the union of `states`; their order makes no difference."""
        self._predictions = {}
        for state in states:
            pairs = zip(state["sample_ids"].tolist(), state["probabilities"], strict=True)
            self.update([Prediction(sample_id, probabilities) for sample_id, probabilities in pairs])

    def compute(self) -> dict[str, float]:
        """Return all numbers; those of single classes (`recall/…`) for the classes that occur."""
        probabilities, labels = self.answers()
        if not len(labels):
            return {}
        guesses, likelihood = probabilities.argmax(axis=1), probabilities[np.arange(len(labels)), labels]
        confusion = confusion_matrix(labels, guesses, len(self.dataset.classes))
        nll = -np.log(np.maximum(likelihood.astype(np.float64), LEAST_PROBABILITY)).mean()
        return {
            "top1": float((guesses == labels).mean()),
            "top5": top_k_accuracy(probabilities, labels, TOP),
            **_macro(confusion),
            "ece": reliability(probabilities.max(axis=1), guesses == labels).calibration_error,
            "nll": float(nll),
            **self._by_group(guesses, labels),
            **_by_class(confusion, self.dataset.classes),
        }

    def to_json(self) -> list[dict[str, Any]]:
        """Return per image, by rising sample id, its `sample_id`, `name`, true `label` and `probabilities`."""
        names = {record.sample_id: record.name for record in self.dataset.records}
        return [
            {
                "sample_id": prediction.sample_id,
                "name": names[prediction.sample_id],
                "label": self._labels[prediction.sample_id],
                "probabilities": [float(value) for value in prediction.probabilities],
            }
            for prediction in self.predictions()
        ]

    def predictions(self) -> list[Prediction]:
        """Return everything gathered, by rising sample id."""
        return [Prediction(sample_id, self._predictions[sample_id]) for sample_id in sorted(self._predictions)]

    def answers(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the (N, K) float32 probabilities and (N,) int64 true labels of what was gathered, by sample id."""
        sample_ids, probabilities = self._arrays()
        return probabilities, np.array([self._labels[sample_id] for sample_id in sample_ids.tolist()], np.int64)

    def _arrays(self) -> tuple[np.ndarray, np.ndarray]:
        ordered = sorted(self._predictions)
        rows = [self._predictions[sample_id] for sample_id in ordered]
        empty = np.zeros((0, len(self.dataset.classes)), np.float32)
        return np.array(ordered, np.int64), np.stack(rows) if rows else empty

    def _by_group(self, guesses: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        if self.group_of is None:
            return {}
        groups = self.group_of[labels]
        is_right = guesses == labels
        return {
            f"top1_{name}": float(is_right[groups == index].mean()) if (groups == index).any() else UNDEFINED
            for index, name in enumerate(GROUPS)
        }


def frequency_groups(train_counts: np.ndarray | None) -> np.ndarray | None:
    """Sort classes into thirds by how often they occur in training: 0 head, 1 medium, 2 tail.

    Returns:
        (K,) int64; of equally frequent classes the lower label counts as more frequent. None where nothing is known,
        with fewer than three classes, and where all are about equally frequent.
    """
    if train_counts is None or len(train_counts) < len(GROUPS):
        return None
    if train_counts.max() < LEAST_IMBALANCE * train_counts.min():
        return None
    group_of = np.empty(len(train_counts), np.int64)
    order = np.argsort(-np.asarray(train_counts), kind="stable")
    for index, labels in enumerate(np.array_split(order, len(GROUPS))):
        group_of[labels] = index
    return group_of


def confusion_matrix(labels: np.ndarray, guesses: np.ndarray, num_classes: int) -> np.ndarray:
    """Count answers, (K, K) int64: rows are true classes, columns are answers."""
    flat = np.bincount(labels * num_classes + guesses, minlength=num_classes**2)
    return flat.reshape(num_classes, num_classes)


def top_k_accuracy(probabilities: np.ndarray, labels: np.ndarray, k: int) -> float:
    """Return how often the truth is among the `k` likeliest classes; of equal ones the lower labels come first.

    Args:
        probabilities: (N, K).
        labels: (N,).

    Returns:
        The share, or -1 where K <= k, which no answer could miss.
    """
    if probabilities.shape[1] <= k:
        return UNDEFINED
    own = probabilities[np.arange(len(labels)), labels][:, None]
    before = np.arange(probabilities.shape[1])[None, :] < labels[:, None]
    rank = ((probabilities > own) | ((probabilities == own) & before)).sum(axis=1)
    return float((rank < k).mean())


def precision_recall_f1(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (K,) float64 precision, recall and F1 of every class; 0 where nothing is to be divided by."""
    hits, answered, support = np.diagonal(confusion).astype(np.float64), confusion.sum(axis=0), confusion.sum(axis=1)
    return hits / np.maximum(answered, 1), hits / np.maximum(support, 1), 2 * hits / np.maximum(answered + support, 1)


def _macro(confusion: np.ndarray) -> dict[str, float]:
    has_truth, has_answers = confusion.sum(axis=1) > 0, confusion.sum(axis=0) > 0
    precision, recall, f1 = precision_recall_f1(confusion)
    occurs = has_truth | has_answers
    return {
        "f1_macro": float(f1[occurs].mean()),
        "precision_macro": float(precision[occurs].mean()),
        "recall_macro": float(recall[occurs].mean()),
        "balanced_accuracy": float(recall[has_truth].mean()),
    }


def _by_class(confusion: np.ndarray, classes: tuple[str, ...]) -> dict[str, float]:
    precision, recall, f1 = precision_recall_f1(confusion)
    has_truth, has_answers = confusion.sum(axis=1) > 0, confusion.sum(axis=0) > 0
    values: dict[str, float] = {}
    for label, name in enumerate(classes):
        if has_truth[label]:
            values[f"recall/{name}"] = float(recall[label])
        if has_answers[label]:
            values[f"precision/{name}"] = float(precision[label])
        if has_truth[label] or has_answers[label]:
            values[f"f1/{name}"] = float(f1[label])
    return values
