"""Pictures for people."""

import numpy as np
import pytest

from foundation.errors import DataError
from vision.drawing import class_colour, contact_sheet, draw_boxes, save_png, side_by_side
from vision.images import read_image

GREY = np.full((120, 160, 3), 128, np.uint8)
NO_BOXES = np.zeros((0, 4), np.float32)


def test_no_boxes_change_nothing():
    drawn = draw_boxes(GREY, NO_BOXES, np.zeros(0, np.int64), ["a"])
    np.testing.assert_array_equal(drawn, GREY)


def test_a_box_is_drawn_in_its_class_colour_and_the_input_is_kept():
    image = GREY.copy()
    drawn = draw_boxes(image, np.array([[40.0, 50.0, 100.0, 90.0]]), np.array([1]), ["a", "b"])
    np.testing.assert_array_equal(image, GREY)
    assert tuple(drawn[89, 70]) == class_colour(1) == tuple(drawn[70, 40]) == tuple(drawn[70, 99])
    assert tuple(drawn[70, 70]) == (128, 128, 128)
    assert not np.array_equal(drawn[38:50, 40:60], GREY[38:50, 40:60]), "the label stands on the upper edge"


@pytest.mark.parametrize(
    "box",
    [
        pytest.param([-20, -20, 500, 500], id="larger than the picture"),
        pytest.param([150, 0, 160, 10], id="in the upper right corner"),
        pytest.param([0, 110, 10, 120], id="in the lower left corner"),
        pytest.param([30, 30, 30, 30], id="without extent"),
        pytest.param([90, 50, 40, 20], id="corners the wrong way round"),
    ],
)
def test_awkward_boxes_are_drawn_without_complaint(box):
    drawn = draw_boxes(GREY, np.array([box], np.float32), np.array([0]), ["name"], np.array([0.5]))
    assert drawn.shape == GREY.shape and drawn.dtype == np.uint8
    assert not np.array_equal(drawn, GREY)


def test_scores_are_written_behind_the_names():
    box, label = np.array([[40.0, 50.0, 100.0, 90.0]]), np.array([0])
    without, with_score = draw_boxes(GREY, box, label, ["a"]), draw_boxes(GREY, box, label, ["a"], np.array([0.93]))
    changed = (with_score != without).any(axis=2)
    assert changed[:50].any() and not changed[52:].any()


def test_class_colours_are_stable_and_different():
    assert len({class_colour(label) for label in range(60)}) == 60
    assert class_colour(3) == class_colour(3)


@pytest.mark.parametrize(
    ("num", "columns", "rows"),
    [(1, 4, 1), (4, 4, 1), (5, 4, 2), (5, 1, 5)],
)
def test_a_contact_sheet_has_the_rows_it_needs(num, columns, rows):
    sheet = contact_sheet([GREY] * num, columns)
    assert sheet.shape == (rows * 126 + 6, min(columns, num) * 166 + 6, 3)
    assert tuple(sheet[0, 0]) == (250, 250, 250) and tuple(sheet[6, 6]) == (128, 128, 128)


def test_pictures_of_other_sizes_are_fitted_not_stretched():
    tall = np.zeros((240, 80, 3), np.uint8)
    sheet = contact_sheet([GREY, tall], columns=2)
    cell = sheet[6:126, 172:332]
    black_columns = np.flatnonzero((cell == 0).all(axis=(0, 2)))
    assert len(black_columns) == 40


def test_captions_need_room_and_long_ones_are_cut():
    plain, captioned = contact_sheet([GREY], 1), contact_sheet([GREY], 1, ["a very long caption " * 20])
    assert captioned.shape[0] > plain.shape[0] and captioned.shape[1] == plain.shape[1]
    assert side_by_side([GREY, GREY], ["truth", "prediction"]).shape[1] == 2 * 166 + 6


@pytest.mark.parametrize(
    ("images", "columns", "captions"),
    [([], 1, None), ([GREY], 0, None), ([GREY], 1, ["one", "two"])],
    ids=["no picture", "no column", "too many captions"],
)
def test_impossible_sheets_are_refused(images, columns, captions):
    with pytest.raises(ValueError, match="got"):
        contact_sheet(images, columns, captions)


def test_png_comes_back_equal(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    save_png(tmp_path / "new" / "a.png", image)
    np.testing.assert_array_equal(read_image(tmp_path / "new" / "a.png"), image)


def test_a_place_that_cannot_be_written_is_a_data_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write the picture"):
        save_png(tmp_path / "file" / "a.png", GREY)
