"""Tiny data sets on disk, one per format; each fixture returns a function that writes one and gives its settings."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from vision.settings import CocoData, CocoSplit, VocData, YoloData

HEIGHT, WIDTH = 40, 60


def _write_image(path: Path, seed: int = 0, height: int = HEIGHT, width: int = WIDTH) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    assert cv2.imwrite(str(path), pixels)
    return path


def _object_xml(name: str, corners: tuple[Any, ...], difficult: int = 0) -> str:
    sides = "".join(
        f"<{key}>{value}</{key}>" for key, value in zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)
    )
    return f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox>{sides}</bndbox></object>"


@pytest.fixture
def write_image() -> Callable[..., Path]:
    """Write noise as an image of 60 x 40 pixels; the suffix says the kind, the seed the pixels."""
    return _write_image


@pytest.fixture
def object_xml() -> Callable[..., str]:
    return _object_xml


@pytest.fixture
def voc(tmp_path: Path) -> Callable[..., VocData]:
    """Write {split: {stem: [XML of objects] or a whole file's text}}; every image exists."""

    def write(splits: dict[str, dict[str, list[str] | str]], size: tuple[int, int] = (HEIGHT, WIDTH), **keys: Any):
        root = tmp_path / "voc"
        for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        seed = 0
        for split, images in splits.items():
            (root / "ImageSets" / "Main" / f"{split}.txt").write_text("".join(f"{stem}\n" for stem in images))
            for stem, content in images.items():
                _write_image(root / "JPEGImages" / f"{stem}.jpg", seed)
                seed += 1
                if not isinstance(content, str):
                    claimed = f"<size><width>{size[1]}</width><height>{size[0]}</height></size>"
                    content = f"<annotation>{claimed}{''.join(content)}</annotation>"
                (root / "Annotations" / f"{stem}.xml").write_text(content)
        return VocData(root=root, **keys)

    return write


@pytest.fixture
def coco(tmp_path: Path) -> Callable[..., CocoData]:
    """Write one split `train` from lists of annotations, images and categories; every image exists."""

    def write(annotations: list[dict], images: list[dict], categories: list[dict], **keys: Any) -> CocoData:
        folder = tmp_path / "coco" / "pictures"
        folder.mkdir(parents=True, exist_ok=True)
        for seed, image in enumerate(images):
            _write_image(folder / image["file_name"], seed)
        path = tmp_path / "coco" / "train.json"
        path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
        return CocoData(splits={"train": CocoSplit(annotations=path, images=folder)}, **keys)

    return write


@pytest.fixture
def yolo(tmp_path: Path) -> Callable[..., YoloData]:
    """Write {stem: text of the label file, or None for no file} as images/train and labels/train."""

    def write(labels: dict[str, str | None], names: str | None = "names: [cat, dog]\n", **keys: Any) -> YoloData:
        root = tmp_path / "yolo"
        (root / "labels" / "train").mkdir(parents=True, exist_ok=True)
        for seed, (stem, text) in enumerate(labels.items()):
            _write_image(root / "images" / "train" / f"{stem}.png", seed)
            if text is not None:
                (root / "labels" / "train" / f"{stem}.txt").write_text(text)
        if names is not None:
            (root / "data.yaml").write_text(names)
        return YoloData(root=root, **keys)

    return write
