"""What a format's reader hands over: one split as it stands in the files, before any check."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from vision.faults import FaultError, did_you_mean
from vision.record import Fault


class RawObject(NamedTuple):
    """One object of an annotation file."""

    box: tuple[float, float, float, float]
    """xyxy, in pixels or (`RawImage.is_relative`) in shares of the image's width and height."""
    written: tuple[float, ...]
    """The numbers as they stand in the file, for messages."""
    name: str
    """Class name; one that is not in the list of classes is a fault."""
    position: int
    """0-based place in the annotation file."""
    is_crowd: bool = False
    area: float | None = None
    """The annotation's own area; None = the box's."""


@dataclass(slots=True)
class RawImage:
    """One image of a split and its objects."""

    name: str
    path: Path
    annotation: Path
    """The file that its objects come from; may be missing where the format allows it (YOLO)."""
    objects: list[RawObject] = field(default_factory=list)
    claimed_size: tuple[int, int] | None = None
    """(height, width) as the annotation has it."""
    is_relative: bool = False


@dataclass(slots=True)
class RawSplit:
    """One split of a data set, unchecked."""

    classes: tuple[str, ...]
    images: list[RawImage]
    faults: list[Fault] = field(default_factory=list)
    files: tuple[Path, ...] = ()
    """Further files that decide what the split is: its list, its JSON, its data.yaml."""


def in_order(splits: Iterable[str]) -> tuple[str, ...]:
    """Sort split names: train, val and test first, the others by name."""
    rank = {"train": 0, "val": 1, "test": 2}
    return tuple(sorted(splits, key=lambda name: (rank.get(name, len(rank)), name)))


def require_split(split: str, known: Iterable[str], root: Path) -> None:
    """Check that a data set has a split.

    Raises:
        DataError: naming the splits there are.
    """
    known = tuple(known)
    if split not in known:
        there_are = f"known splits: {', '.join(known)}" if known else "it has no split at all"
        reason = f"this data set has no split {split!r}{did_you_mean(split, known)}; {there_are}"
        raise FaultError(reason, "missing_file", root)


def require_folder(root: Path) -> None:
    """Check that a data set's folder is there.

    Raises:
        DataError: naming the folder.
    """
    if not root.is_dir():
        reason = "this folder does not exist; mend `root` of the data set, or give it a `download`"
        raise FaultError(reason, "missing_file", root)


def unique_names(paths: Iterable[str]) -> dict[str, str]:
    """Map relative image paths to names without suffix; those that would clash keep their suffix."""
    paths = tuple(paths)
    stems = [path[: len(path) - len(suffix)] if (suffix := Path(path).suffix) else path for path in paths]
    counts: dict[str, int] = {}
    for stem in stems:
        counts[stem] = counts.get(stem, 0) + 1
    return {path: stem if counts[stem] == 1 else path for path, stem in zip(paths, stems, strict=True)}
