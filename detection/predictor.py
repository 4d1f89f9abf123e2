"""From a detection bundle to answers, with the pixels prepared as in evaluation."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from detection.data import DetectionBatch, DetectionSample
from detection.detections import Detections
from detection.task import DetectionTask
from detection.tiled_data import SlicedBatch, SlicedSample, slice_image
from engine.bundle import load_bundle
from engine.weights import load_into
from vision.augment.letterbox import letterbox
from vision.images import ImageLike, as_pixels, channels_first

BATCH_SIZE = 8
"""Images that go through the model at once; of tiled ones a single image makes a batch."""


class DetectionPredictor:
    """A loaded detector; keeps no state between calls."""

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        self.manifest, state = load_bundle(folder)
        self.device = torch.device(device)
        self.task = DetectionTask.from_bundle(self.manifest.settings, self.manifest.classes)
        model = self.task.build_model()
        load_into(model, state, what=f"the model that {folder} describes", allow_head_mismatch=False)
        self.model = model.eval().to(self.device).to(memory_format=torch.channels_last)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in label order."""
        return self.manifest.classes

    def predict(self, images: Sequence[ImageLike], score_threshold: float = 0.25) -> list[dict[str, Any]]:
        """Detect objects in images.

        Args:
            images: paths, or (H, W, 3) uint8 RGB arrays; of any sizes. Empty input gives an empty list.
            score_threshold: leave out detections with a lower score.

        Returns:
            Per image `boxes` [[x1, y1, x2, y2], …] in its own pixels, `scores`, `labels` and the labels' `classes`,
            by falling score; plain lists that JSON can hold.

        Raises:
            DataError: if a path is no readable image, or an array has another shape or type.
        """
        answers = []
        at_once = BATCH_SIZE if self.task.settings.tiling is None else 1
        for start in range(0, len(images), at_once):
            batch = self._batch(images[start : start + at_once])
            with torch.inference_mode():
                found = self.task.predict(self.model, batch.to(self.device))
            answers += [self._answer(detections, score_threshold) for detections in found]
        return answers

    def _batch(self, images: Sequence[ImageLike]) -> DetectionBatch | SlicedBatch:
        return self.task.collate([self._sample(as_pixels(image), index) for index, image in enumerate(images)])

    def _sample(self, image: np.ndarray, index: int) -> DetectionSample | SlicedSample:
        settings = self.task.settings
        if settings.is_sliced:
            return slice_image(image, index, settings)
        no_boxes, no_labels = np.zeros((0, 4), np.float32), np.zeros(0, np.int64)
        fitted, _, info = letterbox(image, no_boxes, settings.image_size)
        return DetectionSample(channels_first(fitted), no_boxes, no_labels, index, info)

    def _answer(self, detections: Detections, score_threshold: float) -> dict[str, Any]:
        keep = detections.scores >= score_threshold
        labels = detections.labels[keep].tolist()
        return {
            "boxes": detections.boxes[keep].tolist(),
            "scores": detections.scores[keep].tolist(),
            "labels": labels,
            "classes": [self.classes[label] for label in labels],
        }


def build_predictor(folder: Path, device: str = "cpu") -> DetectionPredictor:
    """Load a bundle's detector.

    Raises:
        WeightsError: if the folder is no bundle, or its weights are damaged or do not fit.
    """
    return DetectionPredictor(folder, device)
