import hashlib
import io
import stat
import tarfile
import zipfile
from urllib.error import URLError

import pytest

from foundation.errors import ConfigError, DataError
from vision.formats import download
from vision.formats.download import ensure_present
from vision.settings import CocoData, Download, VocData

FILES = {"top/Annotations/a.xml": b"<annotation/>", "top/JPEGImages/a.jpg": b"pixels"}


def write_zip(path, files=FILES, mode=0):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, content)
    return path


def write_tar(path, files=FILES, kind=tarfile.REGTYPE):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "elsewhere"
            info.size = len(content) if kind == tarfile.REGTYPE else 0
            archive.addfile(info, io.BytesIO(content))
    return path


def settings(tmp_path, archive, **keys):
    return VocData(root=tmp_path / "deep" / "data", download=Download(url=archive.as_uri(), **keys))


def leftovers(tmp_path):
    folder = tmp_path / "deep"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


@pytest.mark.parametrize("write", [write_zip, write_tar])
def test_archive_is_verified_unpacked_and_stripped(tmp_path, write):
    archive = write(tmp_path / "archive")
    data = settings(tmp_path, archive, strip=1, sha256=hashlib.sha256(archive.read_bytes()).hexdigest())
    ensure_present(data)
    assert (data.root / "Annotations" / "a.xml").read_bytes() == b"<annotation/>"
    assert (data.root / "JPEGImages" / "a.jpg").read_bytes() == b"pixels"
    assert leftovers(tmp_path) == ["data"]


def test_data_that_is_there_is_left_alone(tmp_path):
    data = VocData(root=tmp_path, download=Download(url="https://example.invalid/data.zip"))
    (tmp_path / "mine").touch()
    ensure_present(data)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_without_download_nothing_happens(tmp_path):
    ensure_present(VocData(root=tmp_path / "missing"))
    assert not (tmp_path / "missing").exists()


def test_empty_root_counts_as_missing(tmp_path):
    data = settings(tmp_path, write_zip(tmp_path / "archive"))
    data.root.mkdir(parents=True)
    ensure_present(data)
    assert (data.root / "top").is_dir()


def test_wrong_sum_unpacks_nothing(tmp_path):
    data = settings(tmp_path, write_zip(tmp_path / "archive"), sha256="0" * 64)
    with pytest.raises(DataError, match="the file was changed or damaged"):
        ensure_present(data)
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("write", [write_zip, write_tar])
@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "top/../../evil", "C:\\evil", "..\\evil"])
def test_entry_that_would_leave_the_folder_is_refused(tmp_path, write, name):
    data = settings(tmp_path, write(tmp_path / "archive", {"top/good": b"", name: b"evil"}))
    with pytest.raises(DataError, match=r"is unsafe: its entry .* would be written outside"):
        ensure_present(data)
    assert leftovers(tmp_path) == []
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize(
    ("write", "kind"),
    [
        pytest.param(lambda path: write_tar(path, kind=tarfile.SYMTYPE), "symbolic link", id="symbolic link"),
        pytest.param(lambda path: write_tar(path, kind=tarfile.LNKTYPE), "hard link", id="hard link"),
        pytest.param(lambda path: write_tar(path, kind=tarfile.CHRTYPE), "device", id="device"),
        pytest.param(lambda path: write_tar(path, kind=tarfile.FIFOTYPE), "pipe", id="pipe"),
        pytest.param(lambda path: write_zip(path, mode=stat.S_IFLNK | 0o777), "link", id="link in a zip"),
    ],
)
def test_links_and_devices_are_refused(tmp_path, write, kind):
    data = settings(tmp_path, write(tmp_path / "archive"))
    with pytest.raises(DataError, match="is a link or a device"):
        ensure_present(data)
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("write", [write_zip, write_tar])
def test_archive_cut_short_is_refused(tmp_path, write):
    archive = write(tmp_path / "archive")
    archive.write_bytes(archive.read_bytes()[:-30])
    data = settings(tmp_path, archive)
    with pytest.raises(DataError, match=r"not a \.zip, \.tar or \.tar\.gz archive that can be read"):
        ensure_present(data)
    assert leftovers(tmp_path) == []


def test_too_much_stripped_is_said(tmp_path):
    with pytest.raises(DataError, match="holds no file below 9 leading folders; mend `strip`"):
        ensure_present(settings(tmp_path, write_zip(tmp_path / "archive"), strip=9))


def test_no_network_names_the_address_and_the_root(tmp_path, monkeypatch):
    def refuse(url, timeout):
        raise URLError("Name or service not known")

    monkeypatch.setattr(download, "urlopen", refuse)
    data = VocData(root=tmp_path / "data", download=Download(url="https://example.invalid/data.zip"))
    with pytest.raises(DataError, match=r"could not download https://example\.invalid/data\.zip .*/data: Name or serv"):
        ensure_present(data)


@pytest.mark.parametrize("url", ["http://example.invalid/data.zip", "ftp://example.invalid/data.zip", "data.zip"])
def test_other_schemes_are_refused(tmp_path, url):
    with pytest.raises(DataError, match="expected an address with https:// or file://"):
        ensure_present(VocData(root=tmp_path / "data", download=Download(url=url)))


def test_download_needs_a_root():
    with pytest.raises(ConfigError, match="needs a `root`"):
        ensure_present(CocoData(download=Download(url="https://example.invalid/data.zip")))


def test_slower_of_two_processes_gives_way(tmp_path, monkeypatch):
    data = settings(tmp_path, write_zip(tmp_path / "archive"))
    unpack = download._unpack

    def overtaken(*arguments):
        unpack(*arguments)
        data.root.mkdir()
        (data.root / "theirs").touch()

    monkeypatch.setattr(download, "_unpack", overtaken)
    ensure_present(data)
    assert leftovers(tmp_path) == ["data"]
    assert [path.name for path in data.root.iterdir()] == ["theirs"]
