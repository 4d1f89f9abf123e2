"""scikit-learn's handwritten digits as files: `SPLIT/CLASS/NNN.png`, written on first use.

Source: Alpaydin and Kaynak 1998, "Optical Recognition of Handwritten Digits", 1797 of its scans, 8 x 8 pixels.
"""

from pathlib import Path

import numpy as np

from foundation.errors import DataError
from vision.drawing import save_png
from vision.formats import imagefolder
from vision.formats.raw import RawSplit, require_split
from vision.generated import cache_folder, ensure_folder
from vision.scenes.digits import CLASSES, SPLITS, load_scans
from vision.settings import DigitsData, ImageFolderData

VERSION = 1


def splits(data: DigitsData) -> tuple[str, ...]:  # noqa: ARG001 - every format's function takes its settings
    """List the splits."""
    return SPLITS


def read(data: DigitsData, split: str) -> RawSplit:
    """Read one split, writing all of them first if need be.

    Raises:
        DataError: an unknown split, `classes` that are not the ten, or a folder that cannot be written.
    """
    require_split(split, SPLITS, data.root or Path("digits"))
    if data.classes is not None and sorted(data.classes) != sorted(CLASSES):
        raise DataError(
            f"`classes` of a `digits` data set is {list(data.classes)}, expected {list(CLASSES)} in any order. "
            "Leave `classes` out, or list all ten."
        )
    return imagefolder.read(ImageFolderData(root=ensure_digits(data), classes=data.classes or CLASSES), split)


def ensure_digits(data: DigitsData) -> Path:
    """Write `SPLIT/CLASS/NNN.png` unless that was done; returns the folder of the splits."""
    return ensure_folder((data.root or cache_folder() / "digits") / f"v{VERSION}", _write_digits)


def _write_digits(folder: Path) -> None:
    for split in SPLITS:
        for name, scans in zip(CLASSES, load_scans(split), strict=True):
            for index, scan in enumerate(scans):
                grey = np.rint(scan * 255).astype(np.uint8)
                save_png(folder / split / name / f"{index:03d}.png", np.repeat(grey[:, :, None], 3, axis=2))
