"""Boxes follow their pixels through every built-in step."""

import numpy as np
import pytest

from vision.augment.colour import jitter_colour
from vision.augment.fitting import PAD_VALUE, fit
from vision.augment.geometry import (
    BoxedImage,
    Window,
    blank,
    flip_horizontal,
    flip_vertical,
    keep_visible,
    paste,
    rescale,
    transpose,
)
from vision.augment.letterbox import letterbox
from vision.augment.mixup import mixup
from vision.augment.mosaic import mosaic

SIZE = (60, 80)
RED, GREEN, BLUE, YELLOW = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)
TOLERANCE_PX = 1.5
NO_BOXES = np.zeros((0, 4), np.float32)


def rectangle(box, colour=RED, size=SIZE, label=0):
    """A black image with one filled rectangle, and its box."""
    image = np.zeros((*size, 3), np.uint8)
    x1, y1, x2, y2 = box
    image[y1:y2, x1:x2] = colour
    return BoxedImage(image, np.array([box], np.float32), np.array([label]))


def random_rectangle(rng, colour=RED, size=SIZE, label=0):
    height, width = size
    x1, y1 = rng.integers(0, width - 24), rng.integers(0, height - 24)
    return rectangle((x1, y1, x1 + rng.integers(10, 24), y1 + rng.integers(10, 24)), colour, size, label)


def box_of_colour(image, colour):
    """The box around the pixels nearer to `colour` than to anything else drawn here; None when there is none."""
    is_high = image > 150  # above the padding grey
    ys, xs = np.nonzero((is_high == (np.array(colour) > 0)).all(axis=2))
    return np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]) if len(xs) else None


def assert_box_on_pixels(sample, colour=RED, index=0):
    np.testing.assert_allclose(sample.boxes[index], box_of_colour(sample.image, colour), atol=TOLERANCE_PX)


@pytest.mark.parametrize(
    ("operation", "expected", "size"),
    [
        pytest.param(flip_horizontal, [60, 5, 70, 20], (60, 80), id="left becomes right"),
        pytest.param(flip_vertical, [10, 40, 20, 55], (60, 80), id="top becomes bottom"),
        pytest.param(transpose, [5, 10, 20, 20], (80, 60), id="rows become columns"),
        pytest.param(lambda sample: rescale(sample, 2.0), [20, 10, 40, 40], (120, 160), id="twice as large"),
        pytest.param(lambda sample: rescale(sample, 0.5), [5, 2.5, 10, 10], (30, 40), id="half as large"),
        pytest.param(lambda sample: rescale(sample, 1.0), [10, 5, 20, 20], (60, 80), id="unchanged"),
    ],
)
def test_a_box_worked_out_by_hand(operation, expected, size):
    moved = operation(rectangle((10, 5, 20, 20)))
    np.testing.assert_array_equal(moved.boxes, [np.float32(expected)])
    assert moved.image.shape == (*size, 3)
    assert_box_on_pixels(moved)
    assert moved.boxes.dtype == np.float32


@pytest.mark.parametrize("operation", [flip_horizontal, flip_vertical, transpose])
def test_turning_twice_gives_the_sample_back(operation):
    sample = random_rectangle(np.random.default_rng(0))
    twice = operation(operation(sample))
    np.testing.assert_array_equal(twice.image, sample.image)
    np.testing.assert_array_equal(twice.boxes, sample.boxes)


@pytest.mark.parametrize("operation", [flip_horizontal, flip_vertical, transpose, lambda s: rescale(s, 0.7)])
def test_no_objects_stay_no_objects(operation):
    moved = operation(BoxedImage(blank(SIZE), NO_BOXES, np.zeros(0, np.int64)))
    assert moved.boxes.shape == (0, 4)


@pytest.mark.parametrize("seed", range(10))
def test_boxes_follow_odd_scales(seed):
    rng = np.random.default_rng(seed)
    assert_box_on_pixels(rescale(random_rectangle(rng, size=(61, 83)), rng.uniform(0.4, 1.9)))


@pytest.mark.parametrize(
    ("box", "min_visibility", "expected"),
    [
        pytest.param([2, 2, 6, 6], 0.5, [2, 2, 6, 6], id="inside"),
        pytest.param([-2, 0, 2, 4], 0.5, [0, 0, 2, 4], id="exactly half is kept"),
        pytest.param([-3, 0, 1, 4], 0.5, None, id="a quarter is not"),
        pytest.param([-3, 0, 1, 4], 0.0, [0, 0, 1, 4], id="everything that shows is kept at 0"),
        pytest.param([-4, 0, 0, 4], 0.0, None, id="touching from outside does not show"),
        pytest.param([20, 20, 30, 30], 0.0, None, id="far outside"),
        pytest.param([3, 3, 3, 8], 0.0, None, id="no width"),
    ],
)
def test_visibility_in_a_window_of_ten_pixels(box, min_visibility, expected):
    boxes, labels = keep_visible(np.float32([box]), np.array([7]), Window(0, 0, 10, 10), min_visibility)
    np.testing.assert_array_equal(boxes, np.float32([expected] if expected else NO_BOXES))
    assert labels.tolist() == ([7] if expected else [])


def test_pasting_changes_nothing_outside_the_window():
    canvas = blank((20, 20))
    boxes, _ = paste(canvas, rectangle((0, 0, 30, 30), size=(30, 30)), -5, -5, Window(4, 6, 10, 12), 0.0)
    np.testing.assert_array_equal(boxes, [[4, 6, 10, 12]])
    np.testing.assert_array_equal(box_of_colour(canvas, RED), [4, 6, 10, 12])


