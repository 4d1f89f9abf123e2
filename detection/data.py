"""Annotated images as a torch data set: cache, augmentation, collation. Reading annotations is `vision.formats`."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from detection.class_losses import ClassCounts
from detection.settings import DetectionSettings
from engine.task import SampleKey
from foundation.errors import DataError
from vision.augment.cache import FittedImages, open_cache, through_cache
from vision.augment.copy_paste import room_notes
from vision.augment.fitting import LetterboxInfo, fit
from vision.augment.geometry import BoxedImage
from vision.augment.letterbox import pad_to_size, resize_to_fit
from vision.augment.pipeline import Pipeline, build_pipeline, sample_rng
from vision.augment.presets import resolve
from vision.augment.small_objects import is_small, notes_on, survey_small_objects
from vision.file_stamp import require_unchanged
from vision.images import channels_first, read_image, require_size
from vision.outlines import mask_from_outline
from vision.record import Dataset, Record
from vision.tiling import Tile

# Loader workers are the parallelism; OpenCV's own threads would only fight over the same cores, and die in a fork.
cv2.setNumThreads(0)

ReadOutlines = Callable[[Sequence[Record], Sequence[np.ndarray]], Sequence[Mapping[int, Any]] | None]
"""`vision.formats.outlines.read_outlines` for one split of a data set."""


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

    def __reduce__(self) -> tuple[Callable[..., "DetectionBatch"], tuple[Any, ...]]:
        # From a loader process. torch sends every tensor as an open file of its own, which for the many small targets
        # takes longer than all that the trainer does for the images; so these travel as two arrays.
        boxes, labels = (joined.numpy() for joined in self._joined_targets())
        counts = [len(target["labels"]) for target in self.targets]
        rest = self.sample_ids, self.infos, self.share, self.step_share, self.step_key
        return _from_joined, (self.images, boxes, labels, counts, *rest)

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
        return replace(self, images=images, targets=_split_targets(boxes, labels, counts))


def _split_targets(boxes: Tensor, labels: Tensor, counts: list[int]) -> list[dict[str, Tensor]]:
    pairs = zip(torch.split(boxes, counts), torch.split(labels, counts), strict=True)
    return [{"boxes": b, "labels": n} for b, n in pairs]


def _from_joined(
    images: Tensor, boxes: np.ndarray, labels: np.ndarray, counts: list[int], *rest: Any
) -> DetectionBatch:
    """Put together what `DetectionBatch.__reduce__` took apart."""
    targets = _split_targets(torch.from_numpy(boxes), torch.from_numpy(labels), counts)
    return DetectionBatch(images, targets, *rest)


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
        epochs: of the run; images that are put together end before the last ones.
        outlines: reads the outlines of objects, which copy-paste follows where it can; None = boxes only.

    Attributes:
        copies: what became of this process's copy-paste so far: copies `pasted`, and those `without_room`.
    """

    def __init__(
        self,
        dataset: Dataset,
        settings: DetectionSettings,
        *,
        train: bool,
        seed: int,
        epochs: int,
        outlines: ReadOutlines | None = None,
    ) -> None:
        self.classes = dataset.classes
        self.records = dataset.records
        self.settings = settings
        self.seed = seed
        self._positions = {record.sample_id: i for i, record in enumerate(self.records)}
        self._infos = [fit(record.image_size, settings.image_size) for record in self.records]
        self._cache, self.cache_note = open_cache(self._kept(), settings.cache, settings.cache_limit_gb)
        self._of_file = _by_file(self.records)
        self._pipeline = _build_pipeline(settings) if train else None
        self.copies = Counter[str]()
        self._partners = np.arange(len(self.records))
        self._mixup_partners = np.array([i for i in self._partners if not self.records[i].iscrowd.all()], np.int64)
        self._first_closing_epoch = epochs - round(settings.augment.close_mosaic * epochs)
        self._outlines: Sequence[Mapping[int, Any]] | None = None
        self._objects = [_trained_objects(*pair) for pair in zip(self.records, self._infos, strict=True)]
        if self._pipeline is not None:
            recipe = self._pipeline.recipe
            self._small_objects = survey_small_objects(self._objects, len(self.classes), recipe)
            if outlines is not None and recipe.copy_paste.chance and recipe.copy_paste.masks:
                self._outlines = outlines(self.records, [self._is_copied(index) for index in range(len(self))])

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, key: SampleKey) -> DetectionSample:
        """Return the augmented or letterboxed sample of a key.

        Raises:
            DataError: if the image file cannot be decoded, or it or its annotation was changed since they were read.
        """
        index = self._positions[key.sample_id]
        require_unchanged(self.records[index].files)
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
                small_objects=self._small_objects,
                masks=self._mask if self._outlines is not None else None,
                is_closing=key.epoch >= self._first_closing_epoch,
                tally=self.copies,
            )
        return DetectionSample(channels_first(image), boxes, labels, key.sample_id, info)

    def sample_labels(self) -> list[np.ndarray]:
        """The classes of each image's objects, by sample id; crowds are not trained on and do not count."""
        ordered = sorted(self.records, key=lambda record: record.sample_id)
        return [np.unique(record.labels[~record.iscrowd]) for record in ordered]

    def has_small_objects(self, max_area: float) -> np.ndarray:
        """Which images show an object of at most `max_area` square pixels as the model sees it, (N,) bool by sample
        id; crowds do not count."""
        is_shown = np.zeros(len(self), bool)
        for record, (boxes, _) in zip(self.records, self._objects, strict=True):
            is_shown[record.sample_id] = is_small(boxes, math.sqrt(max_area)).any()
        return is_shown

    def class_counts(self) -> ClassCounts:
        """How many objects, and images with any, each class has; crowds are not trained on and do not count."""
        objects = [labels for _, labels in self._objects]
        return ClassCounts(self._count(objects), self._count(self.sample_labels()), len(self))

    def _count(self, labels: Sequence[np.ndarray]) -> np.ndarray:
        return np.bincount(np.concatenate([np.zeros(0, np.int64), *labels]), minlength=len(self.classes))

    def box_sizes(self) -> np.ndarray:
        """(N, 2) width and height of all objects other than crowds, in letterboxed pixels, before augmentation."""
        boxes = np.concatenate([np.zeros((0, 4), np.float32), *(boxes for boxes, _ in self._objects)])
        return boxes[:, 2:] - boxes[:, :2]

    def augment_notes(self) -> list[str]:
        """Say which steps of the augmentation find nothing to do in this split, one sentence each."""
        if self._pipeline is None:
            return []
        recipe = self._pipeline.recipe
        boxes, sizes = [boxes for boxes, _ in self._objects], [info.fitted_size for info in self._infos]
        return [
            *notes_on(recipe, self._small_objects),
            *room_notes(boxes, sizes, recipe.copy_paste, recipe.small_size),
        ]

    def warm(self) -> None:
        """Decode every image into the cache now, so that the first epoch is as fast as the others."""
        if self._cache is not None:
            for index in range(len(self.records)):
                self._image(index)

    def _fitted(self, index: int) -> BoxedImage:
        """Return the image at `index` at its fitted size, without padding, and its boxes other than crowds."""
        return BoxedImage(self._image(index), *self._objects[index])

    def _is_copied(self, index: int) -> np.ndarray:
        """Which of a record's objects copy-paste may copy; (N,) bool."""
        assert self._pipeline is not None
        is_copied = ~self.records[index].iscrowd
        is_copied[is_copied] = is_small(self._objects[index][0], self._pipeline.recipe.small_size)
        return is_copied

    def _mask(self, index: int, row: int) -> np.ndarray | None:
        """Draw the outline of an object, given its row among those that are trained on, at the fitted size."""
        assert self._outlines is not None
        record = self.records[index]
        outline = self._outlines[index].get(int(np.flatnonzero(~record.iscrowd)[row]))
        if outline is None:
            return None
        try:
            return mask_from_outline(outline, record.image_size, self._infos[index].fitted_size)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"an object of {record.path} has a `segmentation` that is neither polygons nor run lengths ({error}). "
                "Mend the annotation, or set `augment.copy_paste.masks: false`."
            ) from error

    def _kept(self) -> FittedImages:
        paths = [record.path for record in self.records]
        crops = [record.window if isinstance(record, Tile) else None for record in self.records]
        return FittedImages(paths, [info.fitted_size for info in self._infos], "resize_to_fit", crops)

    def _image(self, index: int) -> np.ndarray:
        return through_cache(self._cache, index, lambda: self._read_fitted(index))

    def _read_fitted(self, index: int) -> np.ndarray:
        """Decode an image file; where images are kept, its other tiles are kept too before they are asked for."""
        image = read_image(self.records[index].path)
        if self._cache is not None:
            for other in self._of_file[self.records[index].path]:
                if other != index:
                    self._cache.put(other, _fitted_part(image, self.records[other], self._infos[other]))
        return _fitted_part(image, self.records[index], self._infos[index])


