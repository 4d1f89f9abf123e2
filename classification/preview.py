"""A look at what the augmentation does to a data set, before anything is trained on it."""

import cv2
import numpy as np

from classification.data import ClassificationDataset, ClassificationSample
from classification.settings import ClassificationSettings
from engine.task import SampleKey
from vision.drawing import contact_sheet
from vision.formats.labels import read_labels
from vision.settings import DataSettings

MAX_COLUMNS = 4
LEAST_SIDE_PX = 160
"""Smaller images are enlarged to about this, pixel by pixel, so that they and their captions can be seen."""


def preview_sheet(
    data: DataSettings, split: str, settings: ClassificationSettings, *, seed: int, count: int
) -> np.ndarray:
    """Draw augmented training samples with their classes, side by side.

    Args:
        data: where the images are.
        split: which of its splits.
        settings: image size and augmentation, as a `train` stage has them.
        seed: draws the images and their augmentation.
        count: number of samples; above the number of images, some are shown again, augmented differently.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        DataError: if the split has no image, or one cannot be read.
    """
    dataset = read_labels(data, split)
    samples = ClassificationDataset(dataset, settings, train=True, seed=seed, epochs=1)
    order = np.random.default_rng(seed).permutation(len(dataset.records))
    images, captions = [], []
    for shown in range(count):
        occurrence, position = divmod(shown, len(order))
        sample = samples[SampleKey(0, dataset.records[order[position]].sample_id, occurrence)]
        images.append(_enlarged(np.ascontiguousarray(sample.image.transpose(1, 2, 0))))
        captions.append(_caption(sample, dataset.classes))
    return contact_sheet(images, min(MAX_COLUMNS, count), captions)


def _caption(sample: ClassificationSample, classes: tuple[str, ...]) -> str:
    if sample.mix == 1.0:
        return classes[sample.label]
    return f"{classes[sample.label]} {sample.mix:.2f} + {classes[sample.other_label]} {1 - sample.mix:.2f}"


def _enlarged(image: np.ndarray) -> np.ndarray:
    factor = -(-LEAST_SIDE_PX // min(image.shape[:2]))
    return cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST) if factor > 1 else image
