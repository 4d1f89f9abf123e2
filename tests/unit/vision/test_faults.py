"""Every fault: refused by default, left out and counted in quarantine, and always named with its place."""

import pytest

from foundation.errors import DataError
from vision.faults import KINDS, did_you_mean
from vision.formats import read_dataset

GOOD = ("cat", (5, 5, 20, 20))


def quarantined(data):
    return read_dataset(data.model_copy(update={"on_error": "quarantine"}), "train")


@pytest.mark.parametrize(
    ("name", "corners", "kind", "words"),
    [
        pytest.param("cat", (9, 9, 9, 9), "zero_area", "#1 (cat: 9 9 9 9) has no area", id="a point"),
        pytest.param("cat", (9, 5, 9, 30), "zero_area", "has no area", id="no width"),
        pytest.param("cat", (30, 5, 9, 30), "zero_area", "has no area", id="swapped corners"),
        pytest.param("cat", (90, 90, 95, 95), "outside_image", "reaches out", id="wholly outside"),
        pytest.param("cta", (1, 1, 9, 9), "unknown_class", "cat, dog (did you mean 'cat'?)", id="typo"),
        pytest.param("Dog", (1, 1, 9, 9), "unknown_class", "(did you mean 'dog'?)", id="wrong case"),
        pytest.param("cat", (1, 1, "x", 9), "broken_annotation", "should hold four numbers", id="no number"),
        pytest.param("cat", (1, 1, "inf", 9), "broken_annotation", "not finite", id="infinite"),
        pytest.param("", (1, 1, 9, 9), "broken_annotation", "it has no <name>", id="no class name"),
    ],
)
def test_faulty_box_is_left_out_and_its_image_stays(voc, object_xml, name, corners, kind, words):
    data = voc({"train": {"a": [object_xml(*GOOD), object_xml(name, corners)]}}, classes=("cat", "dog"))
    with pytest.raises(DataError, match=r"has 1 fault\. .*:\n.*a\.xml: object #1"):
        read_dataset(data, "train")
    dataset = quarantined(data)
    (fault,) = dataset.faults
    assert (fault.kind, fault.name, fault.box_index) == (kind, "a", 1)
    assert words in fault.message
    assert dataset.records[0].boxes.tolist() == [[4, 4, 20, 20]]


@pytest.mark.parametrize(
    ("corners", "expected", "num_faults"),
    [
        pytest.param((1, 1, 60, 40), [0, 0, 60, 40], 0, id="touching all edges is legal"),
        pytest.param((0, 0, 61, 41), [0, 0, 60, 40], 0, id="one pixel over is clipped without a word"),
        pytest.param((1, 1, 62, 40), [0, 0, 60, 40], 1, id="two pixels over is clipped and counted"),
        pytest.param((-1, 1, 9, 9), [0, 0, 9, 9], 1, id="negative by two is clipped and counted"),
    ],
)
def test_box_at_the_edge_of_its_image(voc, object_xml, corners, expected, num_faults):
    dataset = quarantined(voc({"train": {"a": [object_xml("cat", corners)]}}))
    assert dataset.records[0].boxes.tolist() == [expected]
    assert [fault.kind for fault in dataset.faults] == ["outside_image"] * num_faults
    assert dataset.records[0].area.tolist() == [(expected[2] - expected[0]) * (expected[3] - expected[1])]


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        pytest.param("", "empty_annotation", "an empty file", id="empty"),
        pytest.param(" \n", "empty_annotation", "an empty file", id="only blanks"),
        pytest.param("<annotation><object>", "broken_annotation", "is not XML", id="cut short"),
        pytest.param("{}", "broken_annotation", "is not XML", id="JSON"),
    ],
)
def test_faulty_annotation_keeps_its_image_out(voc, object_xml, text, kind, words):
    data = voc({"train": {"a": text, "b": [object_xml(*GOOD)]}})
    with pytest.raises(DataError, match=r"a\.xml: this annotation"):
        read_dataset(data, "train")
    dataset = quarantined(data)
    assert [(record.sample_id, record.name) for record in dataset.records] == [(0, "b")]
    assert dataset.faults[0].kind == kind
    assert words in dataset.faults[0].message


