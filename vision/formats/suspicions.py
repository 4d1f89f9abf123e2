"""Annotations and files that are sound and yet look wrong beside the rest of their data set.

Reported only; a person decides.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from vision.record import Dataset, Fault, Record

FAR_DEVIATIONS = 6.0
NEAR_DEVIATIONS = 2.0
"""An object whose size is at least so far from its class's, and at most so far from another's, may be of that one."""
LEAST_OBJECTS = 20
"""Fewer objects of a class do not say what size is usual."""
USUAL_SHARE = 0.9
"""A class in at least this share of the images is missed in the others."""
LEAST_IMAGES = 20
NUMBERED_SHARE = 0.85
"""Images whose names hold at least this share of the numbers between the lowest and the highest are numbered without
gaps, on purpose; a random part of a larger set, such as 80 % for training, is not."""
MOST_NUMBERS_TOLD = 10

_DEVIATION_OF_MEDIAN = 1.4826
_LEAST_DEVIATION = 0.05
"""Of the logarithm of the size: classes of equal boxes are allowed five per cent."""


def unusual_sizes(datasets: Mapping[str, Dataset]) -> Iterator[Fault]:
    """Report objects that have another class's size: they may have the wrong class.

    Size is the square root of the box's area, compared by its logarithm; usual is the median over all splits, deviation
    is the median absolute one.
    """
    records, classes = _records(datasets)
    labels = _joined([record.labels for record in records], np.int64)
    sizes = _joined([_log_sizes(record) for record in records], np.float64)
    known = [label for label in range(len(classes)) if (labels == label).sum() >= LEAST_OBJECTS]
    if len(known) < 2:
        return
    usual = {label: float(np.median(sizes[labels == label])) for label in known}
    spread = {label: _deviation(sizes[labels == label], usual[label]) for label in known}
    for record in records:
        for index, (size, label) in enumerate(zip(_log_sizes(record), record.labels.tolist(), strict=True)):
            if label not in usual:
                continue
            away = {other: abs(size - usual[other]) / spread[other] for other in known}
            nearest = min(away, key=lambda other: away[other])
            if away[label] >= FAR_DEVIATIONS and away[nearest] <= NEAR_DEVIATIONS:
                yield _unusual_size(record, index, classes[label], classes[nearest], np.exp(usual[label]))


def _unusual_size(record: Record, index: int, name: str, other: str, usual: float) -> Fault:
    x1, y1, x2, y2 = record.boxes[index]
    message = (
        f"{name} at {x1:.0f} {y1:.0f} {x2:.0f} {y2:.0f} has {x2 - x1:.0f} x {y2 - y1:.0f} pixels, where {name} has "
        f"about {usual:.0f} x {usual:.0f}; it has the size of {other}"
    )
    return Fault("unusual_size", _place(record), message, record.name, is_fatal=False)


def missing_classes(datasets: Mapping[str, Dataset]) -> Iterator[Fault]:
    """Report images without a class that nearly all images show: its objects may have been forgotten."""
    records, classes = _records(datasets)
    if len(records) < LEAST_IMAGES or len(classes) < 2:
        return
    shows = np.array([np.isin(np.arange(len(classes)), record.labels) for record in records])
    share = shows.mean(axis=0)
    for label in np.flatnonzero((share >= USUAL_SHARE) & (share < 1)).tolist():
        for row in np.flatnonzero(~shows[:, label]).tolist():
            message = f"no {classes[label]} is annotated here, as it is in {share[label]:.0%} of the images"
            yield Fault("missing_class", _place(records[row]), message, records[row].name, is_fatal=False)


def missing_numbers(datasets: Mapping[str, Dataset]) -> Iterator[Fault]:
    """Report numbers that the names of the images leave out: files may be lost.

    All that lies in the images' folders counts, whether a split lists it or not.
    """
    folders = dict.fromkeys(record.path.parent for dataset in datasets.values() for record in dataset.records)
    places: dict[tuple[str, str], dict[int, Path]] = defaultdict(dict)
    for folder in folders:
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if name := re.fullmatch(r"(.*?)(\d+)", path.stem):
                places[name[1], path.suffix].setdefault(int(name[2]), path)
    for (beginning, suffix), paths in places.items():
        first, last = min(paths), max(paths)
        if len(paths) < LEAST_IMAGES or len(paths) < NUMBERED_SHARE * (last + 1 - first):
            continue  # before anything is counted: names may be times, with millions between them
        gaps = [number for number in range(first, last + 1) if number not in paths]
        if not gaps:
            continue
        told = ", ".join(map(str, gaps[:MOST_NUMBERS_TOLD]))
        more = f", and {len(gaps) - MOST_NUMBERS_TOLD} more" if len(gaps) > MOST_NUMBERS_TOLD else ""
        message = f"{beginning}*{suffix} counts from {first} to {last} without {len(gaps)} numbers: {told}{more}"
        yield Fault("missing_number", paths[first].parent, message, is_fatal=False)


def _records(datasets: Mapping[str, Dataset]) -> tuple[list[Record], Sequence[str]]:
    """Each image of all splits once, and the classes, which all splits of a data set share."""
    by_path = {record.path: record for dataset in datasets.values() for record in dataset.records}
    return list(by_path.values()), next((dataset.classes for dataset in datasets.values()), ())


def _place(record: Record) -> Path:
    """Name the file to mend: the annotation where it is known."""
    return record.files[-1].path if record.files else record.path


def _log_sizes(record: Record) -> np.ndarray:
    boxes = record.boxes.astype(np.float64)
    return 0.5 * np.log((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))


def _joined(arrays: list[np.ndarray], dtype: type) -> np.ndarray:
    return np.concatenate([np.zeros(0, dtype), *arrays])


def _deviation(values: np.ndarray, middle: float) -> float:
    return max(float(np.median(np.abs(values - middle))) * _DEVIATION_OF_MEDIAN, _LEAST_DEVIATION)
