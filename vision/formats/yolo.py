"""YOLO text labels: one `.txt` per image, `class cx cy w h` or `class x1 y1 x2 y2 x3 y3 …` in shares of the image.

A split is found by the `data.yaml` in the root, or else as `images/SPLIT` with `labels/SPLIT`, or `SPLIT/images`
with `SPLIT/labels`. An image without a label file is background.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from vision.faults import FaultError
from vision.formats.raw import RawImage, RawObject, RawSplit, in_order, require_folder, require_split, unique_names
from vision.image_header import IMAGE_SUFFIXES, find_images
from vision.record import Fault
from vision.settings import YoloData

EXPECTED = "a data.yaml, images/SPLIT with labels/SPLIT, or SPLIT/images with SPLIT/labels"

_YAML_NAMES = ("data.yaml", "data.yml", "dataset.yaml")
_YAML_SPLITS = ("train", "val", "test")
_NAME_LISTS = ("classes.txt", "obj.names")
_BOX_NUMBERS = 4
_LEAST_POLYGON_NUMBERS = 6


@dataclass(frozen=True, slots=True)
class _Picture:
    """An image file and how it is called within its split."""

    path: Path
    relative: str


def splits(data: YoloData) -> tuple[str, ...]:
    """List the splits that the `data.yaml` names or, without one, the folders show."""
    content = _load_yaml(data.root)
    named = [split for split in _YAML_SPLITS if content.get(split)]
    own = {split for split, place in content.items() if place in (f"images/{split}", f"{split}.txt")}
    named += sorted(own - set(named))
    if named:
        return tuple(named)
    nested = {path.name for path in (data.root / "images").glob("*") if path.is_dir()}
    return in_order(nested | {path.parent.name for path in data.root.glob("*/images") if path.is_dir()})


def read(data: YoloData, split: str) -> RawSplit:
    """Read one split; classes are those of the `data.yaml`, a `classes.txt` or, without them, `data.classes`.

    Where both are given, labels go by name and have the order of `data.classes`.

    Raises:
        DataError: if the folders, the split, the class names, all images or all labels are missing.
    """
    require_folder(data.root)
    require_split(split, splits(data), data.root)
    names, names_file = names_in_files(data)
    pictures = _pictures(data.root, split)
    if not pictures:
        raise FaultError(f"split {split!r} holds no image", "no_images", data.root)
    labels = [_label_path(data.root, picture.path) for picture in pictures]
    if not any(path.is_file() for path in labels):
        reason = f"split {split!r} has {len(pictures)} images and not one label file; looked for {labels[0]}"
        raise FaultError(reason, "missing_file", data.root)
    short_names = unique_names(picture.relative for picture in pictures)
    raw = RawSplit(classes=data.classes or tuple(dict.fromkeys(names)), images=[])
    raw.files = (names_file,) if names_file else ()
    for picture, label in zip(pictures, labels, strict=True):
        image = RawImage(short_names[picture.relative], picture.path, label, is_relative=True)
        _read_labels(image, names, raw)
        raw.images.append(image)
    raw.faults += _labels_without_image(labels)
    return raw


def _yaml_path(root: Path) -> Path | None:
    return next((path for name in _YAML_NAMES if (path := root / name).is_file()), None)


def _load_yaml(root: Path) -> dict[str, Any]:
    """Load the data set's own YAML; empty when there is none."""
    path = _yaml_path(root)
    if path is None:
        return {}
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise FaultError(f"this file is not YAML: {error}", path=path) from error
    if not isinstance(content, dict):
        raise FaultError("this file should hold `names` and the folders of the splits", path=path)
    return content


def names_in_files(data: YoloData) -> tuple[tuple[str, ...], Path | None]:
    """Return the class name of each number in the label files, and the file that says so."""
    content = _load_yaml(data.root)
    if "names" in content:
        path = _yaml_path(data.root)
        names = content["names"]
        if isinstance(names, list):
            names = dict(enumerate(names))
        if not isinstance(names, dict) or set(names) != set(range(len(names))):
            raise FaultError("`names` should be a list, or a mapping from 0, 1, 2 … to names", path=path)
        return tuple(str(names[number]) for number in range(len(names))), path
    for file in _NAME_LISTS:
        path = data.root / file
        if path.is_file():
            lines = path.read_text(encoding="utf-8").splitlines()
            return tuple(line.strip() for line in lines if line.strip()), path
    if data.classes is None:
        reason = "no data.yaml with `names` and no classes.txt here; give the data set `classes`"
        raise FaultError(reason, "missing_file", data.root)
    return data.classes, _yaml_path(data.root)


