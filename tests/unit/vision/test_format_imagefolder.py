"""Folders of classes and scikit-learn's digits: layouts, held-out images, and what is wrong with them."""

import shutil

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from foundation.errors import DataError
from vision.formats import known_splits, read_dataset, read_split
from vision.formats.check import check
from vision.formats.digest import data_digest
from vision.formats.labels import read_labels
from vision.formats.stats import stats
from vision.settings import DigitsData, ImageFolderData

TREE = {"train": {"cat": 5, "dog": 3}, "val": {"cat": 1, "dog": 1}}


@pytest.fixture
def folders(tmp_path, write_image):
    """Write {split: {class: number of images}} and return the settings."""

    def write(tree, **keys):
        seed = 0
        for split, classes in tree.items():
            for name, count in classes.items():
                folder = tmp_path / "set" / split / name
                folder.mkdir(parents=True, exist_ok=True)
                for index in range(count):
                    write_image(folder / f"{index:04d}.png", seed)
                    seed += 1
        return ImageFolderData(root=tmp_path / "set", **keys)

    return write


def names(data, split):
    return [record.name for record in read_labels(data, split).records]


def test_labels_follow_the_folders_of_train_in_order_of_their_names(folders):
    data = folders(TREE)
    assert known_splits(data) == ("train", "val")
    dataset = read_labels(data, "train")
    assert dataset.classes == ("cat", "dog")
    assert [record.label for record in dataset.records] == [0] * 5 + [1] * 3
    assert [record.sample_id for record in dataset.records] == list(range(8))
    first = dataset.records[0]
    assert (first.name, first.image_size, first.shown_size, first.box) == ("cat/0000", (40, 60), (40, 60), None)


def test_given_classes_set_the_order(folders):
    dataset = read_labels(folders(TREE, classes=("dog", "cat")), "train")
    assert [dataset.classes[record.label] for record in dataset.records] == ["cat"] * 5 + ["dog"] * 3
    assert dataset.records[0].label == 1


def test_classes_right_below_the_root_are_the_split_train(folders):
    data = folders({".": {"cat": 2, "dog": 2}})
    assert known_splits(data) == ("train",)
    assert names(data, "train") == ["cat/0000", "cat/0001", "dog/0000", "dog/0001"]


def test_images_in_folders_within_a_class_belong_to_it(folders, write_image):
    data = folders(TREE)
    write_image(data.root / "train" / "dog" / "puppies" / "1.jpg", 99)
    assert read_labels(data, "train").records[-1].name == "dog/puppies/1"


@pytest.mark.parametrize(
    ("share", "cats", "dogs"),
    [
        pytest.param(0.4, 2, 1, id="rounded for each class"),
        pytest.param(0.01, 1, 1, id="at least one"),
        pytest.param(0.99, 4, 2, id="not all"),
    ],
)
def test_a_share_of_every_class_is_held_out(folders, share, cats, dogs):
    data = folders({"train": TREE["train"], "test": TREE["val"]}, val_from_train=share)
    assert known_splits(data) == ("train", "val", "test")
    held_out = names(data, "val")
    assert [name.split("/")[0] for name in held_out] == ["cat"] * cats + ["dog"] * dogs
    assert sorted(names(data, "train") + held_out) == names(data.model_copy(update={"val_from_train": None}), "train")


def test_which_images_are_held_out_depends_on_the_seed_and_hardly_on_other_images(folders, write_image):
    data = folders({"train": {"cat": 40, "dog": 40}}, val_from_train=0.25)
    held_out = set(names(data, "val"))
    assert held_out == set(names(data, "val"))
    assert held_out != set(names(data.model_copy(update={"seed": 1}), "val"))
    write_image(data.root / "train" / "cat" / "new.png", 500)
    assert len(set(names(data, "val")) ^ held_out) <= 2


def test_splits_have_digests_of_their_own_that_follow_a_moved_image(folders):
    data = folders({"train": {"cat": 6, "dog": 6}}, val_from_train=0.5)
    before = data_digest(data, "train"), data_digest(data, "val")
    assert before[0] != before[1]
    shutil.move(data.root / "train" / "cat" / "0000.png", data.root / "train" / "dog" / "cat.png")
    assert (data_digest(data, "train"), data_digest(data, "val")) != before


def test_holding_out_beside_a_val_folder_would_have_no_effect(folders):
    with pytest.raises(DataError, match=r"`val_from_train` has no effect, since there is a split 'val'"):
        known_splits(folders(TREE, val_from_train=0.1))


def test_an_empty_class_folder_is_refused_by_its_path(folders):
    data = folders({"train": {"cat": 2, "dog": 2, "eel": 0}})
    with pytest.raises(DataError, match=r"train/eel: this class has no image.*\[no_images\]"):
        read_labels(data, "train")
    quarantined = read_labels(data.model_copy(update={"on_error": "quarantine"}), "train")
    assert (quarantined.classes, len(quarantined.faults)) == (("cat", "dog", "eel"), 1)


def test_a_class_without_images_in_val_is_reported_only(folders):
    data = folders({"train": {"cat": 2, "dog": 2}, "val": {"cat": 1}})
    assert len(read_labels(data, "val").records) == 1
    assert [(fault.kind, fault.path.name, fault.is_fatal) for fault in check(data, ["val"])] == [
        ("no_images", "dog", False)
    ]


