"""Images kept decoded and fitted, shared by all processes of a machine: in memory, or in a file on disk.

Which images, and fitted how, decides the name of what is shared; so loader workers, training workers, and with `disk`
later runs and trials, find what another one decoded.
"""

import functools
import hashlib
import logging
import mmap
import os
import weakref
import zlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.context import get_spawning_popen
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from vision.augment.disk_files import DEFAULT_LIMIT_GB, image_folder, shared_disk_file
from vision.augment.shared_memory import NoRoomError, private_memory_file, shared_memory_file
from vision.file_stamp import stamp_of
from vision.formats.digest import file_hashes

logger = logging.getLogger(__name__)

CacheMode = Literal["memory", "disk", "none"]

NUM_REMEMBERED = 4
"""A process holds on to the memory of the last so many data sets, so that the next evaluation or trial finds it."""

_VERSION = 1
_MARK = np.dtype(np.uint32)
_FILLED = 1

_MEND_DISK = "Mend the folder, raise `cache_limit_gb`, or name another folder by the variable ORCHESTRATOR_CACHE."
_MEND_MEMORY = "Set `cache: disk`, a smaller `image_size`, or `cache: none` to accept this silently."


class ImageCache:
    """One slot per image in a mapped file. What one process fills in is there for all that have the same file.

    Pickled for a spawned loader worker, it is the same file there; pickled for any other purpose, it arrives empty.

    Args:
        shapes: (height, width) of each fitted image.
        descriptor: a file of `size_of(shapes)` bytes, which the cache closes; None = memory of its own.
        is_checked: compare each slot with its checksum before it is first used: a file on disk may be half-written
            when the machine lost its power.
    """

    def __init__(
        self, shapes: Sequence[tuple[int, int]], descriptor: int | None = None, is_checked: bool = False
    ) -> None:
        self._shapes, self._is_checked = tuple(shapes), is_checked
        self._starts = np.cumsum([0, *(height * width * 3 for height, width in shapes)], dtype=np.int64)
        self._descriptor = private_memory_file(size_of(shapes)) if descriptor is None else descriptor
        weakref.finalize(self, os.close, self._descriptor)
        content = np.frombuffer(mmap.mmap(self._descriptor, size_of(shapes)), np.uint8)
        # A mark per slot, 0 = empty. Two processes that fill the same slot write the same bytes.
        num_bytes = len(shapes) * _MARK.itemsize
        self._marks, self._pixels = content[:num_bytes].view(_MARK), content[num_bytes:]
        self._is_sound = np.full(len(shapes), not is_checked)

    def __reduce__(self) -> tuple[Callable[..., "ImageCache"], tuple[object, ...]]:
        if get_spawning_popen() is None:
            return ImageCache, (self._shapes,)
        return _attach, (self._shapes, DupFd(self._descriptor), self._is_checked)

    def get(self, index: int) -> np.ndarray | None:
        """Return the (H, W, 3) uint8 image of a slot, read-only, or None where it was not filled yet."""
        if not self._marks[index]:
            return None
        image = self._slot(index)
        if not self._is_sound[index]:
            if _checksum(image) != self._marks[index]:
                return None
            self._is_sound[index] = True
        image.flags.writeable = False
        return image

    def put(self, index: int, image: np.ndarray) -> None:
        """Fill a slot with an (H, W, 3) uint8 image of the announced shape."""
        slot = self._slot(index)
        slot[...] = image
        self._marks[index] = _checksum(slot) if self._is_checked else _FILLED
        self._is_sound[index] = True

    def _slot(self, index: int) -> np.ndarray:
        return self._pixels[self._starts[index] : self._starts[index + 1]].reshape(*self._shapes[index], 3)


def size_of(shapes: Sequence[tuple[int, int]]) -> int:
    """Bytes that a cache of these (height, width) takes."""
    return 1 + len(shapes) * _MARK.itemsize + sum(height * width * 3 for height, width in shapes)


def _checksum(image: np.ndarray) -> int:
    return zlib.crc32(image.data) or _FILLED


