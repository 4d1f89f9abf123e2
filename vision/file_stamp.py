"""Size and time of files when they were read, to notice that one was changed while a run goes on."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from foundation.errors import DataError


class FileStamp(NamedTuple):
    """A file as it was at one moment."""

    path: Path
    size: int
    mtime_ns: int


def stamp_of(path: Path) -> FileStamp | None:
    """Look at a file; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return FileStamp(path, status.st_size, status.st_mtime_ns)


def stamps_of(paths: Iterable[Path]) -> tuple[FileStamp, ...]:
    """Look at those of the files that are there, each once."""
    return tuple(stamp for path in dict.fromkeys(paths) if (stamp := stamp_of(path)))


def require_unchanged(stamps: Iterable[FileStamp]) -> None:
    """Check that files are still what they were; one that is gone is no business of this check.

    Raises:
        DataError: naming the first that was changed.
    """
    for stamp in stamps:
        now = stamp_of(stamp.path)
        if now is not None and now != stamp:
            raise DataError(
                f"{stamp.path} was changed while the run was going ({now.size} bytes now, {stamp.size} when its data "
                "set was read): some epochs would see other data than the rest. Put the old file back, or "
                "start the run again; finished stages that do not use this data set are kept."
            )
