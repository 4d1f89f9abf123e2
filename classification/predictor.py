"""From a classification bundle to answers, with the pixels prepared as in evaluation."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from classification.data import ClassificationBatch, ClassificationSample, evaluation_fitting
from classification.predictions import Prediction
from classification.task import ClassificationTask
from engine.bundle import load_bundle
from engine.weights import load_into
from vision.images import ImageLike, as_pixels, channels_first

BATCH_SIZE = 16
TOP_K = 5


class ClassificationPredictor:
    """A loaded classifier; keeps no state between calls."""

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        self.manifest, state = load_bundle(folder)
        self.device = torch.device(device)
        self.task = ClassificationTask.from_bundle(self.manifest.settings, self.manifest.classes)
        model = self.task.build_model()
        load_into(model, state, what=f"the model that {folder} describes", allow_head_mismatch=False)
        self.model = model.eval().to(self.device).to(memory_format=torch.channels_last)
        self._fitting = evaluation_fitting(self.task.settings)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in label order."""
        return self.manifest.classes

    def predict(
        self, images: Sequence[ImageLike], top_k: int = TOP_K, score_threshold: float = 0.0
    ) -> list[dict[str, Any]]:
        """Classify images.

        Args:
            images: paths, or (H, W, 3) uint8 RGB arrays; of any sizes. Empty input gives an empty list.
            top_k: at most so many classes in an answer.
            score_threshold: leave out classes with a lower probability.

        Returns:
            Per image the likeliest `classes`, their `scores` (probabilities) and `labels`, by falling score; plain
            lists that JSON can hold.

        Raises:
            DataError: if a path is no readable image, or an array has another shape or type.
        """
        answers = []
        for start in range(0, len(images), BATCH_SIZE):
            batch = self._batch(images[start : start + BATCH_SIZE])
            with torch.inference_mode():
                found = self.task.predict(self.model, batch.to(self.device))
            answers += [self._answer(prediction, top_k, score_threshold) for prediction in found]
        return answers

    def _batch(self, images: Sequence[ImageLike]) -> ClassificationBatch:
        samples = []
        for index, image in enumerate(images):
            fitted = self._fitting.final(self._fitting.base(as_pixels(image)))
            samples.append(ClassificationSample(channels_first(fitted), 0, 0, 1.0, index))
        return self.task.collate(samples)

    def _answer(self, prediction: Prediction, top_k: int, score_threshold: float) -> dict[str, Any]:
        labels = [
            label for label in prediction.ranking[:top_k].tolist() if prediction.probabilities[label] >= score_threshold
        ]
        return {
            "classes": [self.classes[label] for label in labels],
            "scores": [float(prediction.probabilities[label]) for label in labels],
            "labels": labels,
        }


def build_predictor(folder: Path, device: str = "cpu") -> ClassificationPredictor:
    """Load a bundle's classifier.

    Raises:
        WeightsError: if the folder is no bundle, or its weights are damaged or do not fit.
    """
    return ClassificationPredictor(folder, device)
