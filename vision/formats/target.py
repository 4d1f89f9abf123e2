"""What a data set in a new folder is written from, and what all written formats share: names, links, safe replacing."""

import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from foundation.errors import DataError
from vision.record import Dataset, Record


@dataclass(slots=True)
class Target:
    """A data set to be written: the images of each split, each with the stem that it gets."""

    classes: tuple[str, ...]
    splits: dict[str, list[tuple[str, Record]]]
    """Per split, stem and record in the split's order; an image that several splits share has one stem."""
    is_copied: bool = False
    """Copy image files; otherwise they are linked to where they lie."""
    lost: dict[str, int] = field(default_factory=dict)
    """How many objects the format cannot hold, by reason."""

    def lose(self, reason: str, count: int = 1) -> None:
        """Count objects that are left out."""
        if count:
            self.lost[reason] = self.lost.get(reason, 0) + count

    def images(self) -> dict[str, Record]:
        """Every image once, by its stem."""
        return {stem: record for pairs in self.splits.values() for stem, record in pairs}

    def put_image(self, record: Record, path: Path) -> None:
        """Link or copy an image file to `path`."""
        path.parent.mkdir(parents=True, exist_ok=True)
        if self.is_copied:
            shutil.copyfile(record.path, path)
        else:
            path.symlink_to(record.path.resolve())


def plan_target(datasets: Mapping[str, Dataset], is_copied: bool) -> Target:
    """Give every image a stem of its own: its name, with folders joined by `_`, and a number where that is taken."""
    stem_of: dict[Path, str] = {}
    taken: set[str] = set()
    splits: dict[str, list[tuple[str, Record]]] = {}
    for split, dataset in datasets.items():
        splits[split] = []
        for record in dataset.records:
            if record.path not in stem_of:
                stem_of[record.path] = _free_stem(record.name, taken)
            splits[split].append((stem_of[record.path], record))
    return Target(next(iter(datasets.values())).classes, splits, is_copied)


def _free_stem(name: str, taken: set[str]) -> str:
    """Lower and upper case count as equal: some file systems take them so."""
    wanted = "_".join(Path(name).parts).lstrip("/")
    stem, number = wanted, 1
    while stem.casefold() in taken:
        number += 1
        stem = f"{wanted}-{number}"
    taken.add(stem.casefold())
    return stem


def write_folder(out: Path, fill: Callable[[Path], None]) -> None:
    """Make the folder `out`, whole or not at all.

    Args:
        out: must not exist, or be empty.
        fill: writes into the temporary folder it is given, which is then renamed.

    Raises:
        DataError: if there is something already, or the place cannot be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out} exists already; expected a new or empty folder. Choose another place, or delete it.")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as temporary:
            content = Path(temporary) / out.name
            content.mkdir()
            fill(content)
            content.replace(out)
    except OSError as error:
        raise DataError(
            f"cannot write the data set into {out}: {error.strerror or error}; expected a folder that can be written, "
            "with room for it. Choose another place, or mend its rights."
        ) from error


def num_faults(datasets: Iterable[Dataset]) -> int:
    """Count what was left out as faulty; what several splits share counts once."""
    return len({(fault.path, fault.box_index, fault.message) for dataset in datasets for fault in dataset.faults})


def number(value: float) -> str:
    """Write a number so that a float32 is read back to its last bit: 12, 0.5, 0.333333343267441."""
    return f"{value:.15g}"
