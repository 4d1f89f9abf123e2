"""Augmentation of labelled images: geometry, colour and mixing by hand-made images, presets and their checks."""

import numpy as np
import pytest
from pydantic import ValidationError

from foundation.errors import ConfigError
from vision.augment.albumentations_builder import build_image_transforms
from vision.augment.check import validate_transforms
from vision.augment.classify.check import label_changing
from vision.augment.classify.colour import (
    hue_matrix,
    principal_shift,
    random_colour_matrix,
    recoloured,
    saturation_matrix,
)
from vision.augment.classify.fitting import Fitting, centred
from vision.augment.classify.geometry import affine, random_window, resized_part
from vision.augment.classify.mixing import cutmix, erase, mixup
from vision.augment.classify.pipeline import build_pipeline
from vision.augment.classify.presets import PRESETS, Recipe
from vision.augment.classify.settings import AugmentSettings
from vision.augment.pipeline import sample_rng

GREY = 114


def rng(index=0):
    return sample_rng(0, 0, index, 0)


@pytest.fixture
def noise():
    image = np.random.default_rng(1).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    image.flags.writeable = False
    return image


@pytest.mark.parametrize(
    ("resize", "image_size", "expected"),
    [
        pytest.param("crop", (100, 200), (40, 80), id="shortest side to the base"),
        pytest.param("crop", (10, 10), (40, 40), id="enlarged"),
        pytest.param("crop", (300, 100), (120, 40), id="upright"),
        pytest.param("squash", (100, 200), (40, 40), id="the aspect ratio is given up"),
        pytest.param("letterbox", (100, 200), (20, 40), id="all of it inside"),
    ],
)
def test_base_sizes(resize, image_size, expected):
    fitting = Fitting((32, 32), (40, 40), resize)
    assert fitting.size_of(image_size) == expected
    image = np.zeros((*image_size, 3), np.uint8)
    assert fitting.base(image).shape[:2] == expected
    assert fitting(image).shape == (32, 32, 3)


def test_the_centre_is_cut_out_or_framed_evenly(noise):
    np.testing.assert_array_equal(centred(noise, (10, 10)), noise[5:15, 10:20])
    framed = centred(noise, (24, 30))
    np.testing.assert_array_equal(framed[2:22], noise)
    assert (framed[:2] == GREY).all() and (framed[22:] == GREY).all()
    assert np.shares_memory(centred(noise, (20, 30)), noise)


def test_a_letterboxed_image_is_whole():
    image = np.full((10, 20, 3), 200, np.uint8)
    fitted = Fitting((40, 40), (40, 40), "letterbox")(image)
    assert (fitted[10:30] == 200).all() and (fitted[:10] == GREY).all() and (fitted[30:] == GREY).all()


def test_windows_reach_every_place_of_the_padded_image():
    image = np.arange(8 * 8, dtype=np.uint8).reshape(8, 8, 1).repeat(3, axis=2) + 1
    seen = set()
    for index in range(400):
        cut = random_window(image, (8, 8), rng(index), pad=0.25)
        assert cut.shape == (8, 8, 3)
        inside = np.argwhere(cut[..., 0] == image[4, 4, 0])
        assert len(inside) == 1
        seen.add(tuple(inside[0]))
    assert seen == {(y, x) for y in range(2, 7) for x in range(2, 7)}


def test_a_window_larger_than_the_image_has_it_in_its_middle(noise):
    cut = random_window(noise, (24, 30), rng(), pad=0.0)
    np.testing.assert_array_equal(cut[2:22], noise)


def test_parts_have_the_areas_and_ratios_asked_for(monkeypatch):
    import vision.augment.classify.geometry as geometry

    shapes = []
    monkeypatch.setattr(geometry, "_scaled", lambda part, size: shapes.append(part.shape[:2]) or np.zeros((*size, 3)))
    image = np.zeros((200, 200, 3), np.uint8)
    for index in range(200):
        resized_part(image, (32, 32), rng(index), (0.25, 0.5), (0.75, 4 / 3))
    heights, widths = np.array(shapes).T
    share, ratio = heights * widths / 200**2, widths / heights
    assert (share.min(), share.max()) == (pytest.approx(0.25, abs=0.01), pytest.approx(0.5, abs=0.01))
    assert (ratio.min(), ratio.max()) == (pytest.approx(0.75, abs=0.02), pytest.approx(4 / 3, abs=0.03))
    assert np.log(ratio).mean() == pytest.approx(0, abs=0.05)


