"""Pascal VOC: `Annotations/*.xml`, `JPEGImages/`, `ImageSets/Main/SPLIT.txt`.

Without any list in `ImageSets/Main` all annotations are one split, called `all`.
Coordinates in the files are 1-based and include the last pixel: pixel k spans [k - 1, k] of ours.
Source: Everingham et al. 2010, "The Pascal Visual Object Classes Challenge"; development kit, section "Annotation".
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from vision.faults import FaultError
from vision.formats.raw import RawImage, RawObject, RawSplit, in_order, require_folder, require_split
from vision.image_header import find_images
from vision.record import Fault
from vision.settings import VocData

WHOLE = "all"
"""Name of the only split of a data set without `ImageSets/Main`."""

EXPECTED = "Annotations/, JPEGImages/ and ImageSets/Main/SPLIT.txt"

_CORNERS = ("xmin", "ymin", "xmax", "ymax")


class _Claim(NamedTuple):
    """Where an annotation says that its image lies; empty = not said."""

    image: RawImage
    folder: str
    file: str


def splits(data: VocData) -> tuple[str, ...]:
    """List the splits; VOC's own lists per class (`cat_train.txt` beside `train.txt`) are none."""
    lists = sorted(path.stem for path in _lists_folder(data.root).glob("*.txt"))
    if not lists:
        return (WHOLE,) if (data.root / "Annotations").is_dir() else ()
    return in_order(name for name in lists if not any(name.endswith(f"_{other}") for other in lists))


def read(data: VocData, split: str) -> RawSplit:
    """Read one split; classes are sorted by name over all splits unless `data.classes` gives them.

    Raises:
        DataError: if the folders, the split or all images are missing.
    """
    _require_layout(data.root)
    require_split(split, splits(data), data.root)
    pictures = find_images(data.root / "JPEGImages")
    if not pictures:
        raise FaultError("this folder holds no image", "no_images", data.root / "JPEGImages")
    by_stem = {path.stem: path for path in pictures}
    stems = _stems(data.root, split)
    if not stems:
        raise FaultError("this split lists no image", "no_images", _list_path(data.root, split))
    raw = RawSplit(classes=(), images=[], files=_split_files(data.root, split))
    claims: list[_Claim] = []
    for stem in dict.fromkeys(stems):
        claims += _read_one(data.root, stem, by_stem, raw)
    raw.faults += _stray_fields(claims)
    raw.faults += _listed_twice(stems, _list_path(data.root, split))
    raw.classes = data.classes or _all_classes(data, split, raw)
    return raw


def _lists_folder(root: Path) -> Path:
    return root / "ImageSets" / "Main"


def _list_path(root: Path, split: str) -> Path:
    return _lists_folder(root) / f"{split}.txt"


def _split_files(root: Path, split: str) -> tuple[Path, ...]:
    path = _list_path(root, split)
    return (path,) if path.is_file() else ()


def _require_layout(root: Path) -> None:
    require_folder(root)
    for folder in ("Annotations", "JPEGImages"):
        if not (root / folder).is_dir():
            reason = f"no folder {folder!r} here; `format: voc` expects {EXPECTED}"
            raise FaultError(reason, "missing_file", root)


def _stems(root: Path, split: str) -> list[str]:
    """List the file stems of a split, in the order of its list."""
    path = _list_path(root, split)
    if not path.is_file():
        return sorted(xml.stem for xml in (root / "Annotations").glob("*.xml"))
    return [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]


def _listed_twice(stems: list[str], path: Path) -> list[Fault]:
    seen: set[str] = set()
    faults = []
    for stem in stems:
        if stem in seen:
            message = f"{stem!r} is listed more than once; it counts once"
            faults.append(Fault("broken_annotation", path, message, name=stem))
        seen.add(stem)
    return faults