def _trained_objects(record: Record, info: LetterboxInfo) -> tuple[np.ndarray, np.ndarray]:
    """Boxes in the fitted image, without padding, and labels of the objects other than crowds."""
    unpadded = replace(info, pad_left=0, pad_top=0)
    is_trained = ~record.iscrowd
    return unpadded.to_letterboxed(record.boxes[is_trained]), record.labels[is_trained]


def _build_pipeline(settings: DetectionSettings) -> Pipeline:
    augment = settings.augment
    return build_pipeline(
        resolve(augment.preset, augment.model_dump()),
        settings.image_size,
        transforms=augment.transforms or (),
        min_visibility=augment.min_visibility,
    )


def _by_file(records: Sequence[Record]) -> dict[Path, list[int]]:
    """Per image file the positions of the records that are all or parts of it."""
    of_file: dict[Path, list[int]] = {}
    for index, record in enumerate(records):
        of_file.setdefault(record.path, []).append(index)
    return of_file


def _fitted_part(image: np.ndarray, record: Record, info: LetterboxInfo) -> np.ndarray:
    """Resize what a record shows of its decoded image file to its fitted size."""
    if isinstance(record, Tile):
        require_size(image, record.file_size, record.path)
        left, top, right, bottom = record.window
        return resize_to_fit(image[top:bottom, left:right], info)
    require_size(image, record.image_size, record.path)
    return resize_to_fit(image, info)
