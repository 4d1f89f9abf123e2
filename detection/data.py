"""Annotated images as a torch data set: cache, augmentation, collation. Reading annotations is `vision.formats`."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from torch import Tensor

from detection.settings import DetectionSettings
from engine.task import SampleKey
from foundation.errors import DataError
from vision.augment.cache import build_cache
from vision.augment.fitting import LetterboxInfo, fit
from vision.augment.geometry import BoxedImage
from vision.augment.letterbox import pad_to_size, resize_to_fit
from vision.augment.pipeline import Pipeline, build_pipeline, sample_rng
from vision.augment.presets import resolve
from vision.images import read_image
from vision.record import Dataset, Record

# Loader workers are the parallelism; OpenCV's own threads would only fight over the same cores, and die in a fork.
cv2.setNumThreads(0)


@dataclass(frozen=True, slots=True)
class DetectionSample:
    """One image with its objects, as the model will see it. Shapes: N objects, N may be 0."""

    image: np.ndarray
    """(3, H, W) uint8 RGB."""
    boxes: np.ndarray
    """(N, 4) float32 xyxy in pixels of `image`; crowds are left out."""
    labels: np.ndarray
    """(N,) int64."""
    sample_id: int
    info: LetterboxInfo
    """The way back to the original image; of an augmented sample only the fitting of its own image."""


@dataclass(slots=True)
class DetectionBatch:
    """Samples stacked for the model; the loop fills the last three fields in."""

    images: Tensor
    """(B, 3, H, W) uint8 RGB."""
    targets: list[dict[str, Tensor]]
    """Per image `boxes` (N, 4) float32 xyxy in letterboxed pixels and `labels` (N,) int64."""
    sample_ids: tuple[int, ...]
    infos: list[LetterboxInfo]
    """Per image, how it was fitted; maps detections back."""
    share: float = 1.0
    step_share: float = 1.0
    step_key: int = 0

    def to(self, device: torch.device | str, non_blocking: bool = True) -> "DetectionBatch":
        """Copy images and targets to `device`: three transfers, however many images there are."""
        boxes, labels = self._joined_targets()
        if self.images.is_pinned():
            boxes, labels = boxes.pin_memory(), labels.pin_memory()
        return self._with_tensors(
            self.images.to(device, non_blocking=non_blocking),
            boxes.to(device, non_blocking=non_blocking),
            labels.to(device, non_blocking=non_blocking),
        )

    def pin_memory(self) -> "DetectionBatch":
        """Copy images and targets to page-locked memory, from where a GPU can fetch them without waiting."""
        boxes, labels = self._joined_targets()
        return self._with_tensors(self.images.pin_memory(), boxes.pin_memory(), labels.pin_memory())

    def _joined_targets(self) -> tuple[Tensor, Tensor]:
        boxes = torch.cat([target["boxes"] for target in self.targets])
        return boxes, torch.cat([target["labels"] for target in self.targets])

    def _with_tensors(self, images: Tensor, boxes: Tensor, labels: Tensor) -> "DetectionBatch":
        counts = [len(target["labels"]) for target in self.targets]
        pairs = zip(torch.split(boxes, counts), torch.split(labels, counts), strict=True)
        return replace(self, images=images, targets=[{"boxes": b, "labels": n} for b, n in pairs])


def collate(samples: Sequence[DetectionSample]) -> DetectionBatch:
    """Stack samples of equal size into a batch; an image without objects has targets of shape (0, 4) and (0,)."""
    return DetectionBatch(
        images=torch.from_numpy(np.stack([sample.image for sample in samples])),
        targets=[
            {"boxes": torch.from_numpy(sample.boxes), "labels": torch.from_numpy(sample.labels)} for sample in samples
        ],
        sample_ids=tuple(sample.sample_id for sample in samples),
        infos=[sample.info for sample in samples],
    )


class DetectionDataset(torch.utils.data.Dataset):
    """Map-style data set over `SampleKey`; what comes out depends on the settings, the seed and the key alone.

    Args:
        dataset: the split, read and checked.
        settings: image size, cache and augmentation.
        train: augment; otherwise images are only letterboxed.
        seed: of the run; with the key it seeds each sample's augmentation.
        epochs: of the run; mosaic and mixup end before the last ones.
    """

    def __init__(self, dataset: Dataset, settings: DetectionSettings, *, train: bool, seed: int, epochs: int) -> None:
        self.classes = dataset.classes
        self.records = dataset.records
        self.settings = settings
        self.seed = seed
        self._positions = {record.sample_id: i for i, record in enumerate(self.records)}
        self._infos = [fit(record.image_size, settings.image_size) for record in self.records]
        self._cache = build_cache([info.fitted_size for info in self._infos]) if settings.cache == "memory" else None
        self._pipeline = _build_pipeline(settings) if train else None
        self._partners = np.arange(len(self.records))
        self._mixup_partners = np.array([i for i in self._partners if not self.records[i].iscrowd.all()], np.int64)
        self._first_closing_epoch = epochs - round(settings.augment.close_mosaic * epochs)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, key: SampleKey) -> DetectionSample:
        """Return the augmented or letterboxed sample of a key.

        Raises:
            DataError: if the image file cannot be decoded, or changed its size since its annotations were read.
        """
        index = self._positions[key.sample_id]
        info = self._infos[index]
        if self._pipeline is None:
            fitted = self._fitted(index)
            image = pad_to_size(fitted.image, info, self.settings.image_size)
            boxes, labels = fitted.boxes + np.array([info.pad_left, info.pad_top] * 2, np.float32), fitted.labels
        else:
            image, boxes, labels = self._pipeline(
                self._fitted,
                index,
                sample_rng(self.seed, key.epoch, key.sample_id, key.occurrence),
                partners=self._partners,
                mixup_partners=self._mixup_partners,
                is_closing=key.epoch >= self._first_closing_epoch,
            )
        return DetectionSample(_channels_first(image), boxes, labels, key.sample_id, info)

    def warm(self) -> None:
        """Decode every image into the cache now, so that the first epoch is as fast as the others."""
        if self._cache is not None:
            for index in range(len(self.records)):
                self._image(index)

    def _fitted(self, index: int) -> BoxedImage:
        """Return the image at `index` at its fitted size, without padding, and its boxes other than crowds."""
        record, info = self.records[index], self._infos[index]
        unpadded = replace(info, pad_left=0, pad_top=0)
        is_trained = ~record.iscrowd
        return BoxedImage(
            self._image(index), unpadded.to_letterboxed(record.boxes[is_trained]), record.labels[is_trained]
        )

    def _image(self, index: int) -> np.ndarray:
        if self._cache is None:
            return _read_fitted(self.records[index], self._infos[index])
        image = self._cache.get(index)
        if image is None:
            image = _read_fitted(self.records[index], self._infos[index])
            self._cache.put(index, image)
        return image


def _build_pipeline(settings: DetectionSettings) -> Pipeline:
    augment = settings.augment
    return build_pipeline(
        resolve(augment.preset, augment.model_dump()),
        settings.image_size,
        transforms=augment.transforms or (),
        min_visibility=augment.min_visibility,
    )


def _read_fitted(record: Record, info: LetterboxInfo) -> np.ndarray:
    image = read_image(record.path)
    if image.shape[:2] != record.image_size:
        given = "x".join(str(side) for side in image.shape[:2])
        expected = "x".join(str(side) for side in record.image_size)
        raise DataError(
            f"{record.path} has {given} pixels (height x width), but {expected} when its annotations were read; "
            "its boxes would be misplaced. Restore the image, or mend its annotation."
        )
    return resize_to_fit(image, info)


def _channels_first(image: np.ndarray) -> np.ndarray:
    """Turn (H, W, 3) into a new (3, H, W) array."""
    planes = np.empty((3, *image.shape[:2]), np.uint8)
    cv2.split(image, list(planes))  # nine times faster than a transposed copy in numpy
    return planes
