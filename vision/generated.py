"""Where data sets lie that are generated on first use: in whole folders, made atomically and under a lock."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from foundation.errors import DataError


def cache_folder() -> Path:
    """The folder for generated data: `ORCHESTRATOR_CACHE`, or `~/.cache/orchestrator`."""
    return Path(os.environ.get("ORCHESTRATOR_CACHE") or Path.home() / ".cache" / "orchestrator")


def ensure_folder(folder: Path, fill: Callable[[Path], None]) -> Path:
    """Make a folder that is either absent or complete, also when several processes ask at once or one is killed.

    Args:
        folder: what should exist.
        fill: writes the content into the temporary folder it is given, which is then renamed.

    Raises:
        DataError: if the place cannot be written.
    """
    if folder.is_dir():
        return folder
    try:
        with _lock(folder):
            if not folder.is_dir():
                _fill_and_rename(folder, fill)
    except OSError as error:
        raise DataError(
            f"cannot generate the data set in {folder}: {error.strerror or error}; expected a folder that can be "
            "written, with some 50 MB free. Set `root` of this data set, or the environment variable "
            "ORCHESTRATOR_CACHE, to one."
        ) from error
    return folder


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Hold the lock file beside a folder; the operating system lets go of it if the process dies."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f".{folder.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _fill_and_rename(folder: Path, fill: Callable[[Path], None]) -> None:
    prefix = f".{folder.name}.tmp-"
    for abandoned in folder.parent.glob(f"{prefix}*"):  # left by a process that was killed: we hold the lock
        shutil.rmtree(abandoned, ignore_errors=True)
    temporary = Path(tempfile.mkdtemp(prefix=prefix, dir=folder.parent))
    try:
        content = temporary / folder.name  # made by mkdir, so that its rights follow the umask
        content.mkdir()
        fill(content)
        content.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
