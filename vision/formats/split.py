"""A data set dealt into new splits: lists and links in a new folder; no image is moved, no annotation rewritten."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from foundation.errors import ConfigError, DataError
from vision.formats import AnyData, coco, known_splits, read_split, yolo
from vision.formats.stratify import group_keys, stratify
from vision.formats.target import Target, num_faults, plan_target, write_folder
from vision.record import Dataset, Record
from vision.settings import CocoData, DigitsData, ImageFolderData, ScenesData, VocData, YoloData


def split(
    data: AnyData, shares: Mapping[str, float], out: Path, *, group: str | None = None, seed: int = 0
) -> dict[str, Any]:
    """Deal all images of a data set into new splits, by class and by group.

    Args:
        data: the data set; its own splits play no part.
        shares: of each new split by its name; brought to a sum of 1.
        out: a new or empty folder for the lists.
        group: see `group_keys`: images that belong together, such as those of one patient or one video.
        seed: the same seed gives the same splits.

    Returns:
        `data`: the settings that read the result; `splits`: per split `images`, `groups` and objects per class;
        `without_group`: images whose name the pattern does not match.

    Raises:
        ConfigError: if the shares or the pattern are wrong, or the data set is generated.
        DataError: if the data set cannot be read, has fewer groups than splits, or the folder cannot be written.
    """
    if isinstance(data, ScenesData):
        raise ConfigError("`format: scenes` is generated with its splits; `data convert` it first, then split that")
    _require_shares(shares)
    records, classes, num_faulty = _all_records(data)
    keys, without_group = group_keys([record.name for record in records], group)
    numbers = {key: index for index, key in enumerate(dict.fromkeys(keys))}
    group_of = np.array([numbers[key] for key in keys])
    counts = np.zeros((len(numbers), 1 + len(classes)), np.int64)
    for row, record in zip(group_of, records, strict=True):
        counts[row, 0] += 1
        counts[row, 1:] += np.bincount(record.labels, minlength=len(classes))
    total = sum(shares.values())
    part_of = stratify(counts, [share / total for share in shares.values()], seed)[group_of]
    if len(set(part_of.tolist())) < len(shares):
        raise DataError(
            f"{len(records)} images in {len(numbers)} groups leave a split of {', '.join(shares)} empty. Give fewer "
            "splits, larger shares, or a `--group` that makes smaller groups."
        )
    parts = {
        name: Dataset(classes, tuple(record for record, own in zip(records, part_of, strict=True) if own == index))
        for index, name in enumerate(shares)
    }
    target = plan_target(parts, is_copied=False)
    write_folder(out, lambda folder: _write(data, target, folder))
    return {
        "data": _settings(data, out, classes),
        "splits": {
            name: {
                "images": len(part.records),
                "groups": len(set(group_of[part_of == index].tolist())),
                "classes": _class_counts(part),
            }
            for index, (name, part) in enumerate(parts.items())
        },
        "without_group": without_group,
        "faulty": num_faulty,
    }


def _require_shares(shares: Mapping[str, float]) -> None:
    wrong = [name for name, share in shares.items() if not 0 < share < float("inf")]
    if len(shares) < 2 or wrong:
        given = ", ".join(f"{name}={share:g}" for name, share in shares.items()) or "none"
        raise ConfigError(f"expected two or more splits with shares above 0, such as train=0.8,val=0.2; got {given}")


def _all_records(data: AnyData) -> tuple[list[Record], tuple[str, ...], int]:
    """Read every split; an image in several of them counts once."""
    datasets = [read_split(data, name) for name in known_splits(data)]
    records = {record.path.resolve(): record for dataset in datasets for record in dataset.records}
    return list(records.values()), datasets[0].classes, num_faults(datasets)


def _class_counts(part: Dataset) -> dict[str, int]:
    counts = Counter(int(label) for record in part.records for label in record.labels)
    return {name: counts[label] for label, name in enumerate(part.classes)}


def _settings(data: AnyData, out: Path, classes: tuple[str, ...]) -> dict[str, Any]:
    name = "imagefolder" if isinstance(data, DigitsData) else data.format
    kept = {"on_error": data.on_error} if data.on_error != "refuse" else {}  # faulty boxes stay in the annotations
    return {"format": name, "root": str(out), "classes": list(classes), **kept}


def _write(data: AnyData, target: Target, root: Path) -> None:
    if isinstance(data, VocData):
        _write_voc(data, target, root)
    elif isinstance(data, YoloData):
        _write_yolo(data, target, root)
    elif isinstance(data, CocoData):
        _write_coco(data, target, root)
    else:
        assert isinstance(data, ImageFolderData | DigitsData), f"no lists for {data.format}"
        for name, pairs in target.splits.items():
            for stem, record in pairs:
                folder = target.classes[int(record.labels[0])]
                target.put_image(record, root / name / folder / f"{stem}{record.path.suffix}")


def _write_voc(data: VocData, target: Target, root: Path) -> None:
    """Lists of stems beside links to the folders of images and annotations."""
    for folder in ("Annotations", "JPEGImages"):
        (root / folder).symlink_to((data.root / folder).resolve(), target_is_directory=True)
    (root / "ImageSets" / "Main").mkdir(parents=True)
    for name, pairs in target.splits.items():
        lines = "".join(f"{record.name}\n" for _, record in pairs)
        (root / "ImageSets" / "Main" / f"{name}.txt").write_text(lines)


def _write_yolo(data: YoloData, target: Target, root: Path) -> None:
    """Lists of image files, which lie where they lay, with their labels beside them."""
    names, _ = yolo.names_in_files(data)
    content: dict[str, Any] = {name: f"{name}.txt" for name in target.splits}
    for name, pairs in target.splits.items():
        (root / f"{name}.txt").write_text("".join(f"{record.path.absolute()}\n" for _, record in pairs))
    content["names"] = dict(enumerate(names))
    (root / "data.yaml").write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")


def _write_coco(data: CocoData, target: Target, root: Path) -> None:
    """The entries of each image as they stand, masks included, under new ids; images are linked."""
    entries = coco.entries_by_image(data)
    (root / "annotations").mkdir()
    for name, pairs in target.splits.items():
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for stem, record in pairs:
            file_name = f"{stem}{record.path.suffix}"
            target.put_image(record, root / "images" / name / file_name)
            image, objects = entries.images[record.path]
            images.append({**image, "id": len(images) + 1, "file_name": file_name})
            for item in objects:
                annotations.append({**item, "id": len(annotations) + 1, "image_id": len(images)})
        content = {"images": images, "annotations": annotations, "categories": entries.categories}
        (root / "annotations" / f"instances_{name}.json").write_text(json.dumps(content))
