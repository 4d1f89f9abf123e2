"""The text of `data check` and `data stats`."""

import pytest

from orchestrator.cli.data_text import stats_text, verdict

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
