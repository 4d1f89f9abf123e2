"""From a detection bundle to answers, with the pixels prepared as in evaluation."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from detection.data import DetectionBatch, DetectionSample
from detection.detections import Detections
from detection.task import DetectionTask
from engine.bundle import load_bundle
from engine.weights import load_into
from foundation.errors import DataError
from vision.augment.letterbox import letterbox
from vision.images import read_image

ImageLike = Path | str | np.ndarray
"""A path, or (H, W, 3) uint8 RGB."""
BATCH_SIZE = 8


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
        for start in range(0, len(images), BATCH_SIZE):
            batch = self._batch(images[start : start + BATCH_SIZE])
            with torch.inference_mode():
                found = self.task.predict(self.model, batch.to(self.device))
            answers += [self._answer(detections, score_threshold) for detections in found]
        return answers

    def _batch(self, images: Sequence[ImageLike]) -> DetectionBatch:
        samples = []
        for index, image in enumerate(images):
            no_boxes, no_labels = np.zeros((0, 4), np.float32), np.zeros(0, np.int64)
            fitted, _, info = letterbox(_pixels(image), no_boxes, self.task.settings.image_size)
            planes = np.ascontiguousarray(fitted.transpose(2, 0, 1))
            samples.append(DetectionSample(planes, no_boxes, no_labels, index, info))
        return self.task.collate(samples)

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


def _pixels(image: ImageLike) -> np.ndarray:
    if not isinstance(image, np.ndarray):
        return read_image(Path(image))
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise DataError(
            f"an image array must be (height, width, 3) uint8 RGB, got {image.shape} {image.dtype}. "
            "Convert it, or give a path."
        )
    return image
