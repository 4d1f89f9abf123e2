"""Tiles cover the image by a rule that others use too, and no object that fits is cut in all of them."""

from dataclasses import replace

import numpy as np
import pytest

from tests.fakes import make_record
from vision.augment.geometry import Window
from vision.record import Dataset
from vision.tiling import Tile, covering_tiles, crop_boxes_to_tile, tile_grid, tiled_dataset

TILE = (40, 50)


def slow_grid(image_size, tile_size, overlap):
    """Walk over the image as SAHI's `get_slice_bboxes` does."""
    (height, width), (tile_height, tile_width) = image_size, tile_size
    windows, bottom, top = [], 0, 0
    while bottom < height:
        bottom, left, right = top + tile_height, 0, 0
        while right < width:
            right = left + tile_width
            x2, y2 = min(right, width), min(bottom, height)
            windows.append((max(0, x2 - tile_width), max(0, y2 - tile_height), x2, y2))
            left = right - int(overlap * tile_width)
        top = bottom - int(overlap * tile_height)
    return windows


def test_full_hd_in_tiles_of_512_with_a_fifth_of_overlap_gives_fifteen():
    windows = tile_grid((1080, 1920), (512, 512), 0.2)
    assert len(windows) == 15
    assert [window.left for window in windows[:5]] == [0, 410, 820, 1230, 1408]
    assert [window.top for window in windows[::5]] == [0, 410, 568]


@pytest.mark.parametrize(
    ("image_size", "expected"),
    [
        pytest.param((40, 50), [(0, 0, 50, 40)], id="exactly one tile"),
        pytest.param((30, 20), [(0, 0, 20, 30)], id="smaller than a tile"),
        pytest.param((41, 50), [(0, 0, 50, 40), (0, 1, 50, 41)], id="one row more"),
        pytest.param((10, 60), [(0, 0, 50, 10), (10, 0, 60, 10)], id="low but wide"),
    ],
)
def test_tiles_of_small_images(image_size, expected):
    assert tile_grid(image_size, TILE, 0.2) == expected


def test_the_grid_is_that_of_the_slow_walk():
    rng = np.random.default_rng(0)
    for _ in range(300):
        image_size = tuple(rng.integers(1, 300, 2).tolist())
        tile_size = tuple(rng.integers(2, 120, 2).tolist())
        overlap = float(rng.choice([0.0, 0.1, 0.2, 0.29, 0.5, 0.7]))
        assert tile_grid(image_size, tile_size, overlap) == slow_grid(image_size, tile_size, overlap)


def test_tiles_without_a_step_are_refused():
    with pytest.raises(ValueError, match="below 1"):
        tile_grid((100, 100), TILE, 1.0)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        pytest.param([10, 10, 30, 30], [10, 5, 30, 25], id="whole"),
        pytest.param([-10, 5, 10, 25], [0, 0, 10, 20], id="half of it, cut at the left edge"),
        pytest.param([-12, 5, 4, 25], [0, 0, 4, 20], id="exactly a quarter stays"),
        pytest.param([-13, 5, 4, 25], None, id="just less than a quarter goes"),
        pytest.param([50, 5, 60, 25], None, id="touching from outside"),
    ],
)
def test_boxes_follow_their_tile(box, expected):
    window = Window(100, 5, 150, 45)
    boxes, kept = crop_boxes_to_tile(np.add([box], [100, 0, 100, 0]), window, 0.25)
    assert boxes.tolist() == ([] if expected is None else [expected])
    assert kept.tolist() == ([] if expected is None else [0])


def test_no_boxes_stay_no_boxes():
    boxes, kept = crop_boxes_to_tile(np.zeros((0, 4)), Window(0, 0, 9, 9), 0.5)
    assert (boxes.shape, boxes.dtype, kept.shape, kept.dtype) == ((0, 4), np.float32, (0,), np.int64)


