"""Memory files that all processes of one machine share by name, and that vanish with the last process that has them.

A memory file has no place in any folder; a process reaches that of another through `/proc/PID/fd/NUMBER`. A small text
file in the temporary folder tells who has which. Nothing has to be cleaned up, however a process ends.
"""

import contextlib
import fcntl
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import psutil

FREE_MEMORY_SHARE = 0.5
"""Image caches may promise to take at most this share of the free memory."""

_BLOCK_BYTES = 512
_CGROUP = Path("/sys/fs/cgroup")


class NoRoomError(Exception):
    """The memory that was asked for is more than may be taken; says how much that is."""

    def __init__(self, needed: int, allowed: float) -> None:
        has = f"half of the free memory is {max(allowed, 0) / 1e9:.1f} GB"
        super().__init__(f"{needed / 1e9:.1f} GB are needed, and {has}")


def shared_memory_file(name: str, size: int) -> int:
    """Open the memory file `name` that a process of this user and machine has, or make it, `size` zero bytes.

    Where processes cannot look into each other (other systems than Linux), each makes its own.

    Args:
        name: says what the content is: whoever gives the same name and size means the same bytes.
        size: in bytes; memory is taken only for what is written.

    Returns:
        an open descriptor, the caller's to close.

    Raises:
        NoRoomError: if a new file could take more than half of the free memory.
    """
    label = f"image-cache-{name}"
    try:
        with _holders() as holders:
            _forget_the_dead(holders)
            found = _open_existing(holders, label, size)
            if found is None:
                _require_room(size + sum(_unfilled(path) for path in {_inode(path): path for path in holders}.values()))
                found = private_memory_file(size, label)
            holders[f"/proc/{os.getpid()}/fd/{found}"] = label
            return found
    except OSError:
        _require_room(size * int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
        return private_memory_file(size, label)


def private_memory_file(size: int, label: str = "image-cache") -> int:
    """Return the descriptor of a new file of `size` zero bytes that lies in memory (on disk where there is no such)."""
    if sys.platform == "linux":
        descriptor = os.memfd_create(label)  # unlike /dev/shm, not limited to 64 MB in a container
    else:
        descriptor, path = tempfile.mkstemp()
        Path(path).unlink()
    os.ftruncate(descriptor, size)
    return descriptor


def free_memory() -> int:
    """Bytes that this process may still take: of the machine, and of its container where that has a limit."""
    available: int = psutil.virtual_memory().available
    try:
        limit, used = (int((_CGROUP / f"memory.{name}").read_text()) for name in ("max", "current"))
        files = dict(line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):  # no container, or one without a limit (`max`)
        return available
    return min(available, limit - used + int(files.get("inactive_file", 0)))


def _require_room(needed: int) -> None:
    allowed = free_memory() * FREE_MEMORY_SHARE
    if needed > allowed:
        raise NoRoomError(needed, allowed)


@contextlib.contextmanager
def _holders() -> Iterator[dict[str, str]]:
    """Lend who has which memory file, `/proc/PID/fd/NUMBER` to its name, to one process at a time, to be changed.

    Raises:
        OSError: if there is no /proc, or the list cannot be kept or could be another user's.
    """
    if sys.platform != "linux":
        raise OSError("no /proc")
    folder = Path(tempfile.gettempdir()) / f"orchestrator-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise OSError(f"{folder} is not this user's alone")
    with (folder / "image-caches").open("a+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        before = _read(file)
        holders = dict(before)
        yield holders
        if holders != before:
            file.truncate(0)
            file.writelines(f"{path} {label}\n" for path, label in holders.items())


def _read(file: IO[str]) -> dict[str, str]:
    file.seek(0)
    lines = (line.split() for line in file)
    return {fields[0]: fields[1] for fields in lines if len(fields) == 2}


def _forget_the_dead(holders: dict[str, str]) -> None:
    """Leave out those that are gone, or whose number now means another file."""
    for path, label in list(holders.items()):
        try:
            is_alive = str(Path(path).readlink()).startswith(f"/memfd:{label} ")
        except OSError:
            is_alive = False
        if not is_alive:
            del holders[path]


def _open_existing(holders: dict[str, str], label: str, size: int) -> int | None:
    for path, held in holders.items():
        if held != label:
            continue
        with contextlib.suppress(OSError):  # it ended just now
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            if os.fstat(descriptor).st_size == size:
                return descriptor
            os.close(descriptor)
    return None


def _inode(path: str) -> int:
    with contextlib.suppress(OSError):
        return Path(path).stat().st_ino
    return -1


def _unfilled(path: str) -> int:
    """Bytes that a memory file may still take."""
    with contextlib.suppress(OSError):
        status = Path(path).stat()
        return max(status.st_size - status.st_blocks * _BLOCK_BYTES, 0)
    return 0
