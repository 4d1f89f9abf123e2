"""Crops that cut no object badly, and the sheet of four images."""

import numpy as np
import pytest

from vision.augment.crops import crop_around, cut, grow
from vision.augment.geometry import BoxedImage, Window
from vision.augment.stitcher import stitch


def random_sample(rng, count=6, size=(80, 120)):
    corner = rng.uniform(0, [size[1] - 10, size[0] - 10], (count, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(2, 40, (count, 2))], axis=1)
    boxes = np.minimum(boxes, [size[1], size[0]] * 2).astype(np.float32)
    return BoxedImage(rng.integers(0, 255, (*size, 3), dtype=np.uint8), boxes, np.arange(count))


@pytest.mark.parametrize(
    ("window", "boxes", "share", "expected"),
    [
        pytest.param((10, 10, 50, 50), [], 0.5, (10, 10, 50, 50), id="no object"),
        pytest.param((10, 10, 50, 50), [[20, 20, 30, 30]], 1.0, (10, 10, 50, 50), id="whole inside"),
        pytest.param((10, 10, 50, 50), [[60, 60, 70, 70]], 1.0, (10, 10, 50, 50), id="all outside"),
        pytest.param((10, 10, 50, 50), [[50, 10, 60, 20]], 1.0, (10, 10, 50, 50), id="touching is outside"),
        pytest.param((10, 10, 50, 50), [[45, 20, 55, 30]], 0.5, (10, 10, 50, 50), id="exactly the share"),
        pytest.param((10, 10, 50, 50), [[46, 20, 56, 30]], 0.5, (10, 10, 56, 50), id="less than the share"),
        pytest.param((10, 10, 50, 50), [[1.5, 20, 10.5, 30]], 0.5, (1, 10, 50, 50), id="to whole pixels"),
        pytest.param(
            (10, 10, 50, 50), [[46, 20, 56, 30], [55, 5, 65, 25]], 0.5, (10, 5, 65, 50), id="one leads to another"
        ),
    ],
)
def test_grow(window, boxes, share, expected):
    assert grow(Window(*window), np.float32(boxes).reshape(-1, 4), share) == expected


@pytest.mark.parametrize("seed", range(30))
def test_a_crop_shows_its_target_and_cuts_nothing_below_the_share(seed):
    rng = np.random.default_rng(seed)
    sample = random_sample(rng)
    target = seed % 6
    crop = crop_around(sample, target, (0.4, 0.6), rng, 0.75)
    assert target in crop.labels
    # The part is enlarged by one factor, so that shares can be compared as areas over the largest scale seen.
    height, width = crop.image.shape[:2]
    assert height <= 80
    assert width <= 120
    assert height == 80 or width == 120
    sides, full = crop.boxes[:, 2:] - crop.boxes[:, :2], sample.boxes[crop.labels]
    full_sides = full[:, 2:] - full[:, :2]
    factor = (sides / full_sides).max()
    assert (sides.prod(axis=1) >= 0.75 * full_sides.prod(axis=1) * factor**2 * 0.93).all()  # rounding to whole pixels


def test_a_zoom_of_two_doubles_a_lone_object():
    sample = BoxedImage(np.zeros((80, 120, 3), np.uint8), np.float32([[50, 30, 60, 40]]), np.array([7]))
    zoomed = crop_around(sample, 0, (0.5, 0.5), np.random.default_rng(0), 1.0)
    assert zoomed.image.shape == (80, 120, 3)
    np.testing.assert_allclose(zoomed.boxes[0, 2:] - zoomed.boxes[0, :2], [20, 20])


@pytest.mark.parametrize("target", [None, 0])
def test_a_crop_of_everything_changes_nothing(target):
    sample = random_sample(np.random.default_rng(1))
    whole = crop_around(sample, target, (1.0, 1.0), np.random.default_rng(0), 0.5)
    assert all(np.array_equal(a, b) for a, b in zip(whole, sample, strict=True))


def test_an_image_without_objects_is_cropped_anywhere():
    empty = random_sample(np.random.default_rng(2), count=0)
    crop = crop_around(empty, None, (0.5, 0.5), np.random.default_rng(0), 0.5)
    assert crop.image.shape == (80, 120, 3)
    assert crop.boxes.shape == (0, 4)


def test_an_object_larger_than_the_part_keeps_its_share():
    sample = BoxedImage(np.zeros((80, 120, 3), np.uint8), np.float32([[10, 10, 110, 70]]), np.array([0]))
    crop = crop_around(sample, 0, (0.2, 0.2), np.random.default_rng(0), 0.75)
    np.testing.assert_allclose(crop.boxes[0, 2:] - crop.boxes[0, :2], [120, 72])


def test_cut_by_hand():
    sample = BoxedImage(np.zeros((20, 20, 3), np.uint8), np.float32([[2, 2, 8, 8], [12, 12, 14, 14]]), np.array([3, 4]))
    part = cut(sample, Window(5, 0, 11, 10))
    assert part.image.shape == (10, 6, 3)
    assert part.boxes.tolist() == [[0, 2, 3, 8]]
    assert part.labels.tolist() == [3]


def test_a_sheet_shows_four_whole_images_at_half_size():
    tiles = [
        BoxedImage(np.full((64, 64, 3), 10 * i, np.uint8), np.float32([[16, 8, 32, 64]]), np.array([i]))
        for i in range(4)
    ]
    sheet = stitch(tiles, (64, 64))
    assert sheet.labels.tolist() == [0, 1, 2, 3]
    assert sheet.boxes.tolist() == [[8, 4, 16, 32], [40, 4, 48, 32], [8, 36, 16, 64], [40, 36, 48, 64]]
    assert [int(sheet.image[y, x, 0]) for y in (16, 48) for x in (16, 48)] == [0, 10, 20, 30]


def test_a_sheet_of_odd_size_and_other_aspect_ratios_keeps_every_object_on_its_pixels():
    rng = np.random.default_rng(3)
    tiles = []
    for label, size in enumerate([(40, 91), (91, 30), (60, 60), (20, 20)]):
        image = np.full((*size, 3), 60, np.uint8)
        x, y = int(rng.integers(2, size[1] // 2)), int(rng.integers(2, size[0] // 2))
        image[y : y + 8, x : x + 8] = 255
        tiles.append(BoxedImage(image, np.float32([[x, y, x + 8, y + 8]]), np.array([label])))
    sheet = stitch(tiles, (67, 91))
    assert sheet.image.shape == (67, 91, 3)
    for x1, y1, x2, y2 in sheet.boxes:
        assert sheet.image[int((y1 + y2) / 2), int((x1 + x2) / 2), 0] > 150


def test_a_sheet_of_images_without_objects_has_none():
    empty = BoxedImage(np.zeros((10, 10, 3), np.uint8), np.zeros((0, 4), np.float32), np.zeros(0, np.int64))
    assert stitch([empty] * 4, (20, 20)).boxes.shape == (0, 4)
