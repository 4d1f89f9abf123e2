"""The digest of a split: sha256 over the contents of its files, each hashed once and remembered by size and time."""

import contextlib
import hashlib
import logging
import sqlite3
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from vision.formats import AnyData, read_raw
from vision.formats.raw import RawSplit
from vision.generated import cache_folder
from vision.record import Dataset

log = logging.getLogger(__name__)

MISSING = "missing"
"""Stands for the hash of a file that is not there."""

_TIMEOUT_S = 10.0
_CHUNK_BYTES = 1 << 20
_NUM_THREADS = 4
_Hashes = dict[Path, str]


def data_digest(data: AnyData, split: str) -> str:
    """Compute the digest of one split.

    It changes with any byte of an image or annotation file, with the order or names of the images and with the list
    of classes; not with the place of the data set or the times of its files.

    Returns:
        64 hexadecimal digits.

    Raises:
        DataError: if the split cannot be read at all; single faulty files do not matter.
    """
    raw = read_raw(data, split)
    if isinstance(raw, Dataset):
        return raw.digest or _records_digest(raw)
    return _raw_digest(raw)


def file_hashes(paths: Iterable[Path]) -> _Hashes:
    """Return the sha256 of each file, `missing` where there is none; unchanged files are not read again."""
    known, unknown = {}, {}
    with _Memory() as memory:
        for path in dict.fromkeys(paths):
            stamp = _stamp(path)
            value = memory.get(path, stamp) if stamp else MISSING
            if value is None:
                unknown[path] = stamp
            else:
                known[path] = value
        with ThreadPoolExecutor(_NUM_THREADS) as pool:
            fresh = dict(zip(unknown, pool.map(_hash_file, unknown), strict=True))
        memory.put((path, stamp, fresh[path]) for path, stamp in unknown.items() if stamp and fresh[path] != MISSING)
    return known | fresh


def _raw_digest(raw: RawSplit) -> str:
    annotations = {image.annotation for image in raw.images}
    hashes = file_hashes([*raw.files, *annotations, *(image.path for image in raw.images)])
    faulty = file_hashes(fault.path for fault in raw.faults if fault.path.is_file())
    lines = [f"classes {raw.classes!r}"]
    lines += [f"file {path.name} {hashes[path]}" for path in raw.files]
    lines += [f"faulty {path.name} {value}" for path, value in faulty.items()]
    lines += [f"image {image.name} {hashes[image.path]} {hashes[image.annotation]}" for image in raw.images]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _records_digest(dataset: Dataset) -> str:
    hashes = file_hashes(record.path for record in dataset.records)
    digest = hashlib.sha256(repr(dataset.classes).encode())
    for record in dataset.records:
        digest.update(f"{record.name} {record.image_size} {hashes[record.path]}".encode())
        for array in (record.boxes, record.labels, record.iscrowd, record.area):
            digest.update(array.tobytes())
    return digest.hexdigest()


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _hash_file(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
    except OSError:
        return MISSING
    return digest.hexdigest()


class _Memory:
    """What was hashed before, in a small database that several processes may share.

    Without a writable cache folder nothing is remembered and everything still works.
    """

    def __init__(self) -> None:
        self._database: sqlite3.Connection | None = None

    def __enter__(self) -> "_Memory":
        with self._quietly():
            folder = cache_folder()
            folder.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(folder / "hashes.sqlite", timeout=_TIMEOUT_S)
            self._database.execute(
                "CREATE TABLE IF NOT EXISTS hashes (path TEXT PRIMARY KEY, size INT, mtime_ns INT, sha256 TEXT)"
            )
        return self

    def __exit__(self, *_: object) -> None:
        if self._database is not None:
            self._database.close()

    def get(self, path: Path, stamp: tuple[int, int]) -> str | None:
        """Return the hash of an unchanged file."""
        row: tuple[str] | None = None
        if self._database is not None:
            with self._quietly():
                row = self._database.execute(
                    "SELECT sha256 FROM hashes WHERE path = ? AND size = ? AND mtime_ns = ?",
                    (str(path.absolute()), *stamp),
                ).fetchone()
        return row[0] if row else None

    def put(self, rows: Iterable[tuple[Path, tuple[int, int], str]]) -> None:
        """Remember hashes."""
        if self._database is None:
            return
        with self._quietly(), self._database:
            self._database.executemany(
                "REPLACE INTO hashes VALUES (?, ?, ?, ?)",
                [(str(path.absolute()), *stamp, value) for path, stamp, value in rows],
            )

    @contextlib.contextmanager
    def _quietly(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            log.debug("file hashes are not remembered: %s", error)
