"""The whole pipeline of a training sample, and its presets."""

from dataclasses import replace

import numpy as np
import pytest

from foundation.errors import ConfigError
from vision.augment.geometry import BoxedImage
from vision.augment.pipeline import build_pipeline, sample_rng
from vision.augment.presets import PRESETS, Recipe, describe, resolve

SIZE = (64, 64)
ALL = np.arange(4)


def source(index):
    """Four fitted images; image i holds one white rectangle with label i."""
    image = np.zeros((48, 64, 3), np.uint8)
    box = [8 + 4 * index, 10, 30 + 4 * index, 34]
    image[10:34, box[0] : box[2]] = 255
    return BoxedImage(image, np.float32([box]), np.array([index]))


def run(pipeline, index=0, seed=0, **keywords):
    arguments = {"partners": ALL, "mixup_partners": ALL, **keywords}
    return pipeline(source, index, sample_rng(seed, 0, index, 0), **arguments)


@pytest.mark.parametrize("seed", range(25))
def test_a_placed_turned_and_transformed_box_lies_on_its_pixels(seed):
    recipe = Recipe(scale=(0.5, 1.6), translate=0.2, flip_horizontal=0.5, flip_vertical=0.5, transpose=0.5)
    sample = run(build_pipeline(recipe, (64, 80), min_visibility=0.1), seed % 4, seed)
    ys, xs = np.nonzero(sample.image[:, :, 0] > 150)
    assert sample.image.shape == (64, 80, 3)
    if len(sample.boxes):
        on_pixels = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
        np.testing.assert_allclose(sample.boxes[0], on_pixels, atol=1.5)


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_the_same_numbers_give_the_same_sample(preset):
    pipeline = build_pipeline(PRESETS[preset], SIZE)
    first = [run(pipeline, index % 4, index) for index in range(8)]
    again = [run(pipeline, index % 4, index) for index in reversed(range(8))][::-1]
    for one, other in zip(first, again, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    if preset != "none":
        assert len({sample.image.tobytes() for sample in first}) == 8


def test_the_preset_none_only_letterboxes():
    sample = run(build_pipeline(PRESETS["none"], SIZE))
    np.testing.assert_array_equal(sample.boxes, [[8, 18, 30, 42]])
    np.testing.assert_array_equal(sample.image[8:56], source(0).image)


def test_mosaic_shows_other_images_and_ends_with_them():
    pipeline = build_pipeline(Recipe(mosaic=1.0, mosaic_scale=(0.5, 0.5)), SIZE)
    seen = set(np.concatenate([run(pipeline, 0, seed).labels for seed in range(10)]).tolist())
    assert seen == {0, 1, 2, 3}
    closing = [run(pipeline, 0, seed, is_closing=True).labels.tolist() for seed in range(10)]
    assert closing == [[0]] * 10


def test_mixup_adds_an_object_of_a_partner_that_has_some():
    pipeline = build_pipeline(Recipe(mixup=1.0), SIZE)
    assert run(pipeline, 0, mixup_partners=np.array([3])).labels.tolist() == [0, 3]
    assert run(pipeline, 0, mixup_partners=ALL[:0]).labels.tolist() == [0]
    assert run(pipeline, 0, is_closing=True).labels.tolist() == [0]


@pytest.mark.parametrize("recipe", [Recipe(mixup=1.0), Recipe(mosaic=1.0, mixup=1.0)])
@pytest.mark.parametrize("size", [(64, 64), (40, 100)])
def test_mixup_blends_over_the_whole_canvas(recipe, size):
    for seed in range(5):
        assert run(build_pipeline(recipe, size), 0, seed).image.shape == (*size, 3)


def test_a_box_that_vanishes_is_dropped_with_its_label():
    pipeline = build_pipeline(Recipe(scale=(0.02, 0.02)), SIZE)
    sample = run(pipeline)
    assert sample.boxes.shape == (0, 4) and sample.labels.shape == (0,)


def test_generators_differ_in_each_of_the_four_numbers():
    keys = [(0, 0, 0, 0), (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)]
    assert len({sample_rng(*key).integers(2**60) for key in keys}) == len(keys)
    assert sample_rng(1, 2, 3, 4).integers(2**60) == sample_rng(1, 2, 3, 4).integers(2**60)


def test_values_given_replace_those_of_the_preset_unless_none():
    recipe = resolve("default", {"mosaic": 0.0, "mixup": None, "preset": "default", "close_mosaic": 0.2})
    assert recipe == replace(PRESETS["default"], mosaic=0.0)


def test_default_does_not_turn_the_world_upside_down():
    described = describe("default")
    assert described["flip_horizontal"] == 0.5
    assert described["flip_vertical"] == described["transpose"] == 0
    assert described["scale"] == [0.65, 1.5]


def test_an_unknown_preset_names_the_known_ones():
    with pytest.raises(ConfigError, match="known: default, none, small_objects, strong"):
        describe("heavy")
