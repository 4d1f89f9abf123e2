"""YOLO text labels on disk, as `yolo.py` reads them."""

from pathlib import Path

import yaml

from vision.formats.target import Target, number
from vision.record import Record

CROWDS = "crowds or difficult objects, which YOLO cannot mark"


def write(target: Target, root: Path) -> None:
    """Write `images/SPLIT/`, `labels/SPLIT/*.txt` and a `data.yaml`; crowds are left out."""
    places = {split: f"images/{split}" for split in target.splits}
    for split, pairs in target.splits.items():
        (root / "labels" / split).mkdir(parents=True)
        (root / "images" / split).mkdir(parents=True)
        for stem, record in pairs:
            target.put_image(record, root / "images" / split / f"{stem}{record.path.suffix}")
            (root / "labels" / split / f"{stem}.txt").write_text(_lines(record, target))
    content = {**places, "names": dict(enumerate(target.classes))}
    (root / "data.yaml").write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")


def _lines(record: Record, target: Target) -> str:
    """`class cx cy w h` per object."""
    height, width = record.image_size
    target.lose(CROWDS, int(record.iscrowd.sum()))
    lines = []
    for box, label in zip(record.boxes[~record.iscrowd], record.labels[~record.iscrowd], strict=True):
        x1, y1, x2, y2 = (float(side) for side in box)
        shares = ((x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height)
        lines.append(" ".join([str(label), *(number(share) for share in shares)]) + "\n")
    return "".join(lines)