def test_where_no_part_fits_the_centre_is_taken():
    image = np.zeros((10, 100, 3), np.uint8)
    image[:, 43:56] = 255
    part = resized_part(image, (8, 8), rng(), (1.0, 1.0), (0.75, 4 / 3))
    assert (part == 255).all()


def test_turning_by_nothing_returns_the_image_itself(noise):
    assert affine(noise, rng(), 0, (1.0, 1.0), 0) is noise


def test_scaling_is_around_the_centre():
    image = np.zeros((21, 21, 3), np.uint8)
    image[8:13, 8:13] = 255
    larger = affine(image, rng(), 0, (2.0, 2.0), 0)
    ys, xs = np.nonzero(larger[..., 0] > 130)
    assert (ys.min(), ys.max(), xs.min(), xs.max()) == (6, 14, 6, 14)


def test_turning_and_moving_stay_within_their_bounds():
    image = np.zeros((41, 41, 3), np.uint8)
    image[20, 20:40] = 255
    for index in range(50):
        turned = affine(image, rng(index), 30, (1.0, 1.0), 0)[..., 0] > GREY
        ends = np.argwhere(turned) - 20
        assert abs(np.degrees(np.arctan2(*ends[(ends**2).sum(axis=1).argmax()]))) <= 31
    dot = np.full((40, 40, 3), GREY, np.uint8)
    dot[20, 20] = 255
    moved = [np.argwhere(affine(dot, rng(i), 0, (1.0, 1.0), 0.1)[..., 0] > GREY)[0] - 20 for i in range(100)]
    assert np.abs(moved).max() <= 4 and np.ptp(moved) >= 6


def test_hue_turns_colours_and_leaves_greys():
    full_circle = hue_matrix(1.0)
    np.testing.assert_allclose(full_circle, np.eye(3), atol=1e-9)
    np.testing.assert_allclose(hue_matrix(0.3) @ [90, 90, 90], [90, 90, 90], atol=0.2)
    red, third = np.array([200.0, 80, 80]), hue_matrix(1 / 3) @ [200.0, 80, 80]
    assert red.argmax() == 0 and third.argmax() in (1, 2) and third[0] < third.max() - 40


def test_without_saturation_everything_is_grey():
    np.testing.assert_allclose(saturation_matrix(0.0) @ [200, 100, 50], [0.299 * 200 + 0.587 * 100 + 0.114 * 50] * 3)
    np.testing.assert_allclose(saturation_matrix(1.0), np.eye(3))


def test_principal_colours_shift_all_pixels_alike_and_with_the_data_sets_covariance(noise):
    axes = np.array([[0.05, 0.02, 0.0], [0.05, -0.01, 0.01], [0.05, -0.01, -0.01]])
    np.testing.assert_allclose(principal_shift(axes, np.array([1.0, 2.0, 0.0])), [0.09, 0.03, 0.03])
    recipe = Recipe(pca_colour=0.1)
    shifts = np.array([random_colour_matrix(recipe, rng(i), axes)[:, 3] / 255 for i in range(4000)])
    np.testing.assert_allclose(np.cov(shifts.T), 0.01 * axes @ axes.T, atol=2e-6)
    plain = np.full((5, 5, 3), 100, np.uint8)
    shifted = recoloured(plain, random_colour_matrix(recipe, rng(3), axes))
    assert len(np.unique(shifted.reshape(-1, 3), axis=0)) == 1


def test_contrast_keeps_mid_grey_and_brightness_shifts():
    for index in range(20):
        contrast = random_colour_matrix(Recipe(contrast=0.5), rng(index))
        np.testing.assert_allclose(contrast @ [127.5, 127.5, 127.5, 1], [127.5] * 3, rtol=1e-5)
        brightness = random_colour_matrix(Recipe(brightness=0.2), rng(index))
        assert np.abs(brightness[:, 3]).max() <= 51 and np.ptp(brightness[:, 3]) == 0