def _attach(shapes: tuple[tuple[int, int], ...], duplicate: Any, is_checked: bool) -> ImageCache:
    """Open the cache of the parent process in a spawned loader worker."""
    return ImageCache(shapes, duplicate.detach(), is_checked)


@dataclass(frozen=True, slots=True)
class FittedImages:
    """What is to be kept: the images of a data set, each as it is fitted."""

    paths: Sequence[Path]
    shapes: Sequence[tuple[int, int]]
    """(height, width) of each after fitting."""
    fitting: str
    """How they are resized, besides the shapes, in words: other words, other bytes."""
    crops: Sequence[object] = ()
    """What is cut out of each file before; empty = nothing of any."""

    def name_by_content(self) -> str:
        """The name that the same images have anywhere; reads files that were never hashed before."""
        hashes = file_hashes(self.paths)
        return self._name([hashes[path] for path in self.paths])

    def name_by_place(self) -> str:
        """The name that they have on this machine until a file is changed; reads no file."""
        stamps = {path: str(stamp_of(path.absolute())) for path in dict.fromkeys(self.paths)}
        return self._name([stamps[path] for path in self.paths])

    def _name(self, images: Sequence[str]) -> str:
        digest = hashlib.sha256(f"{_VERSION} {cv2.__version__} {self.fitting}\n".encode())
        crops = self.crops or [None] * len(images)
        for image, shape, crop in zip(images, self.shapes, crops, strict=True):
            digest.update(f"{image} {shape[0]} {shape[1]} {crop}\n".encode())
        return digest.hexdigest()[:40]


def open_cache(
    images: FittedImages, mode: CacheMode, limit_gb: float | None = None
) -> tuple[ImageCache | None, str | None]:
    """Open the cache that a data set asks for, or the next best: memory for `disk`, none for `memory`.

    Args:
        images: what is to be kept.
        mode: `memory`, `disk` or `none`.
        limit_gb: of all files on disk together; None = 20.

    Returns:
        the cache, None where nothing is kept; and in words what could not be had, if anything, which is logged too.
    """
    refused = ""
    if mode == "disk":
        try:
            return _on_disk(images, limit_gb or DEFAULT_LIMIT_GB), None
        except OSError as error:
            refused = f"`cache: disk` cannot be used in {image_folder()}: {error.strerror or error}. "
    if mode == "none":
        return None, None
    try:
        cache = _in_memory(images)
        said = f"{refused}Images are kept in memory instead, for this run only. {_MEND_DISK}" if refused else None
    except NoRoomError as error:
        cache = None
        said = (
            f"{refused}Images are not kept in memory{' either' if refused else ''}, and every epoch decodes them "
            f"again: for {len(images.shapes)} images {error}. {_MEND_MEMORY}"
        )
    if said:
        _warn_once(said)
    return cache, said


@functools.cache
def _warn_once(text: str) -> None:
    """The validation images are opened anew at every evaluation."""
    logger.warning(text)


def _on_disk(images: FittedImages, limit_gb: float) -> ImageCache:
    """Raises OSError where there is no place."""
    descriptor = shared_disk_file(images.name_by_content(), size_of(images.shapes), limit_gb)
    return ImageCache(images.shapes, descriptor, is_checked=True)


_remembered: deque[ImageCache] = deque(maxlen=NUM_REMEMBERED)


def _in_memory(images: FittedImages) -> ImageCache:
    """Raises NoRoomError where there is too little memory, also without what is only remembered."""
    name, size = images.name_by_place(), size_of(images.shapes)
    try:
        descriptor = shared_memory_file(name, size)
    except NoRoomError:
        _remembered.clear()
        descriptor = shared_memory_file(name, size)
    cache = ImageCache(images.shapes, descriptor)
    _remembered.append(cache)
    return cache


def through_cache(cache: ImageCache | None, index: int, read: Callable[[], np.ndarray]) -> np.ndarray:
    """Return the image of a slot; `read` gives it the first time, and every time without a cache."""
    if cache is None:
        return read()
    image = cache.get(index)
    if image is None:
        image = read()
        cache.put(index, image)
    return image
