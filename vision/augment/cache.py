"""Images kept decoded and fitted in memory that forked loader workers share."""

import logging
import mmap
import os
from collections.abc import Sequence

import numpy as np
import psutil

logger = logging.getLogger(__name__)

FREE_MEMORY_SHARE = 0.5
"""The caches of all training workers of this machine together take at most this share of its free memory."""


class ImageCache:
    """One slot per image in an anonymous shared memory map.

    The map costs nothing until a slot is filled. Whatever a forked loader worker fills in is there for its
    siblings and for the workers of later epochs. A pickled cache (spawned workers) arrives empty.

    Args:
        shapes: (height, width) of each fitted image.
    """

    def __init__(self, shapes: Sequence[tuple[int, int]]) -> None:
        self._shapes = tuple(shapes)
        self._open()

    def _open(self) -> None:
        sizes = [height * width * 3 for height, width in self._shapes]
        self._starts = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
        # One byte per slot says whether it is filled. Two workers that fill the same slot write the same bytes.
        self._filled = np.frombuffer(mmap.mmap(-1, max(1, len(sizes))), np.uint8)
        self._pixels = np.frombuffer(mmap.mmap(-1, max(1, int(self._starts[-1]))), np.uint8)

    def __getstate__(self) -> dict[str, object]:
        return {"_shapes": self._shapes}

    def __setstate__(self, state: dict[str, tuple[tuple[int, int], ...]]) -> None:
        self._shapes = state["_shapes"]
        self._open()

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