def test_mixup_blends_by_the_share():
    black, white = np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 200, np.uint8)
    assert (mixup(white, black, 0.25) == 50).all()
    assert (mixup(white, black, 1.0) == 200).all()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 1.0])
def test_cutmix_tells_the_share_that_is_left(share):
    black, white = np.zeros((16, 24, 3), np.uint8), np.full((16, 24, 3), 255, np.uint8)
    shares = []
    for index in range(100):
        mixed, left = cutmix(black, white, share, rng(index))
        assert (mixed[..., 0] == 0).mean() == pytest.approx(left)
        shares.append(left)
    assert not black.any() and min(shares) >= share - 0.06


def test_erased_rectangles_have_the_area_asked_for_and_leave_the_rest(noise):
    image = np.zeros((60, 60, 3), np.uint8)
    image.flags.writeable = False
    for index in range(50):
        erased = erase(image, rng(index), (0.1, 0.2))
        ys, xs = np.nonzero(erased.any(axis=2))
        area = (np.ptp(ys) + 1) * (np.ptp(xs) + 1) / 3600
        assert 0.08 < area < 0.21
    assert not image.any()


BRIGHT = [np.full((32, 32, 3), 10 * index, np.uint8) for index in range(6)]


def draws(recipe, count=400, **keys):
    pipeline = build_pipeline(recipe, Fitting((32, 32), (32, 32)))
    return [pipeline(BRIGHT.__getitem__, 5, rng(index), num_images=6, **keys) for index in range(count)]


def test_nothing_is_mixed_when_nothing_is_asked_for():
    for mixed in draws(PRESETS["none"], 5):
        assert (mixed.partner, mixed.share) == (5, 1.0)
        np.testing.assert_array_equal(mixed.image, BRIGHT[5])


@pytest.mark.parametrize("recipe", [Recipe(mixup=0.4), Recipe(cutmix=1.0), Recipe(mixup=1.0, cutmix=1.0)])
def test_the_share_is_what_the_pixels_say(recipe):
    results = draws(recipe)
    for mixed in results:
        expected = mixed.share * 50 + (1 - mixed.share) * 10 * mixed.partner
        assert mixed.image.mean() == pytest.approx(expected, abs=0.51)
    assert {mixed.partner for mixed in results} == set(range(6))
    assert 0.35 < np.mean([mixed.share for mixed in results]) < 0.7


def test_mixing_happens_as_often_as_asked_and_not_in_the_last_epochs():
    recipe = Recipe(mixup=1.0, mixing=0.3)
    assert np.mean([mixed.share < 1 for mixed in draws(recipe)]) == pytest.approx(0.3, abs=0.08)
    assert all(mixed.share == 1 for mixed in draws(recipe, 20, is_closing=True))


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("resize", ["crop", "squash", "letterbox"])
def test_every_preset_gives_the_size_and_is_a_function_of_its_generator(preset, resize, noise):
    pipeline = build_pipeline(PRESETS[preset], Fitting((24, 16), (30, 20), resize), principal_colours=np.eye(3) / 20)
    bases = [pipeline.fitting.base(noise)] * 3
    for base in bases:
        base.flags.writeable = False
    results = [pipeline(bases.__getitem__, 1, rng(index % 20), num_images=3) for index in range(40)]
    for first, again in zip(results[:20], results[20:], strict=True):
        assert (first.image.shape, first.image.dtype) == ((24, 16, 3), np.uint8)
        np.testing.assert_array_equal(first.image, again.image)
        assert first[1:] == again[1:]


def test_noise_has_the_deviation_asked_for():
    pipeline = build_pipeline(Recipe(noise=0.05), Fitting((64, 64), (64, 64)))
    image = np.full((64, 64, 3), 128, np.uint8)
    noisy = pipeline(lambda _: image, 0, rng(), num_images=1).image
    assert noisy.std() == pytest.approx(0.05 * 255, rel=0.05) and noisy.mean() == pytest.approx(128, abs=1)


