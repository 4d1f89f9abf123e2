"""COCO instances JSON on disk, as `coco.py` reads it. Boxes only: masks are not carried over."""

import json
from pathlib import Path
from typing import Any

from vision.formats.target import Target
from vision.record import Record


def write(target: Target, root: Path) -> None:
    """Write `annotations/instances_SPLIT.json` and `images/SPLIT/`; categories are numbered from 1 in label order."""
    (root / "annotations").mkdir()
    categories = [{"id": label + 1, "name": name} for label, name in enumerate(target.classes)]
    for split, pairs in target.splits.items():
        (root / "images" / split).mkdir(parents=True)
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for stem, record in pairs:
            file_name = f"{stem}{record.path.suffix}"
            target.put_image(record, root / "images" / split / file_name)
            height, width = record.image_size
            images.append({"id": len(images) + 1, "file_name": file_name, "height": height, "width": width})
            annotations += _annotations(record, len(images), len(annotations))
        content = {"images": images, "annotations": annotations, "categories": categories}
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))


def _annotations(record: Record, image_id: int, num_before: int) -> list[dict[str, Any]]:
    boxes = record.boxes.astype(float)  # float64 holds widths of float32 corners exactly
    boxes[:, 2:] -= boxes[:, :2]
    return [
        {
            "id": num_before + index + 1,
            "image_id": image_id,
            "category_id": int(record.labels[index]) + 1,
            "bbox": boxes[index].tolist(),
            "area": float(record.area[index]),
            "iscrowd": int(record.iscrowd[index]),
        }
        for index in range(len(boxes))
    ]