def cut(path):
    path.write_bytes(path.read_bytes()[:-50])


@pytest.mark.parametrize(
    ("harm", "kind"),
    [
        pytest.param(lambda path: path.unlink(), "missing_file", id="missing"),
        pytest.param(lambda path: path.write_bytes(b""), "not_an_image", id="empty"),
        pytest.param(lambda path: path.write_text("<html>"), "not_an_image", id="web page"),
        pytest.param(cut, "truncated_image", id="cut short"),
    ],
)
def test_faulty_image_is_left_out(voc, object_xml, harm, kind):
    data = voc({"train": {"a": [object_xml(*GOOD)], "b": [object_xml(*GOOD)]}})
    harm(data.root / "JPEGImages" / "a.jpg")
    with pytest.raises(DataError, match=rf"a\.jpg: .* \[{kind}\]"):
        read_dataset(data, "train")
    dataset = quarantined(data)
    assert [(fault.kind, fault.name) for fault in dataset.faults] == [(kind, "a")]
    assert [(record.sample_id, record.name) for record in dataset.records] == [(0, "b")]


@pytest.mark.parametrize(
    ("size", "num_faults"),
    [
        pytest.param((40, 60), 0, id="right"),
        pytest.param((0, 0), 0, id="zero, as some tools write it, says nothing"),
        pytest.param((80, 120), 1, id="twice as large"),
        pytest.param((60, 40), 1, id="turned"),
    ],
)
def test_annotation_of_another_size_is_a_fault(voc, size, num_faults):
    data = voc({"train": {"a": [], "b": []}}, size, classes=("cat",))
    if not num_faults:
        assert len(read_dataset(data, "train").records) == 2
        return
    with pytest.raises(DataError, match=rf"says {size[1]} x {size[0]} pixels .* has 60 x 40"):
        read_dataset(data, "train")


def test_annotation_that_is_missing_is_a_fault(voc):
    data = voc({"train": {"a": [], "b": []}}, classes=("cat",))
    (data.root / "Annotations" / "a.xml").unlink()
    assert [(fault.kind, fault.path.name) for fault in quarantined(data).faults] == [("missing_file", "a.xml")]


def test_image_listed_twice_counts_once(voc):
    data = voc({"train": {"a": [], "b": []}}, classes=("cat",))
    (data.root / "ImageSets" / "Main" / "train.txt").write_text("a\nb\na\n")
    dataset = quarantined(data)
    assert len(dataset.records) == 2
    assert "'a' is listed more than once" in dataset.faults[0].message


def test_nothing_left_in_quarantine_is_an_error(voc):
    with pytest.raises(DataError, match="no image is left: all 2 were faulty"):
        quarantined(voc({"train": {"a": "", "b": ""}}, classes=("cat",)))


def test_refusal_lists_ten_faults_and_says_what_to_do(voc, object_xml):
    data = voc({"train": {"a": [object_xml("cat", (9, 9, 9, 9))] * 12}})
    with pytest.raises(DataError) as error:
        read_dataset(data, "train")
    text = str(error.value)
    assert "has 12 faults" in text
    assert text.count("[zero_area]") == 10
    assert "… and 2 more" in text
    assert "`orchestrator data check`" in text
    assert "`on_error: quarantine`" in text


def test_every_kind_is_explained_in_one_line():
    assert all(text and "\n" not in text for text in KINDS.values())


def test_nearest_name_is_offered_only_when_near():
    assert did_you_mean("platelet", ["RBC", "Platelets"]) == " (did you mean 'Platelets'?)"
    assert did_you_mean("submarine", ["RBC", "Platelets"]) == ""
    assert did_you_mean("x", []) == ""