def test_an_object_that_the_grid_cuts_gets_a_tile_around_it():
    grid = tile_grid((40, 100), TILE, 0.0)
    windows = covering_tiles((40, 100), TILE, 0.0, np.array([[40.0, 5, 60, 25], [42, 0, 58, 9]]))
    assert windows == [*grid, (25, 0, 75, 40)], "one for both"


def test_every_object_that_fits_is_whole_in_some_tile():
    rng = np.random.default_rng(1)
    for _ in range(200):
        height, width = rng.integers(20, 160, 2)
        sides = rng.uniform(0.5, 49, (12, 2))
        corner = rng.uniform(0, 1, (12, 2)) * np.maximum([width, height] - sides, 0)
        boxes = np.clip(np.concatenate([corner, corner + sides], 1), 0, [width, height, width, height])
        windows = covering_tiles((int(height), int(width)), TILE, 0.1, boxes)
        assert all(min(w.left, w.top) >= 0 and w.right <= width and w.bottom <= height for w in windows)
        assert len({(w.right - w.left, w.bottom - w.top) for w in windows}) == 1
        for x1, y1, x2, y2 in boxes:
            fits = np.ceil(x2) - np.floor(x1) <= 50 and np.ceil(y2) - np.floor(y1) <= 40
            assert not fits or any(w.left <= x1 and w.top <= y1 and x2 <= w.right and y2 <= w.bottom for w in windows)


def records():
    large = make_record(
        0, [[5, 5, 15, 15], [45, 10, 55, 20], [0, 0, 90, 30]], [0, 1, 2], iscrowd=[0, 0, 1], image_size=(40, 90)
    )
    small = make_record(1, [[1, 1, 4, 4]], [1], image_size=(30, 30))
    return large, small


def tiled(full_frame=True, overlap=0.2):
    return tiled_dataset(
        Dataset(("a", "b", "c"), records(), digest="d"), TILE, overlap, full_frame=full_frame, min_visibility=0.3
    )


def test_samples_are_tiles_in_the_order_of_images_and_small_images_stay():
    dataset = tiled()
    assert [(r.sample_id, r.name) for r in dataset.records] == [
        (0, "image-0@0,0"), (1, "image-0@40,0"), (2, "image-0"), (3, "image-1"),
    ]  # fmt: skip
    assert [type(r) is Tile for r in dataset.records] == [True, True, False, False]
    assert [r.name for r in tiled(full_frame=False).records] == ["image-0@0,0", "image-0@40,0", "image-1"]
    assert (dataset.classes, dataset.digest) == (("a", "b", "c"), "d")


def test_a_tile_is_a_record_in_its_own_pixels():
    first, second = tiled().records[:2]
    assert (second.image_size, second.file_size, second.window) == ((40, 50), (40, 90), (40, 0, 90, 40))
    assert first.boxes.tolist() == [[5, 5, 15, 15], [45, 10, 50, 20], [0, 0, 50, 30]]
    assert first.area.tolist() == [100, 50, 1500], "the half that is left of the second, 5/9 of the crowd"
    assert (second.labels.tolist(), second.iscrowd.tolist()) == ([1, 2], [False, True])
    assert second.boxes.tolist() == [[5, 10, 15, 20], [0, 0, 50, 30]]


def test_an_annotations_own_area_shrinks_with_the_box():
    masked = replace(records()[0], area=np.array([50.0, 60.0, 10.0]))
    dataset = tiled_dataset(Dataset(("a", "b", "c"), (masked,)), TILE, 0.2, full_frame=False, min_visibility=0.3)
    assert dataset.records[0].area == pytest.approx([50, 30, 10 * 5 / 9])


def test_sample_ids_depend_on_the_annotations_alone():
    assert [r.name for r in tiled().records] == [r.name for r in tiled().records]
    assert [r.sample_id for r in tiled(overlap=0.5).records] == list(range(len(tiled(overlap=0.5).records)))
