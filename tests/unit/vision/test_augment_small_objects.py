"""What a split says about its small objects, and the steps that use it within the whole pipeline."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from vision.augment.geometry import BoxedImage
from vision.augment.pipeline import build_pipeline, sample_rng
from vision.augment.presets import PRESETS, CopyPaste, Recipe, describe, resolve
from vision.augment.small_objects import NOTHING_SMALL, is_small, notes_on, survey_small_objects

SMALL, LARGE = [20, 20, 30, 30], [20, 20, 60, 60]
NO_OBJECT = (np.zeros((0, 4), np.float32), np.zeros(0, np.int64))


def objects(boxes, labels):
    return np.float32(boxes).reshape(-1, 4), np.int64(labels)


def survey(*images, num_classes=3, **recipe):
    return survey_small_objects(images, num_classes, Recipe(small_size=16.0, **recipe))


def test_small_is_up_to_a_square_of_the_given_side():
    boxes = np.float32([[0, 0, 16, 16], [0, 0, 8, 32], [0, 0, 16, 17], [0, 0, 0, 5], [5, 5, 4, 9]])
    assert is_small(boxes, 16.0).tolist() == [True, True, False, False, False]


def test_images_are_drawn_in_proportion_to_the_weights_of_their_small_objects():
    # Class 0 has three objects, class 1 one: to the power of 1 it weighs three times as much; class 2 has none.
    found = survey(
        objects([SMALL, LARGE], [0, 0]),
        objects([LARGE], [0]),
        objects([SMALL], [1]),
        copy_paste=CopyPaste(rare_weight=1.0),
    )
    assert found.indices.tolist() == [0, 2]
    assert found.class_weights.tolist() == [1, 3, 1]
    np.testing.assert_allclose(found.cumulative, [0.25, 1.0])
    rng = np.random.default_rng(0)
    drawn = Counter(found.draw(rng) for _ in range(1000))
    assert drawn[2] == pytest.approx(750, abs=50)


def test_without_weight_all_classes_are_alike():
    assert survey(objects([SMALL, SMALL], [0, 1]), objects([SMALL], [0])).class_weights.tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("image", "share"),
    [
        pytest.param(objects([SMALL], [0]), 0.0, id="small objects only"),
        pytest.param(objects([SMALL, LARGE], [0, 0]), 1.0, id="100 of 1700 pixels is less than a tenth"),
        pytest.param(objects([SMALL, SMALL, LARGE], [0, 0, 0]), 0.0, id="200 of 1800 is more"),
        pytest.param(NO_OBJECT, 1.0, id="no object"),
    ],
)
def test_the_share_of_images_that_need_stitching(image, share):
    assert survey(image).stitch_share == share
    assert survey(image, objects([SMALL], [0])).stitch_share == share / 2


def test_an_empty_split_has_nothing_small():
    found = survey()
    assert len(found.indices) == 0
    assert found.stitch_share == 0


def test_steps_without_anything_to_do_are_told():
    idle = Recipe(copy_paste=CopyPaste(chance=1.0), zoom=0.5, stitcher=0.5)
    told = notes_on(idle, NOTHING_SMALL)
    assert len(told) == 2
    assert "nothing for copy_paste and zoom to do" in told[0]
    assert "stitcher" in told[1]
    assert notes_on(Recipe(), NOTHING_SMALL) == []
    assert notes_on(replace(idle, stitcher=0.0), survey(objects([SMALL], [0]))) == []


def source(index):
    """Four fitted images; image i holds a small rectangle of label i, and image 3 a large one besides."""
    rng = np.random.default_rng(index)
    image = rng.integers(0, 50, (48, 64, 3), dtype=np.uint8)
    boxes = [[8 + 4 * index, 10, 18 + 4 * index, 22]] + ([[30, 8, 60, 44]] if index == 3 else [])
    for x1, y1, x2, y2 in reversed(boxes):
        image[y1:y2, x1:x2] = 200
    return BoxedImage(image, np.float32(boxes), np.full(len(boxes), index))


SPLIT = survey_small_objects([source(index)[1:] for index in range(4)], 4, Recipe(small_size=16.0))


def run(recipe, index=0, key=(0, 0, 0, 0), **keywords):
    pipeline = build_pipeline(replace(recipe, small_size=16.0), (64, 64))
    everyone = np.arange(4)
    arguments = {"partners": everyone, "mixup_partners": everyone, "small_objects": SPLIT, **keywords}
    return pipeline(source, index, sample_rng(*key), **arguments)


PASTING = Recipe(copy_paste=CopyPaste(chance=1.0, strategy="one_several", copies=(2, 2)))


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        pytest.param("same", {0}, id="the same image"),
        pytest.param("other", {0, 1, 2, 3}, id="any image with small objects"),
        pytest.param("both", {0, 1, 2, 3}, id="either"),
    ],
)
def test_the_source_of_copies(kind, expected):
    recipe = replace(PASTING, copy_paste=replace(PASTING.copy_paste, source=kind))
    labels = [run(recipe, key=(seed, 0, 0, 0)).labels.tolist() for seed in range(40)]
    assert {label for each in labels for label in each[1:]} == expected
    if kind == "both":
        assert sum(each[1:].count(0) > 0 for each in labels) > 15


def test_what_became_of_the_copies_is_counted():
    tally = Counter()
    for seed in range(10):
        run(PASTING, key=(seed, 0, 0, 0), tally=tally)
    assert tally["pasted"] + tally["without_room"] == 20
    assert tally["pasted"] > 10


def test_no_images_are_put_together_in_closing_epochs():
    recipe = replace(PASTING, stitcher=1.0, mosaic=1.0, mixup=1.0)
    sample = run(recipe, is_closing=True)
    assert sample.labels.tolist() == [0]


def test_a_sheet_is_as_likely_as_the_share_of_images_that_need_it():
    half = replace(SPLIT, stitch_share=0.5)
    counts = [len(run(Recipe(stitcher=1.0), key=(seed, 0, 0, 0), small_objects=half).boxes) for seed in range(200)]
    assert np.mean(np.array(counts) >= 4) == pytest.approx(0.5, abs=0.1)
    assert len(run(Recipe(stitcher=1.0), small_objects=replace(SPLIT, stitch_share=0.0)).boxes) == 1


def test_zoom_enlarges_a_small_object_and_nothing_happens_without_one():
    zoomed = run(Recipe(zoom=1.0, zoom_factor=(2.0, 2.0)))
    sides = zoomed.boxes[0, 2:] - zoomed.boxes[0, :2]
    np.testing.assert_allclose(sides, [20, 24], atol=0.5)
    pipeline = build_pipeline(Recipe(zoom=1.0, small_size=2.0), (64, 64))
    plain = pipeline(source, 0, sample_rng(0, 0, 0, 0), partners=np.arange(4), mixup_partners=np.arange(0))
    np.testing.assert_array_equal(plain.image[8:56], source(0).image)


def test_a_crop_shows_an_object():
    assert all(len(run(Recipe(crop=1.0, crop_sides=(0.5, 0.7)), key=(seed, 0, 0, 0)).boxes) for seed in range(20))


def test_masks_are_asked_of_the_donor_unless_they_are_off():
    asked = []

    def masks(index, row):
        asked.append((index, row))

    recipe = replace(PASTING, copy_paste=replace(PASTING.copy_paste, source="other", strategy="one_once"))
    run(recipe, masks=masks)
    assert len(asked) == 1
    assert asked[0][1] == 0
    run(replace(recipe, copy_paste=replace(recipe.copy_paste, masks=False)), masks=masks)
    assert len(asked) == 1


@pytest.mark.parametrize("other", [(1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)])
def test_a_sample_is_a_function_of_seed_epoch_sample_and_occurrence(other):
    recipe = PRESETS["small_objects"]
    keys = [tuple(base + 7 * own for base, own in zip((3, 2, 1, 0), other, strict=True)), (3, 2, 1, 0)]
    first, again, changed = run(recipe, 1, keys[1]), run(recipe, 1, keys[1]), run(recipe, 1, keys[0])
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first.image, changed.image)


def test_a_step_that_is_off_changes_no_other():
    recipe = Recipe(scale=(0.5, 1.5), flip_horizontal=0.5)
    with_parts = replace(recipe, zoom_factor=(2.0, 2.0), visible_share=0.1, stitcher=1.0)
    for seed in range(5):
        one = run(recipe, key=(seed, 0, 0, 0))
        other = run(with_parts, key=(seed, 0, 0, 0), small_objects=NOTHING_SMALL)
        np.testing.assert_array_equal(one.image, other.image)


def test_parts_of_the_preset_are_overridden_one_by_one():
    recipe = resolve("small_objects", {"copy_paste": {"chance": 0.9, "scale": None}, "zoom": 0.0, "crop": None})
    preset = PRESETS["small_objects"]
    assert recipe == replace(preset, copy_paste=replace(preset.copy_paste, chance=0.9), zoom=0.0)


def test_a_described_preset_resolves_to_itself():
    for name, preset in PRESETS.items():
        told = describe(name)
        assert isinstance(told["copy_paste"]["copies"], list)
        as_tuples = {k: tuple(v) if isinstance(v, list) else v for k, v in told.items()}
        as_tuples["copy_paste"] = {**told["copy_paste"], "copies": tuple(told["copy_paste"]["copies"])}
        assert resolve("none", as_tuples) == preset