def _read_one(root: Path, stem: str, by_stem: dict[str, Path], raw: RawSplit) -> list[_Claim]:
    """Add the image `stem` to `raw`, or the fault that keeps it out; returns what its annotation says of its place."""
    annotation = root / "Annotations" / f"{stem}.xml"
    try:
        tree = _parse(annotation)
        path = by_stem.get(stem) or root / "JPEGImages" / (tree.findtext("filename") or f"{stem}.jpg").strip()
        image = RawImage(stem, path, annotation, claimed_size=_claimed_size(tree))
    except FaultError as error:
        raw.faults.append(error.fault(stem))
        return []
    for index, node in enumerate(tree.findall("object")):
        try:
            image.objects.append(_object(node, index))
        except ValueError as error:
            raw.faults.append(Fault("broken_annotation", annotation, f"object #{index}: {error}", stem, index))
    raw.images.append(image)
    folder, file = ((tree.findtext(field) or "").strip() for field in ("folder", "path"))
    return [_Claim(image, folder, file)]


def _stray_fields(claims: list[_Claim]) -> Iterator[Fault]:
    """Report `<folder>` and `<path>` where they contradict the rest; neither is read."""
    folders = Counter(claim.folder for claim in claims if claim.folder)
    usual = folders.most_common(1)[0][0] if folders else ""
    for image, folder, _ in claims:
        if folder and folder != usual:
            message = f"<folder> is {folder!r}, in the others of this split {usual!r}; it is not read"
            yield Fault("stray_field", image.annotation, message, image.name, is_fatal=False)
    foreign = [claim for claim in claims if claim.file and not Path(claim.file).exists()]
    if foreign:
        message = f"<path> is {foreign[0].file!r}, which does not exist"
        others = f", and {len(foreign) - 1} more of this split name such a place" if len(foreign) > 1 else ""
        yield Fault(
            "stray_field",
            foreign[0].image.annotation,
            f"{message}{others}; it is not read",
            foreign[0].image.name,
            is_fatal=False,
        )


def _parse(path: Path) -> ElementTree.Element:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise FaultError("this annotation does not exist", "missing_file", path) from error
    if not data.strip():
        reason = "this annotation is an empty file; an image without objects needs an <annotation> without <object>"
        raise FaultError(reason, "empty_annotation", path)
    try:
        return ElementTree.fromstring(data)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise FaultError(f"this annotation is not XML: {error}", "broken_annotation", path) from error


def _claimed_size(tree: ElementTree.Element) -> tuple[int, int] | None:
    """Return (height, width); None where it is missing or zero, as some tools write it."""
    try:
        height, width = (int(float(tree.findtext(f"size/{side}") or 0)) for side in ("height", "width"))
    except (ValueError, OverflowError):
        return None
    return (height, width) if height > 0 and width > 0 else None


def _object(node: ElementTree.Element, index: int) -> RawObject:
    """Convert one `<object>`.

    A box whose corners coincide in the file has no area there, whatever the inclusive reading says: tools that
    draw boxes write it for a click without a drag.

    Raises:
        ValueError: if it has no name or no four numbers.
    """
    name = (node.findtext("name") or "").strip()
    if not name:
        raise ValueError("it has no <name>")
    box = node.find("bndbox")
    texts = ["" if box is None else (box.findtext(corner) or "").strip() for corner in _CORNERS]
    try:
        x1, y1, x2, y2 = (float(text) for text in texts)
    except ValueError:
        raise ValueError(f"its <bndbox> should hold four numbers ({', '.join(_CORNERS)}), not {texts}") from None
    right = x2 if x2 > x1 else x2 - 1
    bottom = y2 if y2 > y1 else y2 - 1
    is_difficult = (node.findtext("difficult") or "0").strip() not in ("0", "")
    return RawObject((x1 - 1, y1 - 1, right, bottom), (x1, y1, x2, y2), name, index, is_difficult)


def _all_classes(data: VocData, split: str, raw: RawSplit) -> tuple[str, ...]:
    """Gather the class names of all splits, sorted, so that every split gives the same labels."""
    names = {item.name for image in raw.images for item in image.objects}
    others = {stem for other in splits(data) if other != split for stem in _stems(data.root, other)}
    for stem in others - {image.name for image in raw.images}:
        try:
            tree = _parse(data.root / "Annotations" / f"{stem}.xml")
        except FaultError:
            continue  # reported when its own split is read
        names.update((node.findtext("name") or "").strip() for node in tree.findall("object"))
    return tuple(sorted(names - {""}))
