"""What can be wrong with a data set, in words; what to do about it is decided in `vision.formats`."""

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path

from foundation.errors import DataError
from vision.record import Fault

KINDS: dict[str, str] = {
    "missing_file": "an image or annotation file that is spoken of does not exist",
    "no_images": "a folder or a list holds no image at all",
    "not_an_image": "the file is no image, or of a kind that cannot be read",
    "truncated_image": "the image is cut short or damaged: its pixels cannot be decoded",
    "size_mismatch": "the annotation gives another image size than the image itself",
    "outside_image": "a box reaches more than one pixel beyond its image",
    "zero_area": "a box has no area, or its corners are swapped",
    "unknown_class": "an object's class is not in the list of classes",
    "empty_annotation": "an annotation file is empty",
    "broken_annotation": "an annotation, or one object of it, cannot be understood",
    "duplicate_box": "two boxes of one class overlap almost entirely (reported only)",
    "duplicate_image": "images hold the same bytes; across splits this is leakage (reported only)",
    "near_duplicate_image": "images of two splits look the same: leakage, if they show the same (reported only)",
    "unusual_size": "an object has the size of another class: its class may be wrong (reported only)",
    "missing_class": "a class that nearly all images show is not annotated: it may be forgotten (reported only)",
    "missing_number": "the images are numbered, and numbers are left out: files may be lost (reported only)",
    "stray_field": "fields of an annotation that are not read contradict where it lies (reported only)",
    "class_typo": "a rare class name looks like a misspelt frequent one (reported only)",
}
"""Every kind of fault and its meaning."""

NUM_LISTED = 10


class FaultError(DataError):
    """A data error that knows its kind, so that a reader can count it instead of stopping.

    `reason` comes first and alone suffices: DataLoader workers rebuild errors from their text.
    """

    def __init__(self, reason: str, kind: str = "broken_annotation", path: Path | None = None) -> None:
        super().__init__(reason if path is None else f"{path}: {reason}")
        self.reason = reason
        self.kind = kind
        self.path = path or Path()

    def fault(self, name: str = "") -> Fault:
        """Return the fault that this error stands for, concerning the image `name`."""
        return Fault(kind=self.kind, path=self.path, message=self.reason, name=name)


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """Return ` (did you mean 'x'?)` for the nearest of `known`, or nothing when none is near. Case is ignored."""
    by_folded = {name.casefold(): name for name in known}
    nearest = difflib.get_close_matches(given.casefold(), by_folded, n=1)
    return f" (did you mean {by_folded[nearest[0]]!r}?)" if nearest else ""


def refuse(faults: Sequence[Fault], what: str) -> None:
    """Raise when any fault is fatal.

    Args:
        faults: of one split.
        what: the split in words, for the message.

    Raises:
        DataError: with the number of fatal faults and the first ten of them.
    """
    fatal = [fault for fault in faults if fault.is_fatal]
    if not fatal:
        return
    lines = [f"  {fault.path}: {fault.message} [{fault.kind}]" for fault in fatal[:NUM_LISTED]]
    if len(fatal) > NUM_LISTED:
        lines.append(f"  … and {len(fatal) - NUM_LISTED} more")
    plural = "fault" if len(fatal) == 1 else "faults"
    raise DataError(
        f"{what} has {len(fatal)} {plural}. Mend the files (`orchestrator data check` lists every fault), or set "
        "`on_error: quarantine` for this data set to leave the faulty images and boxes out and count them:\n"
        + "\n".join(lines)
    )
