"""Objects' outlines from COCO files, read only when they are asked for: a large data set's would fill the memory."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vision.boxes import clip_boxes
from vision.formats import AnyData, coco
from vision.record import Record
from vision.scenes.reader import check_split
from vision.scenes.storage import annotation_path, image_folder
from vision.settings import CocoData, ScenesData


def read_outlines(
    data: AnyData, split: str, records: Sequence[Record], wanted: Sequence[np.ndarray]
) -> list[dict[int, Any]] | None:
    """Read the `segmentation` of objects that were read before.

    Args:
        data: the data set that `records` come from; its files were checked when they were read.
        split: which of its splits.
        records: its images.
        wanted: per record (N,) bool, which of its objects.

    Returns:
        Per record the outline of each wanted object that has one, by its row among the boxes; see
        `vision.outlines.mask_from_outline`. None where the format has none.
    """
    place = _place(data, split)
    if place is None:
        return None
    path, folder = place
    content = json.loads(path.read_bytes())
    index_of = {record.path: index for index, record in enumerate(records)}
    index_of_id = {image.get("id"): index_of.get(folder / str(image.get("file_name"))) for image in content["images"]}
    found: list[dict[int, Any]] = [{} for _ in records]
    for annotation in content.get("annotations", ()):
        index = index_of_id.get(annotation.get("image_id"))
        if index is None or not annotation.get("segmentation"):
            continue
        row = _row(annotation, records[index])
        if row is not None and wanted[index][row]:
            found[index][row] = annotation["segmentation"]
    return found


def _place(data: AnyData, split: str) -> tuple[Path, Path] | None:
    """The annotation file and the folder of images of a split."""
    if isinstance(data, CocoData):
        return coco.place_of(data, split)
    if isinstance(data, ScenesData):
        checked = check_split(split)
        return annotation_path(data, checked), image_folder(data, checked)
    return None


def _row(annotation: dict[str, Any], record: Record) -> int | None:
    """Find an annotation among a record's boxes, which were made from the same numbers; None if it was left out."""
    try:
        x, y, width, height = (float(number) for number in annotation["bbox"])
    except (KeyError, TypeError, ValueError):
        return None
    box = clip_boxes(np.array([[x, y, x + width, y + height]]), record.image_size).astype(np.float32)
    rows = np.flatnonzero(np.isclose(record.boxes, box, atol=1e-3).all(axis=1))
    return int(rows[0]) if len(rows) else None
