"""Images kept decoded and fitted, in memory that all loader workers of a process share."""

import logging
import mmap
import os
import sys
import tempfile
import weakref
from collections.abc import Callable, Sequence
from multiprocessing.context import get_spawning_popen
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import Any

import numpy as np
import psutil

logger = logging.getLogger(__name__)

FREE_MEMORY_SHARE = 0.5
"""The caches of all training workers of this machine together take at most this share of its free memory."""


class ImageCache:
    """One slot per image in a memory file.

    It costs nothing until a slot is filled. Whatever a loader worker of this process fills in, forked or spawned,
    is there for its siblings and for the workers of later epochs. Pickled for any other purpose, it arrives empty.

    Args:
        shapes: (height, width) of each fitted image.
    """

    def __init__(self, shapes: Sequence[tuple[int, int]]) -> None:
        self._shapes = tuple(shapes)
        self._starts = np.cumsum([0, *(height * width * 3 for height, width in shapes)], dtype=np.int64)
        self._map(_open_memory_file(len(shapes) + int(self._starts[-1]) + 1))

    def _map(self, descriptor: int) -> None:
        self._descriptor = descriptor
        weakref.finalize(self, os.close, descriptor)
        content = np.frombuffer(mmap.mmap(descriptor, 0), np.uint8)
        # One byte per slot says whether it is filled. Two workers that fill the same slot write the same bytes.
        self._filled, self._pixels = content[: len(self._shapes)], content[len(self._shapes) :]

    def __reduce__(self) -> tuple[Callable[..., "ImageCache"], tuple[object, ...]]:
        if get_spawning_popen() is None:
            return ImageCache, (self._shapes,)
        return _attach, (self._shapes, self._starts, DupFd(self._descriptor))

    def get(self, index: int) -> np.ndarray | None:
        """Return the (H, W, 3) uint8 image of a slot, read-only, or None where it was not filled yet."""
        if not self._filled[index]:
            return None
        image = self._slot(index)
        image.flags.writeable = False
        return image

    def put(self, index: int, image: np.ndarray) -> None:
        """Fill a slot with an (H, W, 3) uint8 image of the announced shape."""
        self._slot(index)[...] = image
        self._filled[index] = 1

    def _slot(self, index: int) -> np.ndarray:
        return self._pixels[self._starts[index] : self._starts[index + 1]].reshape(*self._shapes[index], 3)


def _attach(shapes: tuple[tuple[int, int], ...], starts: np.ndarray, duplicate: Any) -> ImageCache:
    """Open the cache of the parent process in a spawned loader worker."""
    cache = ImageCache.__new__(ImageCache)
    cache._shapes, cache._starts = shapes, starts
    cache._map(duplicate.detach())
    return cache


def _open_memory_file(size: int) -> int:
    """Return the descriptor of a new file of `size` zero bytes that lies in memory (on disk where there is no such)."""
    if sys.platform == "linux":
        descriptor = os.memfd_create("image_cache")  # unlike /dev/shm, not limited to 64 MB in a container
    else:
        descriptor, path = tempfile.mkstemp()
        Path(path).unlink()
    os.ftruncate(descriptor, size)
    return descriptor


def build_cache(shapes: Sequence[tuple[int, int]]) -> ImageCache | None:
    """Build a cache for fitted images of these (height, width), or say in the log why there is none.

    Returns:
        None where the images of this machine's training workers would fill more than half of its free memory.
    """
    local_workers = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    needed = sum(height * width * 3 for height, width in shapes) * local_workers
    allowed = psutil.virtual_memory().available * FREE_MEMORY_SHARE
    if needed <= allowed:
        return ImageCache(shapes)
    logger.warning(
        "images are not cached: %d of them for %d worker(s) need %.1f GB, and half of the free memory is %.1f GB; "
        "every epoch decodes them again. Set `cache: none` to accept this silently, or a smaller `image_size`.",
        len(shapes),
        local_workers,
        needed / 1e9,
        allowed / 1e9,
    )
    return None
