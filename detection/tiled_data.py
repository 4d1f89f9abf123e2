"""What a model sees of an image in tiles and several sizes: windows, cut, fitted and batched. See `tiled.py`."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from detection.settings import DetectionSettings
from engine.task import SampleKey
from vision.augment.cache import FittedImages, open_cache
from vision.augment.fitting import LetterboxInfo, fit
from vision.augment.geometry import Window
from vision.augment.letterbox import pad_to_size, resize_to_fit
from vision.file_stamp import require_unchanged
from vision.images import channels_first, read_image, require_size
from vision.record import Dataset, Record
from vision.tiling import tile_grid, tiled_dataset

SIZE_STEP = 32
"""Sizes that are drawn or scaled are multiples of the coarsest stride that all our pyramids share."""


@dataclass(frozen=True, slots=True)
class SlicedSample:
    """One image as the model will look at it. Shapes: S scales, W windows."""

    pixels: list[list[np.ndarray]]
    """S lists of W (3, H, W) uint8 RGB, letterboxed; the size differs from scale to scale."""
    infos: list[list[LetterboxInfo]]
    """S lists of W: how each window was fitted."""
    windows: list[Window]
    """Where each window lies in the original image."""
    sample_id: int


@dataclass(frozen=True, slots=True)
class Slicing:
    """How one image is cut up. Shapes: S scales, W windows; its S x W views go window by window, size after size."""

    windows: list[Window]
    sizes: list[tuple[int, int]]
    """S pairs (height, width) that each window is letterboxed to."""
    infos: list[list[LetterboxInfo]]
    """S lists of W: how."""

    @property
    def num_views(self) -> int:
        """S x W."""
        return len(self.sizes) * len(self.windows)

    def cut(self, image: np.ndarray) -> list[np.ndarray]:
        """Cut all views out of an image, (H, W, 3) uint8; they are resized, but not padded yet."""
        parts = [image[window.top : window.bottom, window.left : window.right] for window in self.windows]
        return [resize_to_fit(*pair) for infos in self.infos for pair in zip(parts, infos, strict=True)]

    def sample(self, views: Sequence[np.ndarray], sample_id: int) -> SlicedSample:
        """Pad what `cut` returned."""
        remaining = iter(views)
        pixels = [
            [channels_first(pad_to_size(next(remaining), info, size)) for info in infos]
            for size, infos in zip(self.sizes, self.infos, strict=True)
        ]
        return SlicedSample(pixels, self.infos, self.windows, sample_id)


@dataclass(slots=True)
class SlicedBatch:
    """Sliced images stacked for the model. Shapes: S scales, V windows of all images."""

    images: list[Tensor]
    """S tensors (V, 3, H, W) uint8 RGB."""
    infos: list[list[LetterboxInfo]]
    """S lists of V."""
    windows: list[list[Window]]
    """Per image, in the order of V."""
    sample_ids: tuple[int, ...]
    share: float = 1.0
    step_share: float = 1.0
    step_key: int = 0

    def to(self, device: torch.device | str, non_blocking: bool = True) -> "SlicedBatch":
        """Copy the images to `device`."""
        return replace(self, images=[images.to(device, non_blocking=non_blocking) for images in self.images])

    def pin_memory(self) -> "SlicedBatch":
        """Copy the images to page-locked memory, from where a GPU can fetch them without waiting."""
        return replace(self, images=[images.pin_memory() for images in self.images])


class SlicedDataset(torch.utils.data.Dataset):
    """Map-style data set of whole images to be evaluated, each cut up as the settings say.

    Args:
        dataset: the split, read and checked.
        settings: what is cut out of an image, in which sizes, and whether it is kept in a cache.
    """

    def __init__(self, dataset: Dataset, settings: DetectionSettings) -> None:
        self.records: tuple[Record, ...] = dataset.records
        self._positions = {record.sample_id: index for index, record in enumerate(self.records)}
        self._slicings = [plan_slicing(record.image_size, settings) for record in self.records]
        self._first_slot = np.cumsum([0, *(slicing.num_views for slicing in self._slicings)]).tolist()
        self._cache, self.cache_note = open_cache(self._kept(), settings.cache, settings.cache_limit_gb)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, key: SampleKey) -> SlicedSample:
        """Return all windows of an image, in all sizes.

        Raises:
            DataError: if the image file cannot be decoded, or it or its annotation was changed since they were read.
        """
        index = self._positions[key.sample_id]
        require_unchanged(self.records[index].files)
        return self._slicings[index].sample(self._views(index), key.sample_id)

    def sample_labels(self) -> list[np.ndarray]:
        """The classes of each image's objects, by sample id, crowds left out."""
        ordered = sorted(self.records, key=lambda record: record.sample_id)
        return [np.unique(record.labels[~record.iscrowd]) for record in ordered]

    def _kept(self) -> FittedImages:
        slicings = list(zip(self.records, self._slicings, strict=True))
        return FittedImages(
            [record.path for record, slicing in slicings for _ in range(slicing.num_views)],
            [info.fitted_size for slicing in self._slicings for infos in slicing.infos for info in infos],
            "resize_to_fit",
            [tuple(window) for slicing in self._slicings for _ in slicing.sizes for window in slicing.windows],
        )

    def _views(self, index: int) -> list[np.ndarray]:
        """All fitted windows of an image, from the cache only if none of them is missing there."""
        record, slots = self.records[index], range(self._first_slot[index], self._first_slot[index + 1])
        if self._cache is not None:
            kept = [view for slot in slots if (view := self._cache.get(slot)) is not None]
            if len(kept) == len(slots):
                return kept
        image = read_image(record.path)
        require_size(image, record.image_size, record.path)
        views = self._slicings[index].cut(image)
        if self._cache is not None:
            for slot, view in zip(slots, views, strict=True):
                self._cache.put(slot, view)
        return views


