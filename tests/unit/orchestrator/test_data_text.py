"""The text of the `data` commands."""

import pytest

from orchestrator.cli.data_text import converted_text, dealt_text, kinds_table, stats_text, verdict

SPREAD = {"min": 1.0, "median": 2.5, "max": 4.0}
SPLIT = {
    "images": 2,
    "images_without_objects": 1,
    "objects": 3,
    "crowd_objects": 0,
    "classes": {"cat": {"objects": 3, "images": 1, "small": 1, "medium": 2, "large": 0}},
    "objects_per_image": SPREAD,
    "box_width_px": {},
    "box_height_px": {},
    "aspect_ratio": {},
    "image_sizes": [{"height": 40, "width": 60, "images": 2}],
    "faults": {"zero_area": 1},
}


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        pytest.param((0, 0, 0), "no faults", id="none"),
        pytest.param(
            (1, 1, 0),
            "1 fault; training refuses 1 of them: mend the files, or set `on_error: quarantine`",
            id="refused",
        ),
        pytest.param(
            (3, 0, 2), "3 faults; training leaves 2 of them out, as `on_error: quarantine` says", id="quarantined"
        ),
        pytest.param((2, 0, 0), "2 faults; training goes on with them", id="reported only"),
    ],
)
def test_verdict(counts: tuple[int, int, int], expected: str) -> None:
    assert verdict(*counts) == expected


def test_stats_are_short_tables() -> None:
    counted = {"format": "voc", "classes": ["cat"], "splits": {"train": SPLIT}}
    assert stats_text("pets", counted).splitlines() == [
        "pets: voc, 1 class: cat",
        "",
        "  train: 2 images of 60 x 40 pixels, 1 without objects; 3 objects",
        "",
        "    class  objects  images  small  medium  large",
        "    cat    3        1       1      2       0",
        "",
        "                       min  median  max",
        "    objects per image  1    2.5     4",
        "",
        "    left out: 1 zero_area",
    ]


def test_faults_are_counted_by_kind_those_that_are_refused_first() -> None:
    def fault(kind: str, is_fatal: bool) -> dict[str, object]:
        return {"data": "cells", "kind": kind, "is_fatal": is_fatal}

    found = [fault("class_typo", False), fault("zero_area", True), fault("zero_area", True)]
    assert [line.split() for line in kinds_table(found).splitlines()] == [
        ["data", "kind", "count"],
        ["cells", "zero_area", "2", "fault"],
        ["cells", "class_typo", "1", "reported", "only"],
    ]


def test_what_was_converted_ends_with_the_settings_to_use_it() -> None:
    written = {
        "data": {"format": "yolo", "root": "/new", "classes": ["cat"]},
        "splits": {"train": {"images": 3, "objects": 7}},
        "lost": {"crowds": 2},
        "faulty": 1,
    }
    text = converted_text("pets", written)
    assert "left out: 2 crowds" in text and "left out: 1 faulty" in text
    settings = "data:\n  pets:\n    format: yolo\n    root: /new\n    classes:\n    - cat"
    assert text.endswith(f"wrote /new; in a pipeline file:\n\n{settings}")


def test_what_was_dealt_shows_every_class_in_every_split() -> None:
    dealt = {
        "data": {"format": "voc", "root": "/new", "classes": ["cat", "dog"]},
        "splits": {"train": {"images": 3, "groups": 2, "classes": {"cat": 5, "dog": 1}}},
        "without_group": 4,
        "faulty": 0,
    }
    lines = dealt_text("pets", dealt).splitlines()
    assert [line.split() for line in lines[:2]] == [
        ["split", "images", "groups", "cat", "dog"],
        ["train", "3", "2", "5", "1"],
    ]
    assert "matches not the names of 4 images" in lines[3]
