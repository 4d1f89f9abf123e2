"""From any format with boxes to a folder in VOC, COCO or YOLO layout: classes in order, splits kept."""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vision.formats import AnyData, read_dataset
from vision.formats.target import num_faults, plan_target, write_folder
from vision.record import Dataset

WRITERS: dict[str, str] = {
    "voc": "vision.formats.write_voc",
    "coco": "vision.formats.write_coco",
    "yolo": "vision.formats.write_yolo",
}
"""The module that writes each format, imported when it is used."""


def convert(data: AnyData, splits: Sequence[str], to: str, out: Path, *, is_copied: bool = False) -> dict[str, Any]:
    """Write splits of a data set in another format.

    What is read back has the same classes in the same order and the same boxes, to the last bit of their float32; what
    the format cannot hold is left out and counted. Masks are not carried over. With `on_error: quarantine`, faulty
    images and boxes are left out as in training.

    Args:
        data: the data set.
        splits: names, at least one.
        to: one of `WRITERS`.
        out: a new or empty folder.
        is_copied: copy the image files; otherwise they are linked to where they lie.

    Returns:
        `data`: the settings that read the result; `splits`: images and objects of each; `lost`: objects that the
        format cannot hold, by reason; `faulty`: what was left out as faulty.

    Raises:
        DataError: if a split cannot be read or has no boxes, or the folder cannot be written.
    """
    datasets = {split: read_dataset(data, split) for split in splits}
    target = plan_target(datasets, is_copied)
    write_folder(out, lambda folder: importlib.import_module(WRITERS[to]).write(target, folder))
    return {
        "data": {"format": to, "root": str(out), "classes": list(target.classes)},
        "splits": _counts(datasets),
        "lost": dict(target.lost),
        "faulty": num_faults(datasets.values()),
    }


def _counts(datasets: Mapping[str, Dataset]) -> dict[str, dict[str, int]]:
    return {
        split: {
            "images": len(dataset.records),
            "objects": sum(len(record.labels) for record in dataset.records),
        }
        for split, dataset in datasets.items()
    }
