"""Classification crops of the scenes: one folder per class, one picture per annotated digit."""

from collections.abc import Sequence
from pathlib import Path

from vision.boxes import CROP_MARGIN, crop_window
from vision.drawing import save_png
from vision.generated import ensure_folder
from vision.images import read_image
from vision.record import LabelledImage
from vision.scenes.digits import CLASSES, SPLITS
from vision.scenes.reader import read_scenes
from vision.scenes.storage import ensure_scenes
from vision.settings import ScenesData


def ensure_crops(data: ScenesData) -> Path:
    """Cut `SPLIT/CLASS/IMAGE_INDEX.png` out of all scenes unless that was done; returns the folder of the splits.

    Raises:
        DataError: if the scenes cannot be read or the crops not be written.
    """
    return ensure_folder(ensure_scenes(data) / "crops", lambda folder: _write_crops(data, folder))


def crop_path(folder: Path, classes: Sequence[str], image: LabelledImage) -> Path:
    """Name the file of a crop below the folder of its split; `image.name` is `IMAGE_INDEX`."""
    return folder / classes[image.label] / f"{image.name}.png"


def _write_crops(data: ScenesData, folder: Path) -> None:
    for split in SPLITS:
        dataset = read_scenes(data, split)
        for name in CLASSES:
            (folder / split / name).mkdir(parents=True)
        for record in dataset.records:
            image = read_image(record.path)
            for index, label in enumerate(record.labels):
                left, top, right, bottom = crop_window(record.boxes[index], record.image_size, CROP_MARGIN)
                path = folder / split / dataset.classes[label] / f"{record.name}_{index:02d}.png"
                save_png(path, image[top:bottom, left:right])
