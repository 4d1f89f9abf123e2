"""Labelled images as a torch data set: cache, augmentation, collation. Reading labels is `vision.formats.labels`."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from torch import Tensor

from classification.settings import ClassificationSettings
from classification.statistics import colour_statistics
from engine.task import SampleKey
from vision.augment.cache import FittedImages, open_cache, through_cache
from vision.augment.classify.fitting import Fitting
from vision.augment.classify.pipeline import Mixed, Pipeline, build_pipeline
from vision.augment.pipeline import sample_rng
from vision.file_stamp import require_unchanged
from vision.images import channels_first, read_shown
from vision.record import LabelledDataset

# Loader workers are the parallelism; OpenCV's own threads would only fight over the same cores, and die in a fork.
cv2.setNumThreads(0)


@dataclass(frozen=True, slots=True)
class ClassificationSample:
    """One image with its class, as the model will see it; with two classes where a second image is mixed in."""

    image: np.ndarray
    """(3, H, W) uint8 RGB."""
    label: int
    other_label: int
    """Class of the image that was mixed in; without mixing `label`."""
    mix: float
    """Share of `label`; the rest belongs to `other_label`. 1 = no mixing."""
    sample_id: int


@dataclass(slots=True)
class ClassificationBatch:
    """Samples stacked for the model; the loop fills the last three fields in."""

    images: Tensor
    """(B, 3, H, W) uint8 RGB."""
    labels: Tensor
    """(B,) int64."""
    other_labels: Tensor
    """(B,) int64, classes of the images mixed in; equal to `labels` where there is none."""
    mix: Tensor
    """(B,) float32, share of `labels`; 1 = no mixing."""
    sample_ids: tuple[int, ...]
    share: float = 1.0
    step_share: float = 1.0
    step_key: int = 0

    def to(self, device: torch.device | str, non_blocking: bool = True) -> "ClassificationBatch":
        """Copy images and labels to `device`."""
        return replace(
            self,
            images=self.images.to(device, non_blocking=non_blocking),
            labels=self.labels.to(device, non_blocking=non_blocking),
            other_labels=self.other_labels.to(device, non_blocking=non_blocking),
            mix=self.mix.to(device, non_blocking=non_blocking),
        )

    def pin_memory(self) -> "ClassificationBatch":
        """Copy images and labels to page-locked memory, from where a GPU can fetch them without waiting."""
        return replace(
            self,
            images=self.images.pin_memory(),
            labels=self.labels.pin_memory(),
            other_labels=self.other_labels.pin_memory(),
            mix=self.mix.pin_memory(),
        )


def collate(samples: Sequence[ClassificationSample]) -> ClassificationBatch:
    """Stack samples of equal size into a batch."""
    return ClassificationBatch(
        images=torch.from_numpy(np.stack([sample.image for sample in samples])),
        labels=torch.tensor([sample.label for sample in samples], dtype=torch.int64),
        other_labels=torch.tensor([sample.other_label for sample in samples], dtype=torch.int64),
        mix=torch.tensor([sample.mix for sample in samples], dtype=torch.float32),
        sample_ids=tuple(sample.sample_id for sample in samples),
    )


class ClassificationDataset(torch.utils.data.Dataset):
    """Map-style data set over `SampleKey`; what comes out depends on the settings, the seed and the key alone.

    Args:
        dataset: the split, read and checked.
        settings: image size, cache and augmentation.
        train: augment; otherwise images are only fitted.
        seed: of the run; with the key it seeds each sample's augmentation.
        epochs: of the run; mixing ends before the last ones.
    """

    def __init__(
        self, dataset: LabelledDataset, settings: ClassificationSettings, *, train: bool, seed: int, epochs: int
    ) -> None:
        self.classes = dataset.classes
        self.records = dataset.records
        self.settings = settings
        self.seed = seed
        self._positions = {record.sample_id: i for i, record in enumerate(self.records)}
        self._fitting = training_fitting(settings) if train else evaluation_fitting(settings)
        self._pipeline = _build_pipeline(dataset, settings, self._fitting) if train else None
        self._cache, self.cache_note = open_cache(self._kept(), settings.cache, settings.cache_limit_gb)
        self._first_closing_epoch = epochs - round(settings.augment.close_mixing * epochs)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, key: SampleKey) -> ClassificationSample:
        """Return the augmented or fitted sample of a key.

        Raises:
            DataError: if the image file cannot be decoded, or it or its annotation was changed since they were read.
        """
        index = self._positions[key.sample_id]
        require_unchanged(self.records[index].files)
        if self._pipeline is None:
            mixed = Mixed(self._fitting.final(self._image(index)), index, 1.0)
        else:
            mixed = self._pipeline(
                self._image,
                index,
                sample_rng(self.seed, key.epoch, key.sample_id, key.occurrence),
                num_images=len(self.records),
                is_closing=key.epoch >= self._first_closing_epoch,
            )
        label, other_label = self.records[index].label, self.records[mixed.partner].label
        return ClassificationSample(channels_first(mixed.image), label, other_label, mixed.share, key.sample_id)

    def sample_labels(self) -> list[np.ndarray]:
        """The class of each sample, by sample id."""
        ordered = sorted(self.records, key=lambda record: record.sample_id)
        return [np.array([record.label], np.int64) for record in ordered]

    def warm(self) -> None:
        """Decode every image into the cache now, so that the first epoch is as fast as the others."""
        if self._cache is not None:
            for index in range(len(self.records)):
                self._image(index)

    def _kept(self) -> FittedImages:
        return FittedImages(
            paths=[record.path for record in self.records],
            shapes=[self._fitting.size_of(record.shown_size) for record in self.records],
            fitting="Fitting.base",
            crops=[record.box for record in self.records],
        )

    def _image(self, index: int) -> np.ndarray:
        """Return the image at `index` at its base size."""
        return through_cache(self._cache, index, lambda: self._fitting.base(read_shown(self.records[index])))


def evaluation_fitting(settings: ClassificationSettings) -> Fitting:
    """Say how evaluation and prediction fit an image into `settings.evaluation_size`."""
    base_size = _enlarged(settings) if settings.resize == "crop" else settings.evaluation_size
    return Fitting(settings.evaluation_size, base_size, settings.resize)


def training_fitting(settings: ClassificationSettings) -> Fitting:
    """Say how large an image is kept in training; `image_size` is then cut out of it by the augmentation.

    What evaluation shows whole (`squash`, `letterbox`) is larger in training only where parts are cut out of it.
    """
    recipe = settings.augment.recipe()
    cuts_windows = recipe.crop == "random" and (not recipe.pad or settings.resize_size is not None)
    is_enlarged = settings.resize == "crop" or recipe.crop == "resized" or cuts_windows
    return Fitting(settings.image_size, _enlarged(settings) if is_enlarged else settings.image_size, settings.resize)


def _enlarged(settings: ClassificationSettings) -> tuple[int, int]:
    """Return `image_size` scaled until its shorter side is `shortest_side`."""
    factor = settings.shortest_side / min(settings.image_size)
    height, width = (round(side * factor) for side in settings.image_size)
    return height, width


def _build_pipeline(dataset: LabelledDataset, settings: ClassificationSettings, fitting: Fitting) -> Pipeline:
    """Build the augmentation; for `pca_colour` every image is decoded once to measure its colours."""
    augment = settings.augment
    recipe = augment.recipe()
    return build_pipeline(
        recipe,
        fitting,
        principal_colours=colour_statistics(dataset).principal_colours() if recipe.pca_colour else None,
        transforms=augment.transforms or (),
    )
