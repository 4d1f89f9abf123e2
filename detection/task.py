"""Detection as the loop sees it: joins data, model, losses and metric. Implements `engine.task.Task`."""

from collections.abc import Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import TypeAdapter
from torch import Tensor, nn

from detection.class_losses import use_class_counts
from detection.data import DetectionBatch, DetectionDataset, DetectionSample, collate
from detection.detections import Detections
from detection.metrics import CocoMetric
from detection.models import build_model
from detection.models.fitted_anchors import fit_model_anchors
from detection.settings import DetectionSettings
from detection.tiled import predict_sliced
from detection.tiled_data import (
    SlicedBatch,
    SlicedDataset,
    SlicedSample,
    collate_sliced,
    scaled_size,
    training_samples,
)
from engine.distributed import bare
from engine.precision import to_unit_range
from engine.sampling import derive_seed
from engine.task import TaskSpec
from foundation.errors import ConfigError, DataError
from vision.augment.fitting import PAD_VALUE, LetterboxInfo
from vision.class_order import with_classes
from vision.formats import known_splits, read_dataset
from vision.formats.outlines import read_outlines
from vision.record import Dataset
from vision.settings import DataSettings

MULTI_SCALE_STREAM = 0x512E
"""Keeps the draw of sizes apart from every other use of the seed."""


class DetectionTask:
    """One detection problem, ready to be trained, evaluated or used for prediction.

    Args:
        spec: settings and data as plain values; `data` may be empty when the task only predicts.
        classes: fixes names and order of the classes, as a bundle does; None = those of the training data.
    """

    def __init__(self, spec: TaskSpec, classes: tuple[str, ...] | None = None) -> None:
        self.spec = spec
        self.settings = DetectionSettings.model_validate(spec.settings)
        self.data: DataSettings | None = TypeAdapter(DataSettings).validate_python(spec.data) if spec.data else None
        self._datasets: dict[str, Dataset] = {}
        self._training: DetectionDataset | None = None
        self._model_notes: list[str] = []
        if classes is not None:
            self.classes = tuple(classes)

    @classmethod
    def from_bundle(
        cls, settings: dict[str, Any], classes: Sequence[str], data: dict[str, Any] | None = None
    ) -> "DetectionTask":
        """Build the task that a bundle's manifest describes; `data` only to evaluate it."""
        return cls(TaskSpec("detection", settings, data or {}), tuple(classes))

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Class names in label order."""
        data = self._need_data()
        splits = known_splits(data)
        if not splits:
            raise DataError(f"the {data.format} data set has no split to learn its classes from; check its root.")
        first = "train" if "train" in splits else splits[0]
        self._datasets[first] = read_dataset(data, first)
        return self._datasets[first].classes

    def dataset(self, split: str) -> Dataset:
        """Read a split, once.

        Raises:
            DataError: if it is faulty, or its classes are not those of the model.
        """
        classes = self.classes
        if split not in self._datasets:
            self._datasets[split] = with_classes(read_dataset(self._need_data(), split), classes, split)
        return self._datasets[split]

    def build_model(self) -> nn.Module:
        """Build the network, on the CPU.

        `anchors: auto` and losses that weigh classes follow the training split that `build_dataset` was called for
        before; a bundle's weights bring the anchors along.
        """
        model = build_model(self.settings, len(self.classes))
        if self._training is not None:
            self._model_notes = fit_model_anchors(model, self._training.box_sizes(), self.settings.image_size)
            use_class_counts(model, self._training.class_counts())
        return model

    def build_dataset(self, split: str, train: bool) -> DetectionDataset | SlicedDataset:
        """Build the map-style data set of a split; augmented when `train`, otherwise one sample per original image."""
        dataset = self.dataset(split)
        if not train and self.settings.is_sliced:
            return SlicedDataset(dataset, self.settings)
        seed, epochs = self.spec.seed, self.spec.epochs
        if not train:
            return DetectionDataset(dataset, self.settings, train=False, seed=seed, epochs=epochs)
        samples = training_samples(dataset, self.settings)
        outlines = partial(read_outlines, self._need_data(), split) if samples is dataset else None
        self._training = DetectionDataset(
            samples, self.settings, train=True, seed=seed, epochs=epochs, outlines=outlines
        )
        return self._training

    def collate(self, samples: Sequence[DetectionSample | SlicedSample]) -> DetectionBatch | SlicedBatch:
        """Stack samples of one kind into a batch."""
        sliced = [sample for sample in samples if isinstance(sample, SlicedSample)]
        return collate_sliced(sliced) if sliced else collate([s for s in samples if isinstance(s, DetectionSample)])

    def losses(self, model: nn.Module, batch: DetectionBatch) -> dict[str, Tensor]:
        """Run the model in training mode; return its loss terms times this micro-batch's part of the step."""
        images, targets = to_unit_range(batch.images), batch.targets
        if self.settings.multi_scale is not None:
            size = step_size(self.settings, self.spec.seed, batch.step_key)
            images, targets = resize_batch(images, targets, size)
        scale = batch.step_share if bare(model).normalises_over_ranks else batch.share
        return {name: value * scale for name, value in model(images, targets).items()}

    def predict(self, model: nn.Module, batch: DetectionBatch | SlicedBatch) -> list[Detections]:
        """Detect in the original images' pixels; the model must be in eval mode."""
        if isinstance(batch, SlicedBatch):
            return predict_sliced(model, batch, self.settings)
        with torch.no_grad():
            outputs = model(to_unit_range(batch.images), None)
        return [
            _to_detections(output, sample_id, info)
            for output, sample_id, info in zip(outputs, batch.sample_ids, batch.infos, strict=True)
        ]

    def build_metric(self, split: str) -> CocoMetric:
        """Build COCO's average precision over a split."""
        return CocoMetric(self.dataset(split), self.settings.max_detections)

    def preprocessing(self) -> dict[str, Any]:
        """Say how an image file becomes the model's input."""
        views: dict[str, Any] = {"test_time": self.settings.test_time.model_dump(mode="json")}
        if self.settings.tiling is not None:
            views["tiling"] = self.settings.tiling.model_dump(mode="json", exclude={"train", "batch_size"})
        return {
            **(views if self.settings.is_sliced else {}),
            "color": "RGB",
            "dtype": "float32",
            "image_size": list(self.settings.image_size),
            "layout": "NCHW",
            "pad_value": PAD_VALUE,
            "resize": "letterbox",
            "scale": 1 / 255,
        }

    def notes(self) -> list[str]:
        """What is told as a run starts: steps of augmentation that find nothing to do, anchors that were fitted, images
        with more objects than can be found."""
        notes = self._training.augment_notes() if self._training is not None else []
        if self._training is not None and self._training.cache_note:
            notes = [self._training.cache_note, *notes]
        return [*notes, *self._model_notes, *(note for split in self._datasets for note in self._crowding(split))]

    def _crowding(self, split: str) -> list[str]:
        """Say whether images of a split show more objects than are looked for."""
        counts = np.array([np.count_nonzero(~record.iscrowd) for record in self._datasets[split].records], np.int64)
        limit = self.settings.max_detections
        if not (counts > limit).any():
            return []
        return [
            f"{np.count_nonzero(counts > limit)} of {len(counts)} images of the split {split!r} show more objects than "
            f"`max_detections` {limit}, up to {counts.max()}: those beyond it cannot be found. Set `max_detections` to "
            f"{counts.max()} or more"
        ]

    def _need_data(self) -> DataSettings:
        if self.data is None:
            raise ConfigError("this detection task was built without data and can only predict; give it `data`.")
        return self.data


