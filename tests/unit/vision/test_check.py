import shutil

import cv2

from vision.faults import KINDS as ALL_KINDS
from vision.formats.check import KINDS, check


def kinds(faults):
    return [fault.kind for fault in faults]


def test_sound_data_has_no_faults(voc, object_xml):
    splits = {split: {split: [object_xml("cat", (5, 5, 20, 20))]} for split in ("train", "val")}
    assert check(voc(splits), ["train", "val"]) == []
    assert KINDS is ALL_KINDS


def test_damage_inside_an_image_is_found_by_decoding(voc, monkeypatch):
    data = voc({"train": {"a": [], "b": []}}, classes=("cat",))
    decode = cv2.imdecode
    whole = (data.root / "JPEGImages" / "b.jpg").stat().st_size
    monkeypatch.setattr(cv2, "imdecode", lambda data, flags: decode(data, flags) if len(data) == whole else None)
    path = data.root / "JPEGImages" / "a.jpg"
    path.write_bytes(path.read_bytes() + b"\0")
    (fault,) = check(data, ["train"])
    assert (fault.kind, fault.path, fault.name, fault.is_fatal) == ("truncated_image", path, "a", True)


def test_box_drawn_twice_is_reported_with_both_places(voc, object_xml):
    first, second = object_xml("cat", (1, 1, 40, 40)), object_xml("cat", (2, 1, 41, 40))
    data = voc({"train": {"a": [first, object_xml("dog", (1, 1, 40, 40)), object_xml("cat", (9, 9, 9, 9)), second]}})
    fatal, reported = check(data, ["train"])
    assert kinds([fatal, reported]) == ["zero_area", "duplicate_box"]
    assert reported.message.startswith("objects #0 and #3, both cat, overlap with IoU 0.95")
    assert (reported.box_index, reported.is_fatal) == (3, False)


def test_same_bytes_in_two_splits_are_leakage(voc):
    data = voc({"train": {"a": []}, "val": {"b": [], "c": []}}, classes=("cat",))
    shutil.copy(data.root / "JPEGImages" / "a.jpg", data.root / "JPEGImages" / "b.jpg")
    (fault,) = check(data, ["train", "val"])
    assert (fault.kind, fault.is_fatal) == ("duplicate_image", False)
    assert "leakage" in fault.message


def test_same_bytes_within_a_split_are_reported(voc):
    data = voc({"train": {"a": [], "b": []}}, classes=("cat",))
    shutil.copy(data.root / "JPEGImages" / "a.jpg", data.root / "JPEGImages" / "b.jpg")
    assert kinds(check(data, ["train"])) == ["duplicate_image"]


def test_split_within_another_is_no_leakage_and_faults_count_once(voc, object_xml):
    data = voc({"train": {"a": [object_xml("cat", (9, 9, 9, 9))]}, "val": {"b": []}})
    (data.root / "ImageSets" / "Main" / "trainval.txt").write_text("a\nb\n")
    assert kinds(check(data, ["train", "val", "trainval"])) == ["zero_area"]


def test_image_shared_by_splits_that_only_overlap_is_leakage(voc):
    data = voc({"train": {"a": [], "b": []}, "val": {"b": [], "c": []}}, classes=("cat",))
    assert kinds(check(data, ["train", "val"])) == ["duplicate_image"]


def test_rare_name_like_a_frequent_one_is_a_typo(voc, object_xml):
    many = [object_xml("platelets", (1, 1, 9, 9 + i / 2)) for i in range(60)]
    data = voc({"train": {"a": [*many, object_xml("Platelet", (20, 20, 30, 30))]}})
    typos = [fault for fault in check(data, ["train"]) if fault.kind == "class_typo"]
    assert [fault.message for fault in typos] == ["class 'Platelet' (1 objects) looks like 'platelets' (60) misspelt"]


def test_broken_split_does_not_hide_the_faults_of_others(voc, object_xml):
    data = voc({"train": {"a": [object_xml("cat", (9, 9, 9, 9))]}, "val": {}})
    assert kinds(check(data, ["train", "val"])) == ["no_images", "zero_area"]
