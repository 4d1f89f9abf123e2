import os
import shutil

import pytest

from vision.formats import digest
from vision.formats.digest import data_digest, file_hashes


@pytest.fixture
def data(voc, object_xml, tmp_path, monkeypatch):
    monkeypatch.setenv("ORCHESTRATOR_CACHE", str(tmp_path / "cache"))
    return voc({"train": {"a": [object_xml("cat", (5, 5, 20, 20))], "b": []}, "val": {"c": []}})


def append(path):
    path.write_bytes(path.read_bytes() + b"\n")


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        pytest.param("Annotations/a.xml", True, id="annotation"),
        pytest.param("JPEGImages/b.jpg", True, id="image"),
        pytest.param("ImageSets/Main/train.txt", True, id="list"),
        pytest.param("Annotations/c.xml", False, id="another split's annotation"),
    ],
)
def test_digest_follows_the_files_of_its_split(data, file, changes):
    before = data_digest(data, "train")
    append(data.root / file)
    assert (data_digest(data, "train") != before) == changes


def test_digest_does_not_depend_on_place_or_time(data, tmp_path):
    shutil.copytree(data.root, tmp_path / "moved")
    os.utime(data.root / "JPEGImages" / "a.jpg", (0, 0))
    moved = data.model_copy(update={"root": tmp_path / "moved"})
    assert data_digest(moved, "train") == data_digest(data, "train")


def test_order_of_the_images_counts(data):
    before = data_digest(data, "train")
    (data.root / "ImageSets" / "Main" / "train.txt").write_text("b\na\n")
    assert data_digest(data, "train") != before


def test_faulty_data_has_a_digest_too(data):
    (data.root / "Annotations" / "a.xml").write_text("")
    before = data_digest(data, "train")
    (data.root / "JPEGImages" / "b.jpg").unlink()
    assert data_digest(data, "train") != before


def test_unchanged_files_are_hashed_once(data, monkeypatch):
    expected = data_digest(data, "train")
    monkeypatch.setattr(digest, "_hash_file", lambda path: pytest.fail(f"{path} was read again"))
    assert data_digest(data, "train") == expected


def test_without_a_cache_folder_it_works_all_the_same(data, tmp_path, monkeypatch):
    expected = data_digest(data, "train")
    (tmp_path / "file").touch()
    monkeypatch.setenv("ORCHESTRATOR_CACHE", str(tmp_path / "file"))
    assert data_digest(data, "train") == expected


def test_missing_file_is_said_to_be_missing(tmp_path):
    assert file_hashes([tmp_path / "gone"]) == {tmp_path / "gone": "missing"}
    assert file_hashes([]) == {}
