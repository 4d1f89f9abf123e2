"""Data sets written in other formats and dealt into other splits, read back by the readers."""

import json

import cv2
import numpy as np
import pytest
from pydantic import TypeAdapter

from foundation.errors import ConfigError, DataError
from vision.formats import known_splits, read_dataset, read_split
from vision.formats.convert import WRITERS, convert
from vision.formats.split import split
from vision.formats.stratify import group_keys, stratify
from vision.settings import CocoData, CocoSplit, DataSettings, ImageFolderData, ScenesData

SETTINGS = TypeAdapter(DataSettings)


@pytest.fixture
def source(tmp_path):
    """Two splits with odd corners, a crowd, an image without objects, and classes in no order of letters."""
    rng = np.random.default_rng(0)
    for name, count in (("train", 6), ("val", 3)):
        images, annotations = [], []
        for index in range(count):
            file = f"deep/{index}.png" if index % 2 else f"{index}.png"
            path = tmp_path / "source" / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), rng.integers(0, 255, (40, 60, 3), dtype=np.uint8))
            images.append({"id": index, "file_name": file, "width": 60, "height": 40})
            for _ in range(index):
                x, y = rng.uniform(0, 30, 2)
                annotation = {
                    "image_id": index,
                    "category_id": int(rng.integers(1, 4)),
                    "iscrowd": 0,
                    "id": len(annotations),
                }
                annotations.append(annotation | {"bbox": [x, y, *rng.uniform(1.5, 10, 2)], "extra": "kept"})
        annotations[0]["iscrowd"] = 1
        content = {"images": images, "annotations": annotations}
        content["categories"] = [
            {"id": i + 1, "name": label} for i, label in enumerate(("zebra", "ant", "mole", "unused"))
        ]
        (tmp_path / "source" / f"{name}.json").write_text(json.dumps(content))
    places = {
        name: CocoSplit(annotations=tmp_path / "source" / f"{name}.json", images=tmp_path / "source" / name)
        for name in ("train", "val")
    }
    return CocoData(splits=places)


def content(data, name, *, with_crowds=True):
    """What a split holds, whatever its images are called: pixels to boxes, labels, crowds."""
    found = {}
    for record in read_dataset(data, name).records:
        kept = slice(None) if with_crowds else ~record.iscrowd
        pixels = record.path.read_bytes()
        found[pixels] = (record.boxes[kept].tobytes(), record.labels[kept].tolist(), record.iscrowd[kept].tolist())
    return found


@pytest.mark.parametrize("is_copied", [False, True])
@pytest.mark.parametrize("to", WRITERS)
def test_what_is_written_is_read_back_to_the_last_bit(source, tmp_path, to, is_copied):
    result = convert(source, ["train", "val"], to, tmp_path / "out", is_copied=is_copied)
    written = SETTINGS.validate_python(result["data"])
    assert known_splits(written) == ("train", "val")
    assert read_dataset(written, "train").classes == ("zebra", "ant", "mole", "unused")
    for name in ("train", "val"):
        assert content(written, name) == content(source, name, with_crowds=to != "yolo")
        assert all(record.path.is_symlink() != is_copied for record in read_dataset(written, name).records)
    assert list(result["lost"].values()) == ([2] if to == "yolo" else [])
    assert result["splits"]["train"] == {"images": 6, "objects": 15}


@pytest.mark.parametrize("first", WRITERS)
@pytest.mark.parametrize("second", WRITERS)
def test_there_and_back_again(source, tmp_path, first, second):
    there = SETTINGS.validate_python(convert(source, ["train"], first, tmp_path / "there")["data"])
    back = SETTINGS.validate_python(convert(there, ["train"], second, tmp_path / "back")["data"])
    assert content(back, "train", with_crowds=False) == content(source, "train", with_crowds=False)


def test_whole_pixels_are_whole_numbers_in_voc(voc, object_xml, tmp_path):
    data = voc({"train": {"a": [object_xml("cat", (3, 4, 20, 30))]}})
    convert(data, ["train"], "voc", tmp_path / "out")
    assert "<xmin>3</xmin>" in (tmp_path / "out" / "Annotations" / "a.xml").read_text()


def test_a_box_of_one_pixel_is_no_box_in_voc_and_counted(yolo, tmp_path):
    data = yolo({"a": f"0 0.5 0.5 {1 / 60} 0.5\n0 0.5 0.5 0.5 0.5\n"})
    result = convert(data, ["train"], "voc", tmp_path / "out")
    assert list(result["lost"].values()) == [1]
    assert len(read_dataset(SETTINGS.validate_python(result["data"]), "train").records[0].labels) == 1


@pytest.mark.parametrize("to", WRITERS)
def test_other_split_names_and_shared_images_survive(voc, object_xml, tmp_path, to):
    data = voc({"train": {"a": [object_xml("cat", (3, 4, 20, 30))]}, "fold2": {"b": []}})
    (data.root / "ImageSets" / "Main" / "both.txt").write_text("a\nb\n")
    written = SETTINGS.validate_python(convert(data, known_splits(data), to, tmp_path / "out")["data"])
    assert {name: len(read_dataset(written, name).records) for name in known_splits(written)} == {
        "train": 1,
        "fold2": 1,
        "both": 2,
    }


def test_nothing_is_overwritten_and_nothing_half_written(source, tmp_path, monkeypatch):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine").touch()
    with pytest.raises(DataError, match="exists already"):
        convert(source, ["train"], "voc", out)
    with pytest.raises(DataError, match="cannot write the data set"):
        convert(source, ["train"], "voc", out / "mine" / "below")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "source"]