def test_a_class_of_val_that_train_does_not_have_is_refused_with_the_nearest(folders):
    data = folders({"train": {"cat": 2, "dog": 2}, "val": {"cat": 1, "dogs": 3}})
    with pytest.raises(DataError, match=r"val/dogs: this folder holds 3 images of a class 'dogs'.*did you mean 'dog'"):
        read_labels(data, "val")
    assert len(read_labels(data.model_copy(update={"on_error": "quarantine"}), "val").records) == 1


@pytest.mark.parametrize("tree", [{"train": {"cat": 3}}, {"train": {"cat": 3}, "val": {"cat": 1}}])
def test_one_class_alone_is_refused(folders, tree):
    with pytest.raises(DataError, match="only one class, cat; a classifier needs two"):
        read_labels(folders(tree), "train")
    faults = check(folders(tree), ["train"])
    assert [(fault.kind, fault.is_fatal) for fault in faults] == [("unknown_class", True)]


def test_a_class_that_is_listed_twice_is_refused(tmp_path):
    with pytest.raises(ValidationError, match="each class once, got cat more than once"):
        ImageFolderData(root=tmp_path, classes=("cat", "dog", "cat"))


def test_a_train_split_that_shows_one_of_its_classes_only_is_refused(folders):
    data = folders({"train": {"cat": 3, "dog": 0}}, on_error="quarantine")
    with pytest.raises(DataError, match="only one class, cat"):
        read_labels(data, "train")


def test_broken_images_are_faults_of_the_other_formats_kinds(folders):
    data = folders(TREE)
    whole = (data.root / "train" / "cat" / "0001.png").read_bytes()
    (data.root / "train" / "cat" / "0001.png").write_bytes(whole[: len(whole) // 2])
    (data.root / "train" / "cat" / "0002.png").write_bytes(b"no image")
    (data.root / "train" / "dog" / "0000.png").write_bytes(b"")
    with pytest.raises(DataError, match="3 faults"):
        read_labels(data, "train")
    kinds = {fault.path.name: fault.kind for fault in check(data, ["train"])}
    assert kinds == {"0001.png": "truncated_image", "0002.png": "not_an_image", "0000.png": "not_an_image"}
    dataset = read_labels(data.model_copy(update={"on_error": "quarantine"}), "train")
    assert (len(dataset.records), len(dataset.faults)) == (5, 3)
    assert [record.sample_id for record in dataset.records] == list(range(5))


def test_an_image_beside_the_class_folders_is_reported(folders, write_image):
    data = folders(TREE)
    write_image(data.root / "train" / "lost.png")
    [fault] = check(data, ["train"])
    assert (fault.path.name, fault.is_fatal) == ("lost.png", False)
    assert len(read_labels(data, "train").records) == 8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"root": "nowhere"}, "this folder does not exist", id="no root"),
        pytest.param({}, "no split found here", id="nothing in it"),
    ],
)
def test_folders_that_hold_nothing(tmp_path, change, message):
    data = ImageFolderData(root=tmp_path / change.get("root", ""))
    with pytest.raises(DataError, match=message):
        known_splits(data)
    with pytest.raises(DataError):
        read_labels(data, "train")


def test_an_unknown_split_is_told_with_those_there_are(folders):
    with pytest.raises(DataError, match=r"no split 'vla' \(did you mean 'val'\?\); known splits: train, val"):
        read_labels(folders(TREE), "vla")


def test_there_is_nothing_to_detect_but_all_the_rest_works(folders):
    data = folders(TREE)
    with pytest.raises(DataError, match="no boxes"):
        read_dataset(data, "train")
    assert len(read_split(data, "train").records) == 8
    counted = stats(data, ["train"])["splits"]["train"]
    assert (counted["images"], counted["classes"]) == (8, {"cat": {"images": 5}, "dog": {"images": 3}})
    assert counted["image_sizes"] == [{"height": 40, "width": 60, "images": 8}]


def test_digits_are_written_once_and_split_as_the_scenes_are(tmp_path):
    data = DigitsData(root=tmp_path)
    assert known_splits(data) == ("train", "val", "test")
    counts = {split: len(read_labels(data, split).records) for split in known_splits(data)}
    assert sum(counts.values()) == 1797
    assert counts["train"] > 1000 and min(counts.values()) > 300
    dataset = read_labels(data, "train")
    assert {record.label for record in dataset.records} == set(range(10)) and dataset.classes[3] == "three"
    written = dataset.records[0].path.stat().st_mtime_ns
    image = cv2.imread(str(dataset.records[0].path))
    assert (image.shape, image.max(), np.ptp(image, axis=2).max()) == ((8, 8, 3), 255, 0)
    assert read_labels(data, "train").records[0].path.stat().st_mtime_ns == written


def test_other_classes_than_the_ten_digits_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"expected .*'nine'"):
        read_labels(DigitsData(root=tmp_path, classes=("0", "1")), "train")


@pytest.mark.real_data
def test_cifar_photographs(shared_data):
    data = ImageFolderData(root=shared_data / "cifar10-small", val_from_train=0.1)
    assert {split: len(read_labels(data, split).records) for split in known_splits(data)} == {
        "train": 2700,
        "val": 300,
        "test": 1000,
    }
    dataset = read_labels(data, "val")
    assert np.bincount([record.label for record in dataset.records]).tolist() == [30] * 10
    assert dataset.classes[:3] == ("airplane", "automobile", "bird")
    assert all(record.image_size == (32, 32) for record in dataset.records)
