"""COCO instances JSON: boxes, crowds and areas; ids may have gaps and 64 bits. Masks are not read here.

Source: Lin et al. 2014, arXiv:1405.0312; data format as on the data set's own site.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

from foundation.errors import ConfigError
from vision.faults import FaultError
from vision.formats.raw import RawImage, RawObject, RawSplit, in_order, require_folder, require_split, unique_names
from vision.record import Fault
from vision.settings import CocoData, CocoSplit

EXPECTED = "annotations/instances_SPLIT.json and SPLIT/, or `splits` that name both"

_PREFIX = "instances_"
_ROBOFLOW = "_annotations.coco.json"


def splits(data: CocoData) -> tuple[str, ...]:
    """List the splits."""
    return in_order(_layout(data))


def read(data: CocoData, split: str) -> RawSplit:
    """Read one split; classes follow the category ids of all splits unless `data.classes` gives them.

    Images without annotations are kept.

    Raises:
        DataError: if the JSON or the split is missing, cannot be understood, or holds no image.
    """
    layout = _layout(data)
    place = data.root or Path("data.splits")
    if data.root is not None and data.splits is None:
        require_folder(data.root)
    require_split(split, in_order(layout), place)
    path, folder = layout[split].annotations, layout[split].images
    content = _load(path)
    if not content["images"]:
        raise FaultError("this file lists no image", "no_images", path)
    if not folder.is_dir():
        raise FaultError("this folder of images does not exist", "missing_file", folder)
    name_of_category = _categories(content["categories"], path)
    raw = RawSplit(classes=(), images=[], files=(path,))
    images = _images(content["images"], path, folder, raw)
    for index, annotation in enumerate(content["annotations"]):
        _add_object(annotation, index, images, name_of_category, raw)
    raw.classes = data.classes or _all_classes(name_of_category, path, layout)
    return raw


def place_of(data: CocoData, split: str) -> tuple[Path, Path]:
    """The annotation file and the folder of images of a split that was read before."""
    files = _layout(data)[split]
    return files.annotations, files.images


class Entries(NamedTuple):
    """What the files of all splits say, as it stands there."""

    images: dict[Path, tuple[dict[str, Any], list[dict[str, Any]]]]
    """By image file its entry and those of its objects."""
    categories: list[dict[str, Any]]


def entries_by_image(data: CocoData) -> Entries:
    """Gather the entries of sound files; an image that several splits list counts once.

    Raises:
        DataError: if a file cannot be understood.
    """
    images: dict[Path, tuple[dict[str, Any], list[dict[str, Any]]]] = {}
    categories: dict[int, dict[str, Any]] = {}
    for path, folder in ((split.annotations, split.images) for split in _layout(data).values()):
        content = _load(path)
        objects: dict[int, list[dict[str, Any]]] = {}
        for item in content["annotations"]:
            objects.setdefault(int(item["image_id"]), []).append(item)
        for image in content["images"]:
            images.setdefault(folder / image["file_name"], (image, objects.get(int(image["id"]), [])))
        for category in content["categories"]:
            categories.setdefault(int(category["id"]), category)
    return Entries(images, [categories[key] for key in sorted(categories)])


def _layout(data: CocoData) -> dict[str, CocoSplit]:
    """Find the annotation file and the image folder of every split."""
    if data.splits is not None:
        return dict(data.splits)
    if data.root is None:
        raise ConfigError("a data set with `format: coco` needs `root`, or `splits` with `annotations` and `images`")
    found = {}
    for path in sorted((data.root / "annotations").glob(f"{_PREFIX}*.json")):
        split = path.stem.removeprefix(_PREFIX)
        nested = data.root / "images" / split
        found[split] = CocoSplit(annotations=path, images=nested if nested.is_dir() else data.root / split)
    for path in sorted(data.root.glob(f"*/{_ROBOFLOW}")):
        found.setdefault(path.parent.name, CocoSplit(annotations=path, images=path.parent))
    return found


def _load(path: Path) -> dict[str, Any]:
    """Load a COCO file and check that its three lists are there; a file without annotations has an empty one."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise FaultError("this annotation file does not exist", "missing_file", path) from error
    if not data.strip():
        raise FaultError("this annotation file is empty", "empty_annotation", path)
    try:
        content = json.loads(data)
    except ValueError as error:
        raise FaultError(f"this annotation file is not JSON: {error}", "broken_annotation", path) from error
    if isinstance(content, dict):
        content.setdefault("annotations", [])
    for key in ("images", "annotations", "categories"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise FaultError(f"a COCO instances file should hold a list {key!r}", "broken_annotation", path)
    return content


def _categories(entries: list[Any], path: Path) -> dict[int, str]:
    """Map category ids to names, by rising id."""
    try:
        names = {int(entry["id"]): str(entry["name"]) for entry in entries}
    except (KeyError, TypeError, ValueError) as error:
        raise FaultError("every entry of 'categories' should have an id and a name", path=path) from error
    if len(names) < len(entries):
        raise FaultError("two entries of 'categories' have the same id", path=path)
    return dict(sorted(names.items()))


def _all_classes(own: dict[int, str], path: Path, layout: dict[str, CocoSplit]) -> tuple[str, ...]:
    """Join the categories of all splits by id, so that every split gives the same labels.

    Raises:
        DataError: if two splits give one id different names.
    """
    joined = dict(own)
    for other in layout.values():
        if other.annotations == path:
            continue
        for category, name in _peek_categories(other.annotations).items():
            if joined.setdefault(category, name) != name:
                reason = (
                    f"category {category} is {joined[category]!r} here and {name!r} in {other.annotations}; "
                    "make them agree, or give the data set `classes`"
                )
                raise FaultError(reason, path=path)
    return tuple(dict.fromkeys(joined[category] for category in sorted(joined)))


def _peek_categories(path: Path) -> dict[int, str]:
    """Read only the categories of a file, which may be large; none when it is broken (its own split says so)."""
    key = '"categories"'
    try:
        text = path.read_text(encoding="utf-8")
        start = text.index("[", text.rindex(key) + len(key))
        entries, _ = json.JSONDecoder().raw_decode(text, start)
        return _categories(entries, path)
    except (OSError, ValueError, FaultError):
        return {}


def _images(entries: list[Any], path: Path, folder: Path, raw: RawSplit) -> dict[int, RawImage]:
    """Add the images in the order of the file and return them by id."""
    files = [entry["file_name"] for entry in entries if isinstance(entry, dict) and "file_name" in entry]
    names = unique_names(dict.fromkeys(str(file) for file in files))
    images: dict[int, RawImage] = {}
    for position, entry in enumerate(entries):
        try:
            key, file = int(entry["id"]), str(entry["file_name"])
            size = int(entry.get("height") or 0), int(entry.get("width") or 0)
        except (KeyError, TypeError, ValueError, AttributeError):
            message = f"entry {position} of 'images' should have an id and a file_name"
            raw.faults.append(Fault("broken_annotation", path, message))
            continue
        if key in images or names.get(file) is None:
            message = f"entry {position} of 'images' repeats id {key} or file {file!r}; the first one counts"
            raw.faults.append(Fault("broken_annotation", path, message, file))
            continue
        images[key] = RawImage(names.pop(file), folder / file, path, claimed_size=size if min(size) > 0 else None)
    raw.images = list(images.values())
    return images


def _add_object(
    annotation: Any, index: int, images: dict[int, RawImage], name_of_category: dict[int, str], raw: RawSplit
) -> None:
    """Add one annotation to its image, or the fault that keeps it out."""
    image: RawImage | None = None
    try:
        image = images.get(int(annotation["image_id"]))
        if image is None:
            raise ValueError(f"its image_id {annotation['image_id']} is not among 'images'")
        category = int(annotation["category_id"])
        x, y, width, height = (float(number) for number in annotation["bbox"])
        area = None if annotation.get("area") is None else float(annotation["area"])
        is_crowd = bool(annotation.get("iscrowd", 0))
    except (KeyError, TypeError, ValueError) as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        message = f"entry {index} of 'annotations' cannot be understood: {reason}"
        raw.faults.append(Fault("broken_annotation", raw.files[0], message, image.name if image else "", index))
        return
    name = name_of_category.get(category, f"category {category}")
    box = (x, y, x + width, y + height)
    image.objects.append(RawObject(box, (x, y, width, height), name, index, is_crowd, area))