def test_labels_without_boxes_are_refused(tmp_path):
    with pytest.raises(DataError, match="no boxes"):
        convert(ImageFolderData(root=tmp_path), ["train"], "voc", tmp_path / "out")


def test_new_splits_hold_every_image_once_with_its_annotations_untouched(source, tmp_path):
    result = split(source, {"train": 0.6, "test": 0.4}, tmp_path / "out", seed=1)
    written = SETTINGS.validate_python(result["data"])
    parts = [content(written, name) for name in ("train", "test")]
    assert parts[0].keys().isdisjoint(parts[1])
    assert parts[0] | parts[1] == content(source, "train") | content(source, "val")
    document = json.loads((tmp_path / "out" / "annotations" / "instances_train.json").read_text())
    assert {item["extra"] for item in document["annotations"]} == {"kept"}
    assert sum(numbers["images"] for numbers in result["splits"].values()) == 9


@pytest.mark.parametrize("kind", ["voc", "yolo", "coco"])
def test_every_format_with_boxes_is_split_without_moving_anything(source, tmp_path, kind):
    data = SETTINGS.validate_python(convert(source, ["train", "val"], kind, tmp_path / "data", is_copied=True)["data"])
    before = sorted(path for path in (tmp_path / "data").rglob("*"))
    result = split(data, {"train": 2, "val": 1, "fold": 1}, tmp_path / "out")
    written = SETTINGS.validate_python(result["data"])
    assert set(known_splits(written)) == {"train", "val", "fold"}
    joined = {}
    for name in known_splits(written):
        joined |= content(written, name)
    assert joined == content(data, "train") | content(data, "val")
    assert sorted(path for path in (tmp_path / "data").rglob("*")) == before


def test_labelled_images_are_split_by_class(tmp_path, write_image):
    for index in range(20):
        write_image(tmp_path / "data" / "train" / ("a" if index < 16 else "b") / f"{index}.png", seed=index)
    result = split(ImageFolderData(root=tmp_path / "data"), {"train": 0.75, "val": 0.25}, tmp_path / "out")
    assert [numbers["classes"] for numbers in result["splits"].values()] == [{"a": 12, "b": 3}, {"a": 4, "b": 1}]
    assert len(read_split(SETTINGS.validate_python(result["data"]), "val").records) == 5


def test_what_belongs_together_stays_together(voc, object_xml, tmp_path):
    data = voc({"all": {f"p{i // 4}_{i}": [object_xml("cat", (3, 4, 20, 30))] for i in range(20)}})
    result = split(data, {"train": 0.6, "val": 0.4}, tmp_path / "out", group=r"^(p\d+)_")
    written = SETTINGS.validate_python(result["data"])
    patients = [
        {record.name.split("_")[0] for record in read_dataset(written, name).records} for name in ("train", "val")
    ]
    assert patients[0].isdisjoint(patients[1])
    assert [numbers["groups"] for numbers in result["splits"].values()] == [3, 2]


def test_shares_of_rare_classes_by_hand():
    # Ten images: two show the rare class 1, all show class 0 once.
    counts = np.array([[1, 1, int(index < 2)] for index in range(10)])
    parts = stratify(counts, [0.5, 0.5], seed=0)
    assert sorted(parts[:2].tolist()) == [0, 1]
    assert np.bincount(parts).tolist() == [5, 5]
    assert stratify(counts, [0.5, 0.5], seed=0).tolist() == parts.tolist()
    assert any(stratify(counts, [0.5, 0.5], seed=seed).tolist() != parts.tolist() for seed in range(1, 5))
    assert stratify(np.zeros((0, 3), np.int64), [0.5, 0.5], seed=0).tolist() == []


def test_images_without_objects_are_shared_out_too():
    assert np.bincount(stratify(np.array([[1, 0]] * 9), [2 / 3, 1 / 3], seed=0)).tolist() == [6, 3]


@pytest.mark.parametrize(
    ("shares", "keys", "reason"),
    [
        pytest.param({"train": 1.0}, {}, "two or more splits", id="one split"),
        pytest.param({"train": 1.0, "val": 0.0}, {}, "shares above 0", id="no share"),
        pytest.param({"train": 1, "val": 1}, {"group": "("}, "no regular expression", id="broken pattern"),
        pytest.param({"train": 1, "val": 1}, {"group": "Q"}, "matches no image's name", id="pattern without match"),
        pytest.param({"train": 1, "val": 1}, {"group": "^()"}, "leave a split", id="all in one group"),
    ],
)
def test_wrong_wishes_are_refused(source, tmp_path, shares, keys, reason):
    with pytest.raises((ConfigError, DataError), match=reason):
        split(source, shares, tmp_path / "out", **keys)
    assert not (tmp_path / "out").exists()


def test_names_without_a_group_are_counted():
    assert group_keys(["a1", "a2", "b"], r"^(a)") == (["=a", "=a", "b"], 1)
    assert group_keys(["a1", "b2"], r"\d") == (["=1", "=2"], 0)
    assert group_keys(["a1"], None) == (["a1"], 0)


def test_generated_scenes_have_their_splits(tmp_path):
    with pytest.raises(ConfigError, match="generated with its splits"):
        split(ScenesData(), {"train": 1, "val": 1}, tmp_path / "out")