def test_given_values_replace_those_of_the_preset():
    augment = AugmentSettings(preset="imagenet", flip_horizontal=0.0, policy={"name": "randaugment", "m": 5})
    recipe = augment.recipe()
    assert (recipe.flip_horizontal, recipe.crop, recipe.policy.m) == (0.0, "resized", 5)
    assert AugmentSettings(preset="strong", policy={"name": "none"}).recipe().policy.name == "none"


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        pytest.param({"preset": "imagenet", "pad": 0.1}, "`pad` has no effect", id="pad without a window"),
        pytest.param({"crop_area": [0.5, 1.0]}, "`crop_area` has no effect", id="area of no part"),
        pytest.param({"mixing": 0.5}, "`mixing` has no effect", id="mixing of nothing"),
        pytest.param({"erasing_area": [0.1, 0.2]}, "`erasing_area` has no effect", id="area of nothing erased"),
        pytest.param({"preset": "imagenet", "crop_area": [0.5, 1.5]}, "at most 1", id="more than everything"),
        pytest.param({"preset": "imagenet", "crop_area": [0.5, 0.1]}, "smallest, largest", id="wrong order"),
        pytest.param({"preset": "big"}, "preset", id="unknown preset"),
        pytest.param({"policy": {"name": "autoaugment"}}, "trivialaugment", id="unknown policy"),
    ],
)
def test_settings_that_cannot_be_meant(keys, message):
    with pytest.raises(ValidationError, match=message):
        AugmentSettings(**keys)


@pytest.mark.parametrize(
    ("classes", "augment", "told"),
    [
        pytest.param(("cat", "dog"), {}, [], id="no words"),
        pytest.param(("turn_left", "turnRight"), {}, ["flip_horizontal"], id="sides"),
        pytest.param(("bright", "upset"), {"flip_vertical": 0.5}, [], id="words within words"),
        pytest.param(("zero", "two"), {}, ["flip_horizontal"], id="digits"),
        pytest.param(("A", "O"), {}, [], id="letters that are their own mirror image"),
        pytest.param(("6", "9"), {"preset": "none", "rotate": 90.0}, ["rotate"], id="digits upside down"),
        pytest.param(("6", "9"), {"preset": "none", "rotate": 15.0}, [], id="digits turned a little"),
        pytest.param(("red light", "green light"), {"hue": 0.1}, ["hue"], id="colours"),
        pytest.param(("red light", "green light"), {"preset": "none", "policy": {"name": "randaugment"}}, ["policy"],
                     id="colours under a policy"),
        pytest.param(("up", "down"), {"preset": "none", "transforms": [{"OneOf": {"transforms": [{"D4": {}}]}}]},
                     ["D4"], id="nested transforms"),
    ],
)  # fmt: skip
def test_augmentations_that_change_labels_are_told(classes, augment, told):
    notes = label_changing(classes, AugmentSettings(**augment))
    assert len(notes) == len(told)
    assert all(word in note and "Their labels may become wrong" in note for word, note in zip(told, notes, strict=True))


def test_transforms_for_images_without_boxes():
    for name in ("Morphological", "ThinPlateSpline", "RandomGridShuffle", "Blur"):
        assert validate_transforms([{name: {}}], with_boxes=False) == []
    for name in ("BBoxSafeRandomCrop", "CropNonEmptyMaskIfExists", "CenterCrop3D"):
        assert "cannot be used here" in validate_transforms([{name: {}}], with_boxes=False)[0]
    with pytest.raises(ConfigError, match="did you mean `HorizontalFlip`"):
        build_image_transforms([{"HorizontalFlop": {}}])


def test_users_transforms_are_reproducible_and_fitted_to_the_size(noise):
    transforms = [{"RandomCrop": {"height": 10, "width": 10}}, {"RandomBrightnessContrast": {"p": 1.0}}]
    pipelines = [build_pipeline(Recipe(), Fitting((20, 30), (20, 30)), transforms=transforms) for _ in range(2)]
    first, again = (
        [pipeline(lambda _: noise, 0, rng(index), num_images=1).image for index in range(5)] for pipeline in pipelines
    )
    np.testing.assert_array_equal(first, again)
    assert first[0].shape == (20, 30, 3) and not np.array_equal(first[0], first[1])
