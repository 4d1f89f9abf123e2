"""The labels of a data set, numbered as a model numbers its classes."""

from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from foundation.errors import DataError
from vision.record import Dataset, LabelledDataset, Record

AnyDataset = TypeVar("AnyDataset", Dataset, LabelledDataset)


def with_classes(dataset: AnyDataset, classes: tuple[str, ...], split: str) -> AnyDataset:
    """Number the labels of a data set by `classes`, by name; they may hold more classes than the data set.

    Raises:
        DataError: if the data set has a class that is not among `classes`.
    """
    if dataset.classes == classes:
        return dataset
    unknown = [name for name in dataset.classes if name not in classes]
    if unknown:
        raise DataError(
            f"split {split!r} holds the classes {', '.join(unknown)}, which the model does not know (it knows "
            f"{', '.join(classes)}). Give `classes` in the data settings, or another split."
        )
    new_label = np.array([classes.index(name) for name in dataset.classes], np.int64)
    return replace(dataset, classes=classes, records=tuple(_renumbered(item, new_label) for item in dataset.records))


def _renumbered(record: Any, new_label: np.ndarray) -> Any:
    if isinstance(record, Record):
        return replace(record, labels=new_label[record.labels])
    return replace(record, label=int(new_label[record.label]))
