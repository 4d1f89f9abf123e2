"""Classification crops of the scenes: one folder per class, one picture per annotated digit."""

from pathlib import Path

import numpy as np

from vision.drawing import save_png
from vision.images import read_image
from vision.record import Record
from vision.scenes.digits import CLASSES, SPLITS
from vision.scenes.reader import read_scenes
from vision.scenes.storage import ensure_folder, ensure_scenes
from vision.settings import ScenesData

MARGIN = 0.1
"""Share of the box's sides that a crop shows around it, so that the digit is not cut tight."""


def ensure_crops(data: ScenesData) -> Path:
    """Cut `SPLIT/CLASS/IMAGE_INDEX.png` out of all scenes unless that was done; returns the folder of the splits.

    Raises:
        DataError: if the scenes cannot be read or the crops not be written.
    """
    return ensure_folder(ensure_scenes(data) / "crops", lambda folder: _write_crops(data, folder))


def _write_crops(data: ScenesData, folder: Path) -> None:
    for split in SPLITS:
        dataset = read_scenes(data, split)
        for name in CLASSES:
            (folder / split / name).mkdir(parents=True)
        for record in dataset.records:
            image = read_image(record.path)
            for index, label in enumerate(record.labels):
                crop = _crop(image, record, index)
                save_png(folder / split / dataset.classes[label] / f"{record.name}_{index:02d}.png", crop)


def _crop(image: np.ndarray, record: Record, index: int) -> np.ndarray:
    x1, y1, x2, y2 = record.boxes[index].astype(int)
    margin_x, margin_y = (max(round(MARGIN * int(side)), 1) for side in (x2 - x1, y2 - y1))
    return image[max(y1 - margin_y, 0) : y2 + margin_y, max(x1 - margin_x, 0) : x2 + margin_x]