def test_pasting_beside_the_window_draws_nothing():
    canvas = blank((20, 20))
    boxes, labels = paste(canvas, rectangle((0, 0, 5, 5), size=(5, 5)), 12, 0, Window(0, 0, 10, 10), 0.0)
    assert boxes.shape == (0, 4) and labels.shape == (0,)
    assert (canvas == PAD_VALUE).all()


@pytest.mark.parametrize("seed", range(20))
def test_every_tile_of_a_mosaic_keeps_its_box_and_label(seed):
    rng = np.random.default_rng(seed)
    colours = [RED, GREEN, BLUE, YELLOW]
    tiles = [random_rectangle(rng, colour, label=label) for label, colour in enumerate(colours)]
    sample = mosaic(tiles, (80, 96), rng, (0.5, 1.3), min_visibility=0.3)
    assert sample.image.shape == (80, 96, 3)
    for index, label in enumerate(sample.labels):
        assert_box_on_pixels(sample, colours[label], index)
    assert sample.labels.tolist() == sorted(set(sample.labels.tolist()))


def test_a_mosaic_of_empty_images_is_empty():
    tiles = [BoxedImage(blank(SIZE), NO_BOXES, np.zeros(0, np.int64))] * 4
    sample = mosaic(tiles, SIZE, np.random.default_rng(0), (1.0, 1.0), 0.25)
    assert sample.boxes.shape == (0, 4) and sample.boxes.dtype == np.float32
    assert sample.labels.shape == (0,) and sample.labels.dtype == np.int64


def test_mixup_keeps_the_objects_of_both():
    mixed = mixup(rectangle((0, 0, 9, 9), label=1), rectangle((20, 20, 40, 30), label=2))
    assert mixed.labels.tolist() == [1, 2]
    assert mixed.image[5, 5].tolist() == [128, 0, 0]


@pytest.mark.parametrize(
    ("image_size", "size", "fitted", "pad_left", "pad_top"),
    [
        pytest.param((60, 80), (64, 64), (48, 64), 0, 8, id="landscape"),
        pytest.param((80, 60), (64, 64), (64, 48), 8, 0, id="portrait"),
        pytest.param((64, 64), (64, 64), (64, 64), 0, 0, id="fits already"),
        pytest.param((30, 40), (64, 96), (64, 85), 5, 0, id="enlarged, odd padding"),
        pytest.param((1, 500), (64, 64), (1, 64), 0, 31, id="a line keeps one pixel"),
    ],
)
def test_letterbox_there_and_back(image_size, size, fitted, pad_left, pad_top):
    height, width = image_size
    boxes = np.float32([[0, 0, width, height], [width / 4, height / 4, width / 2, height / 2]])
    image, moved, info = letterbox(np.zeros((*image_size, 3), np.uint8), boxes, size)
    assert image.shape == (*size, 3)
    assert (info.fitted_size, info.pad_left, info.pad_top) == (fitted, pad_left, pad_top)
    outer = [pad_left, pad_top, pad_left + fitted[1], pad_top + fitted[0]]
    np.testing.assert_allclose(moved[0], outer, rtol=1e-6)
    assert (image[pad_top : pad_top + fitted[0], pad_left : pad_left + fitted[1]] == 0).all()
    np.testing.assert_allclose(info.to_original(moved), boxes, atol=1e-3)


def test_detections_in_the_padding_are_clipped_to_the_image():
    info = fit((60, 80), (64, 64))
    np.testing.assert_array_equal(info.to_original(np.float32([[-5, 0, 70, 64]])), [[0, 0, 80, 60]])
    assert info.to_original(NO_BOXES).shape == (0, 4)


@pytest.mark.parametrize("size", [(64, 64), (50, 90), (120, 100)])
def test_letterboxed_boxes_lie_on_their_pixels(size):
    sample = rectangle((20, 10, 50, 40))
    image, boxes, _ = letterbox(sample.image, sample.boxes, size)
    assert_box_on_pixels(BoxedImage(image, boxes, sample.labels))


def test_colour_saturates_and_gains_differ_per_channel():
    image = np.full((4, 4, 3), 200, np.uint8)
    rng = np.random.default_rng(0)
    changed = np.stack([jitter_colour(image, rng, 0.5, 0.2, 0.2)[0, 0] for _ in range(200)])
    assert changed.max() == 255 and changed.min() < 100
    assert len({tuple(row) for row in changed}) > 100
    assert (changed[:, 0] != changed[:, 1]).mean() > 0.9


def test_colour_against_the_formula():
    image = np.random.default_rng(1).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    changed = jitter_colour(image, np.random.default_rng(2), 0.3, 0.1, 0.2)
    rng = np.random.default_rng(2)
    gains, spread, shift = 1 + rng.uniform(-0.3, 0.3, 3), 1 + rng.uniform(-0.2, 0.2), 255 * rng.uniform(-0.1, 0.1)
    expected = np.clip((image * gains - 127.5) * spread + 127.5 + shift, 0, 255)
    assert np.abs(changed - expected).max() <= 1


def test_no_colour_change_is_no_copy():
    image = blank(SIZE)
    assert jitter_colour(image, np.random.default_rng(0), 0, 0, 0) is image
