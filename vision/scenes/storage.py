"""Where `scenes` lie on disk: generated on first use, atomically and under a lock, never changed afterwards.

ROOT/v3-seed0-400-320x320/
├── annotations/instances_SPLIT.json   COCO instances: boxes, areas, run-length masks
├── images/SPLIT/SPLIT_000000.jpg
├── crops/SPLIT/CLASS/*.png            only after `ensure_crops`
└── video/SPLIT/SEQUENCE/              only after `ensure_video`
"""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vision.generated import cache_folder, ensure_folder
from vision.scenes.compose import VERSION, Scene, compose_scene, plan_labels
from vision.scenes.digits import CLASSES, SPLITS, Split
from vision.scenes.rle import rle_from_mask
from vision.settings import ScenesData

JPEG_QUALITY = 92


def scenes_folder(data: ScenesData) -> Path:
    """The folder of exactly these scenes; it need not exist yet. Its name holds all that shapes them."""
    height, width = data.image_size
    name = f"v{VERSION}-seed{data.seed}-{data.num_images}-{height}x{width}"
    return (data.root or cache_folder() / "scenes") / name


def annotation_path(data: ScenesData, split: Split) -> Path:
    return scenes_folder(data) / "annotations" / f"instances_{split}.json"


def image_folder(data: ScenesData, split: Split) -> Path:
    return scenes_folder(data) / "images" / split


def ensure_scenes(data: ScenesData) -> Path:
    """Generate images and annotations of all splits unless they are there; returns the folder.

    Raises:
        DataError: if the folder cannot be written.
    """
    return ensure_folder(scenes_folder(data), lambda folder: _write_scenes(data, folder))


def _write_scenes(data: ScenesData, folder: Path) -> None:
    (folder / "annotations").mkdir()
    for split in SPLITS:
        (folder / "images" / split).mkdir(parents=True)
        num_images = data.num_images if split == "train" else max(data.num_images // 4, 1)
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for index, labels in enumerate(plan_labels(data.seed, split, num_images)):
            scene = compose_scene(data.seed, split, index, labels, data.image_size)
            file_name = f"{split}_{index:06d}.jpg"
            write_jpeg(folder / "images" / split / file_name, scene.image)
            height, width = data.image_size
            images.append({"id": index + 1, "file_name": file_name, "height": height, "width": width})
            annotations += _annotate(scene, image_id=index + 1, first_id=len(annotations) + 1)
        categories = [{"id": label + 1, "name": name} for label, name in enumerate(CLASSES)]
        document = {
            "info": {"description": "orchestrator scenes", "version": str(VERSION), "seed": data.seed},
            "images": images,
            "annotations": annotations,
            "categories": categories,
        }
        text = json.dumps(document, separators=(",", ":"))
        (folder / "annotations" / f"instances_{split}.json").write_text(text, encoding="utf-8")


def _annotate(scene: Scene, image_id: int, first_id: int) -> list[dict[str, Any]]:
    """COCO's dialect: xywh boxes, categories from 1, the area of the mask."""
    annotations = []
    for offset, (label, mask) in enumerate(zip(scene.labels, scene.masks, strict=True)):
        left, top, right, bottom = box_from_mask(mask)
        annotations.append(
            {
                "id": first_id + offset,
                "image_id": image_id,
                "category_id": int(label) + 1,
                "bbox": [left, top, right - left, bottom - top],
                "area": int(mask.sum()),
                "iscrowd": 0,
                "segmentation": rle_from_mask(mask),
            }
        )
    return annotations


def box_from_mask(mask: np.ndarray) -> tuple[int, int, int, int]:
    """The tightest xyxy box around a mask, (H, W) bool with at least one pixel; x2 - x1 is the width in pixels."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def write_jpeg(path: Path, image: np.ndarray) -> None:
    """Write (H, W, 3) uint8 RGB. Full colour resolution: half of it would wash out coloured strokes of few pixels.

    Raises:
        OSError: if the file cannot be written.
    """
    sampling = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
    _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    path.write_bytes(data.tobytes())
