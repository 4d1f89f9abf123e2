"""What a data set says about one image: boxes, labels and where the pixels lie. No pixels here."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vision.file_stamp import FileStamp


@dataclass(frozen=True, slots=True)
class Record:
    """One annotated image.

    Boxes are (N, 4) float32 xyxy in absolute pixels, origin top left; N may be 0.
    """

    sample_id: int
    """Position in the split's fixed order; the id that samplers, ledgers and metrics use."""
    name: str
    """Unique within the data set, for example the file's stem."""
    path: Path
    image_size: tuple[int, int]
    """(height, width) in pixels."""
    boxes: np.ndarray
    labels: np.ndarray
    """(N,) int64 in 0 … K-1."""
    iscrowd: np.ndarray
    """(N,) bool; crowd or difficult objects: not trained on, and neither hit nor miss in the metric."""
    area: np.ndarray
    """(N,) float64, pixels; the annotation's own area where it has one (COCO masks), else the box's."""
    files: tuple[FileStamp, ...] = ()
    """The image file and that of its annotation as they were when they were read; empty = not watched."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with a data set, always with its place."""

    kind: str
    """One of the keys of `vision.formats.check.KINDS`, for example `zero_area`."""
    path: Path
    message: str
    name: str = ""
    """Name of the image it concerns, where there is one."""
    box_index: int | None = None
    """0-based position of the object in its annotation file."""
    is_fatal: bool = True
    """True: training refuses unless `on_error: quarantine`. False: reported only."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """One split of a data set, read and checked."""

    classes: tuple[str, ...]
    records: tuple[Record, ...]
    faults: tuple[Fault, ...] = ()
    """What was quarantined (dropped and counted), when the data set says `on_error: quarantine`."""
    digest: str = ""
    """sha256 over annotations and image files of this split."""
    extra: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """One image, or the part of one, with its class."""

    sample_id: int
    """Position in the split's fixed order; the id that samplers, ledgers and metrics use."""
    name: str
    """Unique within the data set, for example `cat/0001`."""
    path: Path
    image_size: tuple[int, int]
    """(height, width) of the whole image file in pixels."""
    label: int
    """0 … K-1."""
    box: tuple[int, int, int, int] | None = None
    """The part that is looked at, xyxy in whole pixels of the file; None = all of it."""
    files: tuple[FileStamp, ...] = ()
    """As in `Record`."""

    @property
    def shown_size(self) -> tuple[int, int]:
        """(height, width) of the part that is looked at."""
        if self.box is None:
            return self.image_size
        left, top, right, bottom = self.box
        return bottom - top, right - left


@dataclass(frozen=True, slots=True)
class LabelledDataset:
    """One split of a data set for classification, read and checked."""

    classes: tuple[str, ...]
    records: tuple[LabelledImage, ...]
    faults: tuple[Fault, ...] = ()
    """What was quarantined (dropped and counted), when the data set says `on_error: quarantine`."""
    digest: str = ""
    """sha256 over annotations and image files of this split."""
    extra: dict[str, str] = field(default_factory=dict)
