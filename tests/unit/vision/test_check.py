import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.fakes import make_record
from vision.faults import KINDS as ALL_KINDS
from vision.formats.check import KINDS, check
from vision.formats.near_duplicates import near_duplicates, perceptual_hash
from vision.formats.suspicions import missing_classes, missing_numbers, unusual_sizes
from vision.record import Dataset


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


def picture(seed=0):
    coarse = np.random.default_rng(seed).integers(0, 256, (12, 18, 3), dtype=np.uint8)
    return cv2.resize(coarse, (180, 120), interpolation=cv2.INTER_CUBIC)


@pytest.mark.parametrize(
    ("change", "is_near"),
    [
        pytest.param(lambda image: image, True, id="the same"),
        pytest.param(lambda image: cv2.resize(image, (90, 60), interpolation=cv2.INTER_AREA), True, id="half the size"),
        pytest.param(lambda image: cv2.convertScaleAbs(image, alpha=0.7, beta=30), True, id="paler"),
        pytest.param(lambda image: image[2:-2, 3:-3], True, id="cropped a little"),
        pytest.param(lambda image: image[:, ::-1], False, id="mirrored"),
        pytest.param(lambda _: picture(seed=1), False, id="another picture"),
    ],
)
def test_what_looks_like_a_copy(change, is_near):
    hashes = {"train": {Path("a"): perceptual_hash(picture())}, "val": {Path("b"): perceptual_hash(change(picture()))}}
    assert bool(list(near_duplicates(hashes))) == is_near


def test_near_copies_against_a_slow_loop_and_shared_images_are_none():
    rng = np.random.default_rng(0)
    base = rng.random((6, 255)) < 0.5
    one = {Path(f"a{i}"): base[i] ^ (rng.random(255) < 0.2) for i in range(6)}
    other = {Path(f"b{i}"): base[i] ^ (rng.random(255) < 0.05 * i) for i in range(6)}
    expected = {
        (path, twin)
        for path in one
        for twin in [min(other, key=lambda twin: (one[path] != other[twin]).sum())]
        if (one[path] != other[twin]).sum() <= 63
    }
    found = list(near_duplicates({"train": one, "val": other}))
    assert {(fault.path, next(twin for twin in other if f"{twin} in" in fault.message)) for fault in found} == expected
    assert 0 < len(expected) < 6
    assert list(near_duplicates({"train": one, "trainval": one | other})) == []
    assert list(near_duplicates({"train": one, "val": {}})) == []


def test_an_image_of_one_colour_is_compared_with_none():
    assert perceptual_hash(np.full((30, 40, 3), 90, np.uint8)) is None


def test_a_near_copy_in_another_split_is_reported_once(voc):
    data = voc({"train": {"a": [], "c": []}, "val": {"b": []}}, classes=("cat",))
    for name, image in (("a", picture()), ("b", picture()[1:-1, 1:-1]), ("c", picture(seed=3))):
        cv2.imwrite(str(data.root / "JPEGImages" / f"{name}.jpg"), image)
    for name in "abc":
        (data.root / "Annotations" / f"{name}.xml").write_text("<annotation/>")
    (fault,) = check(data, ["train", "val"])
    assert (fault.kind, fault.name, fault.is_fatal) == ("near_duplicate_image", "a", False)
    assert "b.jpg in split 'val'" in fault.message


def sized(label, side, count, classes=("cell", "dot")):
    """A data set of one image per object, squares of one side."""
    records = tuple(make_record(i, [[0, 0, side + i % 3, side + i % 3]], [label]) for i in range(count))
    return Dataset(classes, records)


def test_an_object_of_another_classs_size_is_suspected():
    cells, dots = sized(0, 100, 20), sized(1, 20, 20)
    wrong = Dataset(cells.classes, (make_record(99, [[5, 5, 26, 26], [0, 0, 50, 50]], [0, 0]),))
    records = [
        replace(r, path=Path(f"{n}{r.sample_id}"))
        for n, d in (("c", cells), ("d", dots), ("w", wrong))
        for r in d.records
    ]
    (fault,) = unusual_sizes({"train": Dataset(cells.classes, tuple(records))})
    assert fault.message.startswith("cell at 5 5 26 26 has 21 x 21 pixels, where cell has about 101 x 101")
    assert list(unusual_sizes({"train": cells})) == []
    assert list(unusual_sizes({})) == []


def test_a_class_that_nearly_all_images_show_is_missed_in_the_others():
    records = tuple(
        replace(make_record(i, [[0, 0, 9, 9]] * 2, [0, 1 if i > 1 else 0]), path=Path(str(i))) for i in range(20)
    )
    found = list(missing_classes({"train": Dataset(("a", "b"), records)}))
    assert [fault.path for fault in found] == [Path("0"), Path("1")]
    assert "no b is annotated here, as it is in 90% of the images" in found[0].message
    assert list(missing_classes({"train": Dataset(("a", "b"), records[:18])})) == []


def numbered(folder, numbers):
    paths = [folder / f"shot_{number:03}.jpg" for number in numbers]
    for path in paths:
        path.touch()
    return {"train": Dataset(("a",), (make_record(0, [], [], path=paths[0]),))}


def test_numbers_that_the_images_leave_out_are_reported_whatever_the_splits_list(tmp_path):
    (fault,) = missing_numbers(numbered(tmp_path, set(range(1, 101)) - {7, 8, *range(20, 30)}))
    assert (
        fault.message
        == "shot_*.jpg counts from 1 to 100 without 12 numbers: 7, 8, 20, 21, 22, 23, 24, 25, 26, 27, and 2 more"
    )
    assert (fault.kind, fault.path, fault.is_fatal) == ("missing_number", tmp_path, False)


@pytest.mark.parametrize(
    "numbers",
    [range(100), {0, *range(81, 100)}, {*range(18), 19}, range(10**15, 10**18, 10**16)],
    ids=["all", "sparse", "few", "times"],
)
def test_numbers_without_gaps_or_sense_are_not(tmp_path, numbers):
    assert list(missing_numbers(numbered(tmp_path, numbers))) == []


def test_fields_that_are_not_read_are_reported_where_they_contradict(voc):
    odd = "<annotation><folder>{}</folder><path>/elsewhere/{}.jpg</path></annotation>"
    data = voc(
        {"train": {"a": odd.format("x", "a"), "b": odd.format("x", "b"), "c": odd.format("y", "c")}}, classes=("cat",)
    )
    paths, folder = check(data, ["train"])
    assert (paths.kind, paths.name, folder.name) == ("stray_field", "a", "c")
    assert "and 2 more of this split" in paths.message
    assert folder.message == "<folder> is 'y', in the others of this split 'x'; it is not read"
