"""Scenes as records: boxes and labels for the tasks, and the instance masks for who wants them."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from foundation.errors import DataError
from vision.file_stamp import stamps_of
from vision.record import Dataset, Record
from vision.scenes.digits import CLASSES, SPLITS, Split
from vision.scenes.rle import mask_from_rle
from vision.scenes.storage import annotation_path, ensure_scenes, image_folder, scenes_folder
from vision.settings import ScenesData


def read_scenes(data: ScenesData, split: str) -> Dataset:
    """Read one split, generating all of them first if need be (some ten seconds for 400 images, once).

    Raises:
        DataError: an unknown split, `classes` that are not the ten, or generated files that were damaged.
    """
    checked = check_split(split)
    classes = _checked_classes(data)
    ensure_scenes(data)
    document = _read_document(data, checked)
    label_of = {category["id"]: classes.index(category["name"]) for category in document["categories"]}
    per_image: dict[int, list[dict[str, Any]]] = {image["id"]: [] for image in document["images"]}
    for annotation in document["annotations"]:
        per_image[annotation["image_id"]].append(annotation)
    records = []
    for sample_id, image in enumerate(document["images"]):
        path = image_folder(data, checked) / image["file_name"]
        if not path.is_file():
            raise _damaged(data, path)
        records.append(_record(sample_id, image, per_image[image["id"]], path, label_of))
    return Dataset(classes=classes, records=tuple(records))


def read_masks(data: ScenesData, split: str, sample_id: int) -> np.ndarray:
    """Read one image's instance masks, (N, H, W) bool, in the order of its record's boxes."""
    ensure_scenes(data)
    document = _read_document(data, check_split(split))
    image = document["images"][sample_id]
    masks = [mask_from_rle(item["segmentation"]) for item in document["annotations"] if item["image_id"] == image["id"]]
    return np.array(masks, dtype=bool).reshape(-1, image["height"], image["width"])


def check_split(split: str) -> Split:
    """Return a split's name if scenes have it.

    Raises:
        DataError: otherwise, with the known ones.
    """
    for known in SPLITS:
        if split == known:
            return known
    raise DataError(f"split {split!r} was asked of `scenes`, which has only {', '.join(SPLITS)}; mend `split`.")


def _checked_classes(data: ScenesData) -> tuple[str, ...]:
    if data.classes is None:
        return CLASSES
    if sorted(data.classes) != sorted(CLASSES):
        raise DataError(
            f"`classes` of a `scenes` data set is {list(data.classes)}, expected the ten digits {list(CLASSES)} in any "
            "order: they stand in every picture. Leave `classes` out, or list all ten."
        )
    return data.classes


@lru_cache(maxsize=len(SPLITS))
def _parse_document(path: Path, mtime_ns: int) -> dict[str, Any]:  # noqa: ARG001 - the time only keys the cache
    return json.loads(path.read_text(encoding="utf-8"))


def _read_document(data: ScenesData, split: Split) -> dict[str, Any]:
    path = annotation_path(data, split)
    try:
        return _parse_document(path, path.stat().st_mtime_ns)
    except (OSError, ValueError) as error:
        raise _damaged(data, path) from error


def _damaged(data: ScenesData, path: Path) -> DataError:
    return DataError(
        f"{path} of the generated `scenes` is missing or unreadable, expected it as it was made; "
        f"delete the folder {scenes_folder(data)} and the scenes are generated anew."
    )


def _record(
    sample_id: int, image: dict[str, Any], annotations: list[dict[str, Any]], path: Path, label_of: dict[int, int]
) -> Record:
    boxes = np.array([item["bbox"] for item in annotations], dtype=np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return Record(
        sample_id=sample_id,
        name=path.stem,
        path=path,
        image_size=(image["height"], image["width"]),
        boxes=boxes,
        labels=np.array([label_of[item["category_id"]] for item in annotations], dtype=np.int64),
        iscrowd=np.array([item["iscrowd"] for item in annotations], dtype=bool),
        area=np.array([item["area"] for item in annotations], dtype=np.float64),
        files=stamps_of((path,)),
    )
