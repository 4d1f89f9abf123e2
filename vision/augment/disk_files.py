"""Files of decoded images that runs, trials and processes share below the cache folder: locked, bounded, atomic."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from vision.generated import cache_folder

DEFAULT_LIMIT_GB = 20.0

_SUFFIX = ".pixels"
_UNFINISHED = ".tmp-"
_CHUNK_BYTES = 1 << 24


def image_folder() -> Path:
    """The folder of these files."""
    return cache_folder() / "images"


def shared_disk_file(name: str, size: int, limit_gb: float) -> int:
    """Open the file `name`, or make it with all its space reserved: `size` zero bytes.

    To make room, files that no process has open are deleted, those used longest ago first. While it is open, a file is
    safe from that.

    Args:
        name: says what the content is: whoever gives the same name and size means the same bytes.
        size: in bytes, at least 1.
        limit_gb: all files together may take so much.

    Returns:
        an open descriptor, the caller's to close.

    Raises:
        OSError: if the folder cannot be written, the disk has no room, or the limit is too low.
    """
    folder = image_folder()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}{_SUFFIX}"
    with _lock(folder):
        if path.exists() and path.stat().st_size == size:
            descriptor = _hold(path, os.O_RDWR)
            os.utime(path)  # its last use
            return descriptor
        path.unlink(missing_ok=True)
        for unfinished in folder.glob(f"{_UNFINISHED}*"):  # left by a process that was killed: we hold the lock
            unfinished.unlink()
        _make_room(folder, size, limit_gb * 1e9)
        return _reserve(path, size)


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[None]:
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _hold(path: Path, flags: int) -> int:
    """Open a file, marked as in use for as long as any copy of the descriptor is open."""
    descriptor = os.open(path, flags | os.O_CLOEXEC, 0o666)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor


def _reserve(path: Path, size: int) -> int:
    """Make a file whose every byte has its place on the disk: a write to a mapped file cannot fail later."""
    unfinished = path.with_name(f"{_UNFINISHED}{path.name}")
    descriptor = _hold(unfinished, os.O_RDWR | os.O_CREAT)
    try:
        _take_space(descriptor, size)
        unfinished.rename(path)
    except OSError:
        os.close(descriptor)
        unfinished.unlink(missing_ok=True)
        raise
    return descriptor


def _take_space(descriptor: int, size: int) -> None:
    """Fill an empty file with `size` zero bytes."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
        return
    for start in range(0, size, _CHUNK_BYTES):
        os.pwrite(descriptor, bytes(min(_CHUNK_BYTES, size - start)), start)


def _make_room(folder: Path, size: int, limit: float) -> None:
    """Delete the least recently used files until `size` more bytes stay within `limit`.

    Raises:
        OSError: if that is not enough.
    """
    used = sorted((path.stat().st_mtime, path) for path in folder.glob(f"*{_SUFFIX}"))
    total = sum(path.stat().st_size for _, path in used)
    for _, path in used:
        if total + size <= limit:
            return
        if size <= limit and not _is_in_use(path):
            total -= path.stat().st_size
            path.unlink()
    if total + size > limit:
        taken = f", of which files in use take {total / 1e9:.1f} GB" if total else ""
        raise OSError(f"{size / 1e9:.1f} GB are needed, and `cache_limit_gb` is {limit / 1e9:g}{taken}")


def _is_in_use(path: Path) -> bool:
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
