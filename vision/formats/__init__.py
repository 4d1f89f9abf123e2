"""Annotated images on disk to checked records. One file per format; each has `splits(data)` and `read(data, split)`."""

import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from foundation.errors import DataError
from vision.faults import FaultError, refuse
from vision.formats.assemble import assemble
from vision.formats.download import ensure_present
from vision.formats.raw import RawSplit, require_folder
from vision.record import Dataset
from vision.settings import CocoData, DigitsData, ImageFolderData, ScenesData, VocData, YoloData

FORMATS: dict[str, str] = {
    "voc": "vision.formats.voc",
    "coco": "vision.formats.coco",
    "yolo": "vision.formats.yolo",
    "scenes": "vision.formats.scenes",
    "imagefolder": "vision.formats.imagefolder",
    "digits": "vision.formats.digits",
}
"""The module of each format, imported when it is used."""

LABELS_ONLY = ("imagefolder", "digits")
"""Formats that give an image one class and no box; to checks and counts it is one object that fills the image."""

AnyData = VocData | CocoData | YoloData | ScenesData | ImageFolderData | DigitsData


def known_splits(data: AnyData) -> tuple[str, ...]:
    """List the splits of a data set, downloading it if it is missing and can be.

    Returns:
        at least one name; train, val and test first.

    Raises:
        DataError: if the folder is missing or shows no split of its format.
    """
    ensure_present(data)
    splits: tuple[str, ...] = _reader(data).splits(data)
    if not splits:
        require_folder(place(data))
        reason = f"no split found here; `format: {data.format}` expects {_reader(data).EXPECTED}"
        raise FaultError(reason, "missing_file", place(data))
    return splits


def read_dataset(data: AnyData, split: str) -> Dataset:
    """Read and check one split with boxes; like `read_split`, but a data set without boxes is refused.

    Raises:
        DataError: as `read_split` does; or if the format has labels only.
    """
    if data.format in LABELS_ONLY:
        raise DataError(
            f"a data set with `format: {data.format}` ({place(data)}) gives every image a class and no boxes, so that "
            "nothing can be detected in it; use it with `task: classification`, or give a data set with boxes"
        )
    return read_split(data, split)


def read_split(data: AnyData, split: str) -> Dataset:
    """Read and check one split, downloading it if it is missing and can be. No pixels are decoded.

    Returns:
        records with contiguous ids; with `on_error: quarantine`, `faults` tells what was left out.

    Raises:
        DataError: if the split as a whole cannot be read; or if anything in it is faulty and `on_error` is `refuse`,
            with the first ten faults; or if nothing is left.
    """
    dataset = survey(data, split)
    if data.on_error == "refuse":
        refuse(dataset.faults, f"split {split!r} of the data set at {place(data)}")
    if not dataset.records:
        reason = f"of split {split!r} no image is left: all {len(dataset.faults)} were faulty"
        raise FaultError(reason, "no_images", place(data))
    return replace(dataset, faults=tuple(fault for fault in dataset.faults if fault.is_fatal))


def survey(data: AnyData, split: str, find_duplicates: bool = False) -> Dataset:
    """Read one split whatever its faults; `faults` has all of them, those that are only reported included."""
    raw = read_raw(data, split)
    return assemble(raw, find_duplicates) if isinstance(raw, RawSplit) else raw


def read_raw(data: AnyData, split: str) -> RawSplit | Dataset:
    """Read one split unchecked; generated data comes as finished records."""
    ensure_present(data)
    return _reader(data).read(data, split)


def place(data: AnyData) -> Path:
    """Name the folder or file by which a user knows the data set."""
    if data.root is not None:
        return data.root
    if isinstance(data, CocoData) and data.splits:
        return next(iter(data.splits.values())).annotations.parent
    return Path(data.format)


def _reader(data: AnyData) -> Any:
    return importlib.import_module(FORMATS[data.format])
