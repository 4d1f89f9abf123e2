import numpy as np
import pytest

from foundation.errors import DataError
from vision.formats import known_splits, read_dataset
from vision.formats.check import check
from vision.settings import YoloData


def test_shares_become_pixels(yolo):
    (record,) = read_dataset(yolo({"a": "1 0.5 0.5 0.5 0.25\n"}), "train").records
    assert record.boxes.tolist() == [[15, 15, 45, 25]]
    assert record.labels.tolist() == [1]
    assert record.area.tolist() == [300]
    assert record.image_size == (40, 60)


def test_polygon_becomes_its_box_with_its_own_area(yolo):
    (record,) = read_dataset(yolo({"a": "0 0.1 0.1 0.5 0.1 0.5 0.6\n"}), "train").records
    assert record.boxes == pytest.approx(np.array([[6, 4, 30, 24]]))
    assert record.area == pytest.approx([24 * 20 / 2])


def test_missing_or_empty_label_file_is_background(yolo):
    records = read_dataset(yolo({"a": "0 .5 .5 .5 .5", "b": None, "c": ""}), "train").records
    assert [(record.name, len(record.boxes)) for record in records] == [("a", 1), ("b", 0), ("c", 0)]


@pytest.mark.parametrize(
    ("names", "classes", "expected", "label"),
    [
        pytest.param("names: [cat, dog]", None, ("cat", "dog"), 1, id="list"),
        pytest.param("names: {0: cat, 1: dog}", None, ("cat", "dog"), 1, id="mapping"),
        pytest.param("names: [cat, dog]", ("dog", "cat"), ("dog", "cat"), 0, id="both: labels go by name"),
        pytest.param(None, ("cat", "dog"), ("cat", "dog"), 1, id="only our own classes"),
    ],
)
def test_where_class_names_come_from(yolo, names, classes, expected, label):
    dataset = read_dataset(yolo({"a": "1 .5 .5 .5 .5"}, names, classes=classes), "train")
    assert dataset.classes == expected
    assert dataset.records[0].labels.tolist() == [label]


def test_names_in_a_text_file(yolo):
    data = yolo({"a": "1 .5 .5 .5 .5"}, names=None)
    (data.root / "classes.txt").write_text("cat\ndog\n")
    assert read_dataset(data, "train").classes == ("cat", "dog")


def test_without_any_names_says_where_to_give_them(yolo):
    with pytest.raises(DataError, match=r"no data\.yaml with `names` and no classes\.txt here; give .* `classes`"):
        read_dataset(yolo({"a": ""}, names=None), "train")


@pytest.mark.parametrize(
    ("line", "kind", "words"),
    [
        pytest.param("2 .5 .5 .5 .5", "unknown_class", "class 2 of 0 … 1", id="class beyond the list"),
        pytest.param("-1 .5 .5 .5 .5", "unknown_class", "class -1 of 0 … 1", id="negative class"),
        pytest.param("0.5 .5 .5 .5 .5", "broken_annotation", "whole number", id="class is no whole number"),
        pytest.param("0 .5 .5 .5", "broken_annotation", "expected `class cx cy w h`", id="a number is missing"),
        pytest.param("0 .5 .5 .5 .5 .9", "broken_annotation", "expected `class cx cy w h`", id="a prediction's score"),
        pytest.param("cat .5 .5 .5 .5", "broken_annotation", "expected numbers", id="class name"),
        pytest.param("0 nan .5 .5 .5", "broken_annotation", "not finite", id="nan"),
        pytest.param("0 .5 .5 0 .5", "zero_area", "has no area", id="no width"),
        pytest.param("0 30 20 10 10", "outside_image", "reaches out of its image of 60 x 40", id="pixels, not shares"),
    ],
)
def test_faulty_line_is_left_out_and_named(yolo, line, kind, words):
    data = yolo({"a": f"0 .5 .5 .5 .5\n{line}\n1 .5 .5 .2 .2"}, on_error="quarantine")
    dataset = read_dataset(data, "train")
    faults = [fault for fault in dataset.faults if fault.kind == kind]
    assert [(fault.box_index, fault.name) for fault in faults] == [(1, "a")]
    assert words in faults[0].message
    assert dataset.records[0].labels.tolist() == [0, 1]


def test_splits_of_the_other_layout(tmp_path, write_image):
    write_image(tmp_path / "valid" / "images" / "a.png")
    (tmp_path / "valid" / "labels").mkdir()
    (tmp_path / "valid" / "labels" / "a.txt").write_text("0 .5 .5 .5 .5")
    data = YoloData(root=tmp_path, classes=("cat",))
    assert known_splits(data) == ("valid",)
    assert len(read_dataset(data, "valid").records[0].boxes) == 1
    with pytest.raises(DataError, match=r"no split 'val' \(did you mean 'valid'\?\)"):
        read_dataset(data, "val")


@pytest.mark.parametrize(
    "entry",
    ["images/train", "../images/train", "[images/train]", "train.txt"],
    ids=["folder", "one level too high, as some exports write it", "list of folders", "list of files"],
)
def test_splits_of_a_data_yaml(yolo, entry):
    data = yolo({"a": "0 .5 .5 .5 .5"}, names=f"path: /nowhere\ntrain: {entry}\nnames: [cat]\n")
    (data.root / "train.txt").write_text("./images/train/a.png\n")
    assert known_splits(data) == ("train",)
    assert len(read_dataset(data, "train").records[0].boxes) == 1


@pytest.mark.parametrize(
    ("names", "words"),
    [
        pytest.param("names: [cat", "is not YAML", id="not YAML"),
        pytest.param("- cat", "should hold `names`", id="a bare list"),
        pytest.param("names: {1: cat}", "a mapping from 0, 1, 2", id="names with a gap"),
        pytest.param("names: [cat]\ntrain: images/gone", "names 'images/gone', which does not exist", id="lost folder"),
        pytest.param("names: !!python/object/apply:os.getcwd []", "is not YAML", id="code in YAML is not run"),
    ],
)
def test_broken_data_yaml_is_named(yolo, names, words):
    with pytest.raises(DataError, match=words):
        read_dataset(yolo({"a": ""}, names=names), "train")


def test_images_without_a_single_label_file_are_refused(yolo):
    with pytest.raises(DataError, match=r"2 images and not one label file; looked for .*labels/train/a\.txt"):
        read_dataset(yolo({"a": None, "b": None}), "train")


def test_folder_without_images_stops_at_once(yolo):
    data = yolo({"a": ""})
    (data.root / "images" / "train" / "a.png").unlink()
    with pytest.raises(DataError, match="holds no image"):
        read_dataset(data, "train")


def test_label_file_without_image_is_reported_only(yolo):
    data = yolo({"a": "0 .5 .5 .5 .5"})
    (data.root / "labels" / "train" / "ghost.txt").write_text("0 .5 .5 .5 .5")
    assert len(read_dataset(data, "train").records) == 1
    assert [(fault.kind, fault.name, fault.is_fatal) for fault in check(data, ["train"])] == [
        ("missing_file", "ghost", False)
    ]