def step_size(settings: DetectionSettings, seed: int, step_key: int) -> tuple[int, int]:
    """Draw the (height, width) of one optimizer step: a function of (seed, step), so equal on all ranks."""
    low, high = settings.multi_scale or (1.0, 1.0)
    factor = np.random.default_rng(derive_seed(seed, step_key, MULTI_SCALE_STREAM)).uniform(low, high)
    return scaled_size(settings.image_size, factor)


def resize_batch(
    images: Tensor, targets: list[dict[str, Tensor]], size: tuple[int, int]
) -> tuple[Tensor, list[dict[str, Tensor]]]:
    """Resize images (B, 3, H, W) float to `size` (height, width), and the targets' xyxy boxes with them."""
    height, width = images.shape[-2:]
    if (height, width) == size:
        return images, targets
    ratio_y, ratio_x = size[0] / height, size[1] / width
    resized = F.interpolate(images, size=size, mode="bilinear", align_corners=False)
    factors = torch.tensor([ratio_x, ratio_y, ratio_x, ratio_y], device=images.device)
    return resized, [{**target, "boxes": target["boxes"] * factors} for target in targets]


def _to_detections(output: dict[str, Tensor], sample_id: int, info: LetterboxInfo) -> Detections:
    scores = output["scores"].float().cpu().numpy()
    order = np.argsort(-scores, kind="stable")
    return Detections(
        sample_id=sample_id,
        boxes=info.to_original(output["boxes"].float().cpu().numpy()[order]),
        scores=scores[order],
        labels=output["labels"].cpu().numpy()[order].astype(np.int64),
    )