def _pictures(root: Path, split: str) -> list[_Picture]:
    """List a split's images in a fixed order."""
    content = _load_yaml(root)
    entries = content.get(split)
    if not entries:
        nested = root / "images" / split
        return _in_folder(nested if nested.is_dir() else root / split / "images")
    base = root / str(content.get("path") or "")
    pictures: list[_Picture] = []
    for entry in entries if isinstance(entries, list) else [entries]:
        place = _resolve(str(entry), root, base)
        pictures += _in_list(place) if place.suffix == ".txt" else _in_folder(place)
    return pictures


def _resolve(entry: str, root: Path, base: Path) -> Path:
    """Find a split's place: below `path`, below the root, or `../X` that means `X`, as some exports write it."""
    candidates = [base / entry, root / entry, root / entry.removeprefix("../")]
    for candidate in candidates:
        if candidate.exists():
            return candidate
    looked = ", ".join(str(candidate) for candidate in dict.fromkeys(candidates))
    raise FaultError(f"its YAML names {entry!r}, which does not exist; looked for {looked}", "missing_file", root)


def _in_folder(folder: Path) -> list[_Picture]:
    if not folder.is_dir():
        raise FaultError("this folder of images does not exist", "missing_file", folder)
    paths = find_images(folder, recursive=True)
    if not paths:
        raise FaultError("this folder holds no image", "no_images", folder)
    return [_Picture(path, path.relative_to(folder).as_posix()) for path in paths]


def _in_list(path: Path) -> list[_Picture]:
    """List the images that a text file names, one a line, relative to the file."""
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    return [_Picture(path.parent / line, line.removeprefix("./")) for line in lines if line]


def _label_path(root: Path, image: Path) -> Path:
    """Swap the innermost folder `images` below the root for `labels`, and the suffix for `.txt`."""
    parts = list(image.parts)
    inside = len(root.parts)
    for position in range(len(parts) - 2, 0, -1):
        if parts[position] == "images" and (position >= inside or not image.is_relative_to(root)):
            parts[position] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def _read_labels(image: RawImage, names: tuple[str, ...], raw: RawSplit) -> None:
    """Add the objects of one label file to `image`, or the faults that keep them out."""
    try:
        lines = image.annotation.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return
    except (OSError, UnicodeDecodeError) as error:
        message = f"this label file cannot be read: {error}"
        raw.faults.append(Fault("broken_annotation", image.annotation, message, image.name))
        return
    for index, line in enumerate(line for line in lines if line.strip()):
        try:
            image.objects.append(_object(line.split(), index, names))
        except ValueError as error:
            message = f"object #{index}: {error}"
            raw.faults.append(Fault("broken_annotation", image.annotation, message, image.name, index))


def _object(texts: list[str], index: int, names: tuple[str, ...]) -> RawObject:
    """Convert one line.

    Raises:
        ValueError: if it is neither a box nor a polygon.
    """
    count = len(texts) - 1
    is_polygon = count >= _LEAST_POLYGON_NUMBERS and count % 2 == 0
    if count != _BOX_NUMBERS and not is_polygon:
        raise ValueError(f"expected `class cx cy w h`, or a polygon of three or more points, not {' '.join(texts)!r}")
    try:
        number, *values = (float(text) for text in texts)
    except ValueError:
        raise ValueError(f"expected numbers, not {' '.join(texts)!r}") from None
    if not math.isfinite(number) or number != int(number):
        raise ValueError(f"the class should be a whole number, not {texts[0]}")
    known = 0 <= number < len(names)
    name = names[int(number)] if known else f"class {int(number)} of 0 … {len(names) - 1}"
    if is_polygon:
        xs, ys = values[0::2], values[1::2]
        box = (min(xs), min(ys), max(xs), max(ys))
        return RawObject(box, tuple(values), name, index, area=_polygon_area(xs, ys))
    cx, cy, width, height = values
    box = (cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2)
    return RawObject(box, tuple(values), name, index)


def _polygon_area(xs: list[float], ys: list[float]) -> float:
    """Compute the area of a simple polygon by the shoelace formula."""
    turned = zip(xs, ys, xs[1:] + xs[:1], ys[1:] + ys[:1], strict=True)
    return abs(sum(x * next_y - next_x * y for x, y, next_x, next_y in turned)) / 2


def _labels_without_image(labels: list[Path]) -> list[Fault]:
    """Report label files in the same folders that no image belongs to; they do no harm to training."""
    expected = set(labels)
    faults = []
    for folder in sorted({label.parent for label in labels}):
        for path in sorted(folder.glob("*.txt")):
            if path not in expected and path.name not in _NAME_LISTS:
                message = f"this label file has no image ({', '.join(sorted(IMAGE_SUFFIXES))})"
                faults.append(Fault("missing_file", path, message, path.stem, is_fatal=False))
    return faults