def training_samples(dataset: Dataset, settings: DetectionSettings) -> Dataset:
    """Return the split that is trained on: tiles where `tiling.train` says so, otherwise the images themselves."""
    tiling = settings.tiling
    if tiling is None or not tiling.train:
        return dataset
    return tiled_dataset(
        dataset,
        tiling.tile_size,
        tiling.overlap,
        full_frame=tiling.full_frame,
        min_visibility=settings.augment.min_visibility,
    )


def plan_slicing(image_size: tuple[int, int], settings: DetectionSettings) -> Slicing:
    """Say how an image of this (height, width) is cut up."""
    windows = windows_of(image_size, settings)
    sizes = [scaled_size(settings.image_size, scale) for scale in settings.test_time.scales]
    return Slicing(windows, sizes, [[fit(_size_of(window), size) for window in windows] for size in sizes])


def slice_image(image: np.ndarray, sample_id: int, settings: DetectionSettings) -> SlicedSample:
    """Cut an image, (H, W, 3) uint8 RGB, into the windows that the settings name, in all sizes."""
    slicing = plan_slicing((image.shape[0], image.shape[1]), settings)
    return slicing.sample(slicing.cut(image), sample_id)


def windows_of(image_size: tuple[int, int], settings: DetectionSettings) -> list[Window]:
    """Return the tiles of an image of this (height, width), and after more than one of them the whole of it."""
    whole = Window(0, 0, image_size[1], image_size[0])
    if settings.tiling is None:
        return [whole]
    tiles = tile_grid(image_size, settings.tiling.tile_size, settings.tiling.overlap)
    return [*tiles, whole] if settings.tiling.full_frame and len(tiles) > 1 else tiles


def scaled_size(size: tuple[int, int], factor: float) -> tuple[int, int]:
    """Return `size` (height, width) times `factor`, in multiples of `SIZE_STEP`; a factor of 1 changes nothing."""
    if factor == 1.0:
        return size
    height, width = (max(SIZE_STEP, round(side * factor / SIZE_STEP) * SIZE_STEP) for side in size)
    return height, width


def collate_sliced(samples: Sequence[SlicedSample]) -> SlicedBatch:
    """Stack the windows of all samples, one tensor per scale."""
    by_scale = zip(*(sample.pixels for sample in samples), strict=True)
    infos = zip(*(sample.infos for sample in samples), strict=True)
    return SlicedBatch(
        images=[torch.from_numpy(np.stack([window for part in parts for window in part])) for parts in by_scale],
        infos=[[info for part in parts for info in part] for parts in infos],
        windows=[sample.windows for sample in samples],
        sample_ids=tuple(sample.sample_id for sample in samples),
    )


def _size_of(window: Window) -> tuple[int, int]:
    return window.bottom - window.top, window.right - window.left
