"""Classification as the loop sees it: joins data, model, losses and metric. Implements `engine.task.Task`."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from classification.data import ClassificationBatch, ClassificationDataset, ClassificationSample, collate
from classification.metrics import ClassificationMetric
from classification.models import build_model
from classification.predictions import Prediction
from classification.settings import ClassificationSettings
from classification.statistics import channel_statistics
from classification.teacher import Teacher
from classification.test_time import check_views, predict_views
from engine.distributed import bare, broadcast_object, rank
from engine.precision import to_unit_range
from engine.task import TaskSpec
from foundation.errors import ConfigError, DataError
from vision.augment.classify.check import label_changing
from vision.augment.fitting import PAD_VALUE
from vision.class_order import with_classes
from vision.formats import known_splits
from vision.formats.labels import read_labels
from vision.record import LabelledDataset
from vision.settings import DataSettings

TRAIN = "train"


class ClassificationTask:
    """One classification problem, ready to be trained, evaluated or used for prediction.

    Args:
        spec: settings and data as plain values; `data` may be empty when the task only predicts.
        classes: fixes names and order of the classes, as a bundle does; None = those of the training data.
    """

    def __init__(self, spec: TaskSpec, classes: tuple[str, ...] | None = None) -> None:
        self.spec = spec
        self.settings = ClassificationSettings.model_validate(spec.settings)
        self.data: DataSettings | None = TypeAdapter(DataSettings).validate_python(spec.data) if spec.data else None
        self._datasets: dict[str, LabelledDataset] = {}
        self._train_split: str | None = None
        self._cache_note: str | None = None
        self._teacher: Teacher | None = None
        self._model_notes: tuple[str, ...] = ()
        if classes is not None:
            self.classes = tuple(classes)

    @classmethod
    def from_bundle(
        cls, settings: dict[str, Any], classes: Sequence[str], data: dict[str, Any] | None = None
    ) -> "ClassificationTask":
        """Build the task that a bundle's manifest describes; `data` only to evaluate it."""
        return cls(TaskSpec("classification", settings, data or {}), tuple(classes))

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Class names in label order."""
        data = self._need_data()
        splits = known_splits(data)
        first = TRAIN if TRAIN in splits else splits[0]
        self._datasets[first] = read_labels(data, first)
        return self._datasets[first].classes

    def dataset(self, split: str) -> LabelledDataset:
        """Read a split, once.

        Raises:
            DataError: if it is faulty, or its classes are not those of the model.
        """
        classes = self.classes
        if split not in self._datasets:
            self._datasets[split] = with_classes(read_labels(self._need_data(), split), classes, split)
        return self._datasets[split]

    def build_model(self) -> nn.Module:
        """Build the network, on the CPU; every rank must call it.

        What depends on the training images, as class weights and `normalize: data`, is taken from the split that
        `build_dataset` was called for before; a bundle's weights bring it along.
        """
        settings, is_trained = self.settings, self._train_split is not None
        if settings.distill is not None and settings.distill.weights is not None:
            self._teacher = Teacher(settings.distill.weights, self.classes)
        counts = self.train_counts() if is_trained else None
        model = build_model(
            settings,
            len(self.classes),
            class_counts=None if counts is None else counts.tolist(),
            statistics=self._statistics() if is_trained and settings.normalize == "data" else None,
            classes=self.classes,
        )
        check_views(model, settings)
        self._model_notes = model.notes
        return model

    def build_dataset(self, split: str, train: bool) -> ClassificationDataset:
        """Build the map-style data set of a split; augmented when `train`."""
        dataset = ClassificationDataset(
            self.dataset(split), self.settings, train=train, seed=self.spec.seed, epochs=self.spec.epochs
        )
        if train:
            self._train_split, self._cache_note = split, dataset.cache_note
        return dataset

    def collate(self, samples: Sequence[ClassificationSample]) -> ClassificationBatch:
        """Stack samples into a batch."""
        return collate(samples)

    def losses(self, model: nn.Module, batch: ClassificationBatch) -> dict[str, Tensor]:
        """Run the model in training mode; return its loss terms times this micro-batch's part of the step."""
        images, targets = to_unit_range(batch.images), {"labels": batch.labels}
        if self.settings.mixes_images:
            targets |= {"other_labels": batch.other_labels, "mix": batch.mix}
        if self._teacher is not None:
            targets["teacher"] = self._teacher(images)
        over_ranks: tuple[str, ...] = bare(model).terms_over_ranks  # type: ignore[assignment]
        return {
            name: value * (batch.step_share if name in over_ranks else batch.share)
            for name, value in model(images, targets).items()
        }

    def predict(self, model: nn.Module, batch: ClassificationBatch) -> list[Prediction]:
        """Classify the images; the model must be in eval mode."""
        with torch.no_grad():
            images = to_unit_range(batch.images)
            probabilities = predict_views(model, images, self.settings.test_time, self.settings.image_size)
        rows = probabilities.float().cpu().numpy()
        return [Prediction(sample_id, row) for sample_id, row in zip(batch.sample_ids, rows, strict=True)]

    def build_metric(self, split: str) -> ClassificationMetric:
        """Build the metrics over a split; groups by frequency where the data set has a training split."""
        return ClassificationMetric(self.dataset(split), self.train_counts())

    def preprocessing(self) -> dict[str, Any]:
        """Say how an image file becomes the model's input."""
        settings = self.settings
        return {
            "color": "RGB",
            "dtype": "float32",
            "image_size": list(settings.evaluation_size),
            "layout": "NCHW",
            "resize": settings.resize,
            **({"shortest_side": settings.shortest_side} if settings.resize == "crop" else {}),
            **({"pad_value": PAD_VALUE} if settings.resize == "letterbox" else {}),
            "scale": 1 / 255,
        }

    def notes(self) -> list[str]:
        """Say if images are not kept, which weights were not used, and which augmentations change what is shown."""
        cache_note = (self._cache_note,) if self._cache_note else ()
        return [*cache_note, *self._model_notes, *label_changing(self.classes, self.settings.augment)]

    def train_counts(self) -> np.ndarray | None:
        """Count the training images of each class, (K,) int64; None where they are not known.

        Without a training they are those of the split `train` of the data that is evaluated on, if it can be read.
        """
        if self._train_split is not None:
            dataset = self.dataset(self._train_split)
        elif self.data is None or TRAIN not in known_splits(self.data):
            return None
        else:
            try:
                dataset = self.dataset(TRAIN)
            except DataError:  # it is not what is evaluated, and its faults are not those of the evaluation
                return None
        labels = [record.label for record in dataset.records]
        return np.bincount(np.array(labels, np.int64), minlength=len(self.classes))

    def _statistics(self) -> Any:
        """Mean and deviation of the training split's pixels: measured on rank 0, the same on all."""
        assert self._train_split is not None, "build_dataset comes first"
        measured = channel_statistics(self.dataset(self._train_split)) if rank() == 0 else None
        return broadcast_object(measured)

    def _need_data(self) -> DataSettings:
        if self.data is None:
            raise ConfigError("this classification task was built without data and can only predict; give it `data`.")
        return self.data
