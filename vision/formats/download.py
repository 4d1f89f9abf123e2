"""Fetching a data set that is not there yet: download, verify, unpack safely, and only then put it in its place."""

import contextlib
import hashlib
import logging
import lzma
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import IO
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

from foundation.errors import ConfigError, DataError
from vision.settings import DataBase, Download

log = logging.getLogger(__name__)

TIMEOUT_S = 60.0
_SCHEMES = ("https", "file")
_CHUNK_BYTES = 1 << 20
_BROKEN_ARCHIVE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    RuntimeError,  # an encrypted zip
    NotImplementedError,  # a zip with an unknown compression
)


@dataclass(frozen=True, slots=True)
class _Member:
    """One entry of an archive."""

    name: str
    is_folder: bool
    is_file: bool
    """An ordinary file; links, devices and pipes are neither file nor folder."""
    open: Callable[[], IO[bytes]]


def ensure_present(data: DataBase) -> None:
    """Fetch the data set's `download` if its root is missing or empty; otherwise do nothing.

    The root appears whole or not at all. When several processes fetch it at once, the first to finish wins.

    Raises:
        ConfigError: if there is a `download` but no `root` to put it.
        DataError: if the archive cannot be fetched, is not what its sha256 says, or is unsafe.
    """
    if data.download is None:
        return
    root: Path | None = getattr(data, "root", None)
    if root is None:
        raise ConfigError("a data set with `download` needs a `root`, the folder to unpack it into")
    if _is_filled(root):
        return
    log.info("fetching %s into %s", data.download.url, root)
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root.parent, prefix=f".{root.name}.") as temporary:
            archive = Path(temporary) / "archive"
            _fetch(data.download, archive, root)
            content = Path(temporary) / "content"
            _unpack(archive, content, data.download)
            _put(content, root)
    except OSError as error:
        raise DataError(f"could not put {data.download.url} into {root}: {error}") from error


def _is_filled(root: Path) -> bool:
    return root.is_dir() and any(root.iterdir())


def _put(content: Path, root: Path) -> None:
    try:
        content.replace(root)
    except OSError:
        if not _is_filled(root):
            raise
        log.info("%s was put there by another process meanwhile", root)


def _fetch(download: Download, target: Path, root: Path) -> None:
    """Copy the archive to `target` and verify it."""
    digest = hashlib.sha256()
    try:
        _require_scheme(download.url)
        with urlopen(download.url, timeout=TIMEOUT_S) as response, target.open("wb") as file:
            _require_scheme(response.geturl())
            while chunk := response.read(_CHUNK_BYTES):
                digest.update(chunk)
                file.write(chunk)
    except (HTTPException, OSError, ValueError) as error:
        reason = error.reason if isinstance(error, URLError) else error
        raise DataError(
            f"could not download {download.url} for the data set at {root}: {reason}. "
            f"Check the network and the address, or fetch it by other means and unpack it into {root}."
        ) from error
    if download.sha256 is not None and digest.hexdigest() != download.sha256.lower():
        raise DataError(
            f"{download.url} has sha256 {digest.hexdigest()}, but `download` of the data set at {root} expects "
            f"{download.sha256}: the file was changed or damaged. Nothing was unpacked."
        )


def _require_scheme(url: str) -> None:
    if urlsplit(url).scheme not in _SCHEMES:
        raise ValueError(f"expected an address with https:// or file://, not {url}")


def _unpack(archive: Path, folder: Path, download: Download) -> None:
    """Unpack a zip or tar archive into `folder`, without its `strip` leading folders."""
    folder.mkdir()
    num_files = 0
    try:
        with _members(archive) as members:
            for member in members:
                if (relative := _safe_path(member, download)) is not None:
                    num_files += _write(member, folder / relative)
    except _BROKEN_ARCHIVE as error:
        raise DataError(f"{download.url} is not a .zip, .tar or .tar.gz archive that can be read: {error}") from error
    if num_files == 0:
        raise DataError(f"{download.url} holds no file below {download.strip} leading folders; mend `strip`")


@contextlib.contextmanager
def _members(archive: Path) -> Iterator[Iterator[_Member]]:
    """Open an archive and go through its entries."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            yield (_zip_member(packed, info) for info in packed.infolist())
    else:
        with tarfile.open(archive) as bundle:
            yield (_tar_member(bundle, entry) for entry in bundle)


def _zip_member(packed: zipfile.ZipFile, info: zipfile.ZipInfo) -> _Member:
    mode = info.external_attr >> 16  # the upper half holds the Unix mode, 0 where there is none
    is_special = stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR)
    is_folder = info.is_dir()
    return _Member(info.filename, is_folder, not is_folder and not is_special, lambda: packed.open(info))


def _tar_member(bundle: tarfile.TarFile, entry: tarfile.TarInfo) -> _Member:
    def open_entry() -> IO[bytes]:
        file = bundle.extractfile(entry)
        assert file is not None, "only called for ordinary files"
        return file

    return _Member(entry.name, entry.isdir(), entry.isreg(), open_entry)


def _safe_path(member: _Member, download: Download) -> PurePosixPath | None:
    """Return where below the root an entry belongs; None for what `strip` leaves out.

    Raises:
        DataError: if the entry would leave the folder or is neither file nor folder.
    """
    path = PurePosixPath(member.name.replace("\\", "/"))
    is_drive = ":" in path.parts[0] if path.parts else False
    if path.is_absolute() or is_drive or ".." in path.parts:
        raise DataError(f"{download.url} is unsafe: its entry {member.name!r} would be written outside the data set")
    if not (member.is_folder or member.is_file):
        raise DataError(f"{download.url} is unsafe: its entry {member.name!r} is a link or a device, not a file")
    parts = path.parts[download.strip :]
    return PurePosixPath(*parts) if parts else None


def _write(member: _Member, target: Path) -> int:
    """Write one entry; returns the number of files written."""
    if member.is_folder:
        target.mkdir(parents=True, exist_ok=True)
        return 0
    target.parent.mkdir(parents=True, exist_ok=True)
    with member.open() as source, target.open("wb") as file:
        shutil.copyfileobj(source, file, _CHUNK_BYTES)
    return 1
