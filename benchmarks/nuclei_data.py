"""Nuclei of the 2018 Data Science Bowl as COCO annotations: boxes and outlines from one mask per nucleus.

The images stay where they are. There is no published split: frames larger than a tile are tested on, and of the others
every fourth of each size, so that all kinds of pictures of which there are several are on both sides.
"""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vision.image_header import image_size
from vision.images import read_image

NUCLEI = Path(__file__).parents[2] / "shared" / "data" / "nuclei-dsb2018"
LARGE_PX = 512
"""Frames whose longer side is greater are tested on."""
TEST_EVERY = 4


def write_nuclei(root: Path, folder: Path) -> dict[str, Any]:
    """Write `train.json` and `test.json` into `folder`; returns the settings of this data.

    Raises:
        SystemExit: if the images are not there.
    """
    images = root / "stage1_train"
    if not images.is_dir():
        raise SystemExit(f"no nuclei in {root}; expected a folder stage1_train with one folder per image: give --data")
    splits = {}
    for split, names in split_names(images).items():
        annotations = folder / f"{split}.json"
        annotations.write_text(json.dumps(coco_content(images, names)))
        splits[split] = {"annotations": str(annotations), "images": str(images.resolve())}
    return {"format": "coco", "splits": splits}


def split_names(images: Path) -> dict[str, list[str]]:
    """The image ids of each split, sorted; a function of the files alone."""
    by_size: Mapping[tuple[int, int], list[str]] = defaultdict(list)
    for folder in sorted(images.iterdir()):
        by_size[image_size(images / file_name(folder.name))].append(folder.name)
    splits: dict[str, list[str]] = {"train": [], "test": []}
    for size, names in by_size.items():
        for number, name in enumerate(names):
            is_test = max(size) > LARGE_PX or number % TEST_EVERY == TEST_EVERY - 1
            splits["test" if is_test else "train"].append(name)
    return {split: sorted(names) for split, names in splits.items()}


def file_name(name: str) -> str:
    """Where the image of an id lies below `stage1_train`."""
    return f"{name}/images/{name}.png"


def coco_content(images: Path, names: Sequence[str]) -> dict[str, Any]:
    """COCO's three lists, for the images of these ids."""
    sizes = [image_size(images / file_name(name)) for name in names]
    objects = [
        {"image_id": number, "category_id": 1, "iscrowd": 0, **_nucleus(mask)}
        for number, name in enumerate(names)
        for mask in sorted((images / name / "masks").iterdir())
    ]
    return {
        "categories": [{"id": 1, "name": "nucleus"}],
        "images": [
            {"id": number, "file_name": file_name(name), "height": size[0], "width": size[1]}
            for number, (name, size) in enumerate(zip(names, sizes, strict=True))
        ],
        "annotations": [{"id": number, **each} for number, each in enumerate(objects, start=1)],
    }


def _nucleus(file: Path) -> dict[str, Any]:
    """Box, area and outline of one mask; a nucleus is one piece without holes."""
    mask = np.asarray(read_image(file)[..., 0] > 0, np.uint8)
    left, top, width, height = cv2.boundingRect(mask)
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outline = max(outlines, key=len).reshape(-1).astype(float)
    has_area = len(outline) >= 6  # a polygon has three corners
    return {
        "bbox": [left, top, width, height],
        "area": int(mask.sum()),
        "segmentation": [outline.tolist()] if has_area else [],
    }
