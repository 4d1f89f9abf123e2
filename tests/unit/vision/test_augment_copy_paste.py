"""Copy-paste of small objects: which, where, how, and that nothing else changes."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from vision.augment import copy_paste as room
from vision.augment.copy_paste import EDGE_MARGIN_PX, copy_paste, cut_out, find_room, room_notes
from vision.augment.geometry import BoxedImage
from vision.augment.presets import CopyPaste

PLAIN = CopyPaste(chance=1.0, strategy="one_once", scale=0.0, rotation=0.0, feather=0.0)
ALIKE = np.ones(3)


def scene(boxes, labels, size=(100, 100), grey=50):
    """A grey image whose object i is a rectangle of value 100 + 40 * label."""
    image = np.full((*size, 3), grey, np.uint8)
    for (x1, y1, x2, y2), label in zip(boxes, labels, strict=True):
        image[y1:y2, x1:x2] = 100 + 40 * label
    return BoxedImage(image, np.float32(boxes).reshape(-1, 4), np.int64(labels).reshape(-1))


def paste(sample, donor=None, recipe=PLAIN, seed=0, weights=ALIKE, **keywords):
    rng = np.random.default_rng(seed)
    arguments = {"small_size": 20.0, "class_weights": weights, **keywords}
    return copy_paste(sample, sample if donor is None else donor, rng, recipe, **arguments)


def overlap(one, other):
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    return np.maximum(sides, 0).prod()


THREE = scene([[10, 10, 20, 22], [40, 40, 48, 46], [60, 10, 95, 60]], [0, 1, 2])


def test_a_plain_copy_has_the_pixels_of_its_object_and_nothing_else_changes():
    pasted = paste(THREE)
    assert (pasted.num_pasted, pasted.num_without_room) == (1, 0)
    x1, y1, x2, y2 = pasted.sample.boxes[3].astype(int)
    label = pasted.sample.labels[3]
    source = THREE.boxes[THREE.labels.tolist().index(label)]
    assert [x2 - x1, y2 - y1] == (source[2:] - source[:2]).tolist()
    assert (pasted.sample.image[y1:y2, x1:x2] == 100 + 40 * label).all()
    outside = np.ones((100, 100), bool)
    outside[y1:y2, x1:x2] = False
    np.testing.assert_array_equal(pasted.sample.image[outside], THREE.image[outside])
    np.testing.assert_array_equal(pasted.sample.boxes[:3], THREE.boxes)


def test_the_sample_itself_is_left_alone():
    before = THREE.image.copy()
    paste(THREE)
    np.testing.assert_array_equal(THREE.image, before)


@pytest.mark.parametrize(
    ("strategy", "copies", "counts"),
    [
        pytest.param("one_once", (3, 3), {1}, id="one object once, whatever the copies"),
        pytest.param("one_several", (3, 3), {3}, id="one object three times"),
        pytest.param("all_several", (2, 2), {2}, id="both small objects twice, the large one never"),
    ],
)
def test_strategies(strategy, copies, counts):
    pasted = paste(THREE, recipe=replace(PLAIN, strategy=strategy, copies=copies))
    copied = pasted.sample.labels[3:].tolist()
    assert 2 not in copied
    assert {copied.count(label) for label in copied} == counts
    assert len(set(copied)) == (2 if strategy == "all_several" else 1)


@pytest.mark.parametrize("seed", range(20))
def test_copies_overlap_nothing_and_keep_from_the_edge(seed):
    recipe = CopyPaste(chance=1.0, copies=(2, 4), most=50)
    pasted = paste(THREE, recipe=recipe, seed=seed)
    boxes = pasted.sample.boxes
    assert len(boxes) == 3 + pasted.num_pasted
    for index in range(3, len(boxes)):
        assert all(overlap(boxes[index], other) == 0 for other in boxes[:index])
        assert boxes[index].min() >= EDGE_MARGIN_PX
        assert boxes[index].max() <= 100 - EDGE_MARGIN_PX


def test_copies_are_scaled_and_turned_within_their_limits():
    square = scene([[50, 50, 60, 60]], [0])
    sides = []
    for seed in range(200):
        box = paste(square, recipe=replace(PLAIN, scale=0.2, rotation=15.0), seed=seed).sample.boxes[1]
        sides.append(box[2:] - box[:2])
    assert 8 <= np.min(sides) < 8.2
    assert 11.8 < np.max(sides) <= 12


def test_no_more_than_the_most_are_pasted():
    assert paste(THREE, recipe=replace(PLAIN, strategy="one_several", copies=(9, 9), most=4)).num_pasted == 4


def test_where_there_is_no_room_it_is_counted_and_nothing_changes():
    full = scene([[0, 0, 100, 100], [40, 40, 48, 46]], [2, 1])
    donor = scene([[40, 40, 48, 46]], [1])
    pasted = paste(full, donor)
    assert (pasted.num_pasted, pasted.num_without_room) == (0, 1)
    assert pasted.sample is full


def test_objects_of_another_image_bring_its_pixels():
    donor = scene([[40, 40, 48, 46]], [1], size=(60, 80))
    pasted = paste(scene([], []), donor)
    x1, y1, x2, y2 = pasted.sample.boxes[0].astype(int)
    assert (pasted.sample.image[y1:y2, x1:x2] == 140).all()
    assert pasted.sample.labels.tolist() == [1]


@pytest.mark.parametrize(
    ("boxes", "reason"),
    [
        pytest.param([], "there is no object", id="no object"),
        pytest.param([[10, 10, 60, 60]], "it is large", id="large"),
        pytest.param([[0, 30, 8, 40]], "it is cut off by the edge", id="at the left edge"),
        pytest.param([[30, 92, 40, 100]], "it is cut off by the edge", id="at the lower edge"),
        pytest.param([[30, 30, 40, 40], [35, 20, 70, 70]], "half of it is covered", id="occluded"),
        pytest.param([[30, 30, 30, 40]], "it has no area", id="no area"),
    ],
)
def test_what_is_not_copied(boxes, reason):
    sample = scene(boxes, [0] * len(boxes))
    pasted = paste(sample)
    assert pasted.sample is sample, reason
    assert (pasted.num_pasted, pasted.num_without_room) == (0, 0)


def test_rare_classes_are_copied_in_proportion_to_their_weight():
    weights = np.array([1.0, 3.0, 1.0])
    one = [paste(THREE, seed=seed, weights=weights).sample.labels[3] for seed in range(400)]
    assert np.mean(np.equal(one, 1)) == pytest.approx(0.75, abs=0.07)
    recipe = replace(PLAIN, strategy="all_several", copies=(1, 1))
    every = np.concatenate([paste(THREE, recipe=recipe, seed=s, weights=weights).sample.labels[3:] for s in range(300)])
    assert (every == 1).sum() == 300
    assert (every == 0).sum() / 300 == pytest.approx(1 / 3, abs=0.08)


def test_a_copy_along_its_mask_leaves_the_background_of_its_box_behind():
    image = np.full((60, 60, 3), 50, np.uint8)
    mask = np.zeros((60, 60), np.uint8)
    cv2.circle(mask, (30, 30), 8, 1, -1)
    image[mask == 1] = 200
    donor = BoxedImage(image, np.float32([[20, 20, 41, 41]]), np.array([0]))
    target = BoxedImage(np.full((60, 60, 3), 90, np.uint8), np.zeros((0, 4), np.float32), np.zeros(0, np.int64))
    pasted = paste(target, donor, mask_of=lambda _: mask.astype(bool), small_size=32.0)
    assert set(np.unique(pasted.sample.image)) == {90, 200}
    ys, xs = np.nonzero(pasted.sample.image[..., 0] == 200)
    assert len(ys) == mask.sum()
    assert pasted.sample.boxes[0].tolist() == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]


def test_an_object_without_a_mask_is_copied_along_its_box():
    assert paste(THREE, mask_of=lambda _: None).num_pasted == 1


def test_feather_fades_outside_the_object_by_hand():
    patch = cut_out(np.zeros((40, 40, 3), np.uint8), np.float32([10, 10, 20, 20]), 1.0, 0.0, 2.0)
    # The middle row: two pixels whose centres lie 1.5 and 0.5 from the box, ten inside, and the same again.
    np.testing.assert_allclose(patch.alpha[7], [0.25, 0.75, *[1] * 10, 0.75, 0.25])
    assert patch.box.tolist() == [2, 2, 12, 12]


def test_a_quarter_turn_swaps_the_sides():
    image = np.zeros((40, 40, 3), np.uint8)
    image[10:16, 10:22] = 255
    patch = cut_out(image, np.float32([10, 10, 22, 16]), 1.0, 90.0, 0.0)
    np.testing.assert_allclose(patch.box[2:] - patch.box[:2], [6, 12], atol=1e-4)
    x1, y1, x2, y2 = np.rint(patch.box).astype(int)
    assert (patch.image[y1 + 1 : y2 - 1, x1 + 1 : x2 - 1] > 250).all()


def test_the_same_generator_gives_the_same_copies():
    recipe = CopyPaste(chance=1.0)
    one, other = paste(THREE, recipe=recipe, seed=5).sample, paste(THREE, recipe=recipe, seed=5).sample
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def free_places(occupied, size, image_size):
    """All places by the rule, one after the other."""
    found = set()
    for top in range(EDGE_MARGIN_PX, image_size[0] - EDGE_MARGIN_PX - size[0] + 1):
        for left in range(EDGE_MARGIN_PX, image_size[1] - EDGE_MARGIN_PX - size[1] + 1):
            patch = np.array([left, top, left + size[1], top + size[0]])
            if all(overlap(patch, box) == 0 for box in occupied):
                found.add((left, top))
    return found


@pytest.mark.parametrize("tries", [1, 16], ids=["mostly by looking at all places", "mostly by trying"])
@pytest.mark.parametrize("seed", range(4))
def test_room_is_found_exactly_where_a_slow_search_finds_it(seed, tries, monkeypatch):
    monkeypatch.setattr(room, "QUICK_TRIES", tries)
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 22, (4, 2))
    occupied = np.concatenate([corner, corner + rng.uniform(1, 9, (4, 2))], axis=1)
    expected = free_places(occupied, (5, 8), (30, 34))
    found = {find_room(occupied, (5, 8), (30, 34), rng) for _ in range(60 * len(expected) + 1)}
    assert found == (expected or {None})


def test_a_patch_larger_than_the_image_finds_no_room():
    assert find_room(np.zeros((0, 4)), (30, 5), (30, 30), np.random.default_rng(0)) is None


FULL, SPOT = [0, 0, 100, 100], [40, 40, 50, 48]


@pytest.mark.parametrize(
    ("images", "chance", "is_told"),
    [
        pytest.param([[FULL, SPOT]] * 3, 1.0, True, id="objects everywhere"),
        pytest.param([[FULL, SPOT], [SPOT], [FULL]], 1.0, False, id="room in one image"),
        pytest.param([[FULL, SPOT]] * 3, 0.0, False, id="nothing is copied"),
        pytest.param([[FULL]], 1.0, False, id="nothing is small: told elsewhere"),
        pytest.param([], 1.0, False, id="no image"),
    ],
)
def test_it_is_told_if_no_image_has_room(images, chance, is_told):
    boxes = [np.float32(each).reshape(-1, 4) for each in images]
    told = room_notes(boxes, [(100, 100)] * len(images), replace(PLAIN, chance=chance), 20.0)
    assert len(told) == is_told
    assert all("in none of 3 images would even the smallest object, of 10 x 8 px" in note for note in told)
