"""Pascal VOC on disk, as `voc.py` reads it.

Corners are written 1-based and with the last pixel included: whole numbers where the box ends between pixels, decimals
elsewhere. A box no wider or no higher than one pixel has no area in that reading and is left out.
"""

from pathlib import Path
from xml.etree import ElementTree

from vision.formats.target import Target, number
from vision.record import Record

TOO_THIN = "boxes of one pixel or less, which VOC cannot tell from points"


def write(target: Target, root: Path) -> None:
    """Write `Annotations/`, `JPEGImages/` and `ImageSets/Main/SPLIT.txt`; crowds become `difficult`."""
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    for stem, record in target.images().items():
        file_name = f"{stem}{record.path.suffix}"
        target.put_image(record, root / "JPEGImages" / file_name)
        tree = _annotation(record, file_name, target)
        ElementTree.indent(tree)
        ElementTree.ElementTree(tree).write(root / "Annotations" / f"{stem}.xml", encoding="utf-8")
    for split, pairs in target.splits.items():
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text("".join(f"{stem}\n" for stem, _ in pairs))


def _annotation(record: Record, file_name: str, target: Target) -> ElementTree.Element:
    tree = ElementTree.Element("annotation")
    _add(tree, "folder", "JPEGImages")
    _add(tree, "filename", file_name)
    size = ElementTree.SubElement(tree, "size")
    height, width = record.image_size
    for name, length in (("width", width), ("height", height), ("depth", 3)):
        _add(size, name, str(length))
    for box, label, is_crowd in zip(record.boxes, record.labels, record.iscrowd, strict=True):
        x1, y1, x2, y2 = (float(side) for side in box)
        if x2 - x1 <= 1 or y2 - y1 <= 1:
            target.lose(TOO_THIN)
            continue
        item = ElementTree.SubElement(tree, "object")
        _add(item, "name", target.classes[label])
        _add(item, "difficult", str(int(is_crowd)))
        corners = ElementTree.SubElement(item, "bndbox")
        for name, value in (("xmin", x1 + 1), ("ymin", y1 + 1), ("xmax", x2), ("ymax", y2)):
            _add(corners, name, number(value))
    return tree


def _add(parent: ElementTree.Element, name: str, text: str) -> None:
    ElementTree.SubElement(parent, name).text = text
