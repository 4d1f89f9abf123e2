"""Transforms that users name themselves: checked before the run, and as reproducible as our own."""

import numpy as np
import pytest

from foundation.errors import ConfigError
from vision.augment.albumentations_builder import build_transforms
from vision.augment.check import REFUSED, known_transforms, validate_transforms
from vision.augment.geometry import BoxedImage
from vision.augment.pipeline import build_pipeline, sample_rng
from vision.augment.presets import PRESETS


def rectangle(box=(20, 10, 50, 40)):
    image = np.zeros((60, 80, 3), np.uint8)
    x1, y1, x2, y2 = box
    image[y1:y2, x1:x2] = 255
    return BoxedImage(image, np.array([box], np.float32), np.array([2]))


@pytest.mark.parametrize(
    "transforms",
    [
        pytest.param([], id="none at all"),
        pytest.param([{"HorizontalFlip": {"p": 0.5}}], id="one argument"),
        pytest.param([{"HorizontalFlip": {}}, {"CLAHE": {}}], id="defaults"),
        pytest.param([{"Affine": {"scale": [0.5, 1.5], "rotate": [-10, 10]}}], id="lists for tuples"),
        pytest.param([{"OneOf": {"transforms": [{"Blur": {}}, {"MotionBlur": {}}], "p": 0.3}}], id="nested"),
        pytest.param([{"ShiftScaleRotate": {}}], id="mere advice of the library is no problem"),
    ],
)
def test_transforms_without_fault(transforms):
    assert validate_transforms(transforms) == []


@pytest.mark.parametrize(
    ("transforms", "problem"),
    [
        pytest.param([{"HorizontalFlop": {}}], "did you mean `HorizontalFlip`?", id="misspelt name"),
        pytest.param([{"RandomCrop": {"heigth": 5, "width": 5}}], "did you mean `height`?", id="misspelt argument"),
        pytest.param(
            [{"GaussNoise": {"var_limit": [1, 2]}}], "no argument `var_limit`; known: ", id="removed argument"
        ),
        pytest.param([{"RandomCrop": {"width": 5}}], "argument `height` is missing", id="missing argument"),
        pytest.param([{"HorizontalFlip": {"p": "often"}}], "argument `p` is 'often'", id="wrong type"),
        pytest.param([{"HorizontalFlip": {"p": 1.5}}], "less than or equal to 1", id="out of range"),
        pytest.param([{"Affine": {"scale": [0.5, "x"]}}], "argument `scale` is [0.5, 'x']", id="wrong type inside"),
        pytest.param([{"GaussNoise": {"std_range": [0.5, 0.1]}}], "argument `std_range`", id="wrong order"),
        pytest.param([{"CropAndPad": {}}], "cannot be None simultaneously", id="arguments that depend on each other"),
        pytest.param([{"ThinPlateSpline": {}}], "boxes do not follow its pixels", id="moves boxes wrongly"),
        pytest.param([{"RandomGridShuffle": {}}], "boxes do not follow its pixels", id="cuts objects"),
        pytest.param([{"Normalize": {}}], "must stay uint8", id="changes the type"),
        pytest.param([{"CenterCrop3D": {"size": [1, 2, 3]}}], "does not know boxes", id="no box target"),
        pytest.param(["Blur"], "expected one `Name: {argument: value}`", id="a name alone"),
        pytest.param([{"Blur": {}, "CLAHE": {}}], "expected one `Name: {argument: value}`", id="two in one"),
        pytest.param([{"Blur": None}], "expected its arguments", id="no arguments"),
        pytest.param([{"OneOf": {"transforms": [{"Blurr": {}}]}}], "OneOf: Blurr: ", id="nested fault"),
        pytest.param([{"OneOf": {"transforms": []}}], "expected a list of transforms", id="nested nothing"),
        pytest.param(
            [{"OneOf": {"transforms": [{"Blur": {}}], "p": 2}}], "less than or equal to 1", id="nested chance"
        ),
        pytest.param([{"SomeOf": {"transforms": [{"Blur": {}}], "n": "2"}}], "argument `n` is '2'", id="nested type"),
    ],
)
def test_one_fault_is_one_problem(transforms, problem):
    problems = validate_transforms(transforms)
    assert problem in problems[0]
    with pytest.raises(ConfigError):
        build_transforms(transforms, 0.25)


def test_what_is_refused_still_exists_in_the_library():
    import albumentations

    assert all(hasattr(albumentations, name) for name in REFUSED)
    assert not known_transforms().keys() & REFUSED.keys()


@pytest.mark.parametrize(
    "entry",
    [
        {"HorizontalFlip": {"p": 1.0}},
        {"RandomCrop": {"height": 40, "width": 50, "p": 1.0}},
        {"Affine": {"scale": [0.7, 1.3], "translate_percent": [-0.2, 0.2], "p": 1.0}},
        {"RandomRotate90": {"p": 1.0}},
        {"OneOf": {"transforms": [{"Transpose": {}}, {"VerticalFlip": {}}], "p": 1.0}},
    ],
    ids=lambda entry: next(iter(entry)),
)
def test_boxes_follow_their_pixels(entry):
    transforms = build_transforms([entry], 0.05)
    for seed in range(8):
        moved = transforms(rectangle(), np.random.default_rng(seed))
        ys, xs = np.nonzero(moved.image[:, :, 0] > 127)
        if len(moved.boxes):
            assert moved.labels.tolist() == [2]
            assert (moved.boxes.dtype, moved.labels.dtype) == (np.float32, np.int64)
            expected = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
            np.testing.assert_allclose(moved.boxes[0], expected, atol=1.5)


def test_randomness_comes_from_the_sample_alone():
    entries = [{"Affine": {"rotate": [-20, 20]}}, {"GaussNoise": {}}, {"OneOf": {"transforms": [{"Blur": {}}]}}]
    transforms = build_transforms(entries, 0.25)
    first = [transforms(rectangle(), sample_rng(0, 0, i, 0)).image.tobytes() for i in range(6)]
    again = [build_transforms(entries, 0.25)(rectangle(), sample_rng(0, 0, i, 0)).image.tobytes() for i in range(6)]
    backwards = [transforms(rectangle(), sample_rng(0, 0, i, 0)).image.tobytes() for i in reversed(range(6))][::-1]
    assert first == again == backwards
    assert len(set(first)) == 6


@pytest.mark.parametrize(
    ("min_visibility", "kept"),
    [pytest.param(0.6, 0, id="half is too little"), pytest.param(0.4, 1, id="half is enough")],
)
def test_boxes_cut_by_a_crop(min_visibility, kept):
    crop = [{"Crop": {"x_min": 0, "y_min": 0, "x_max": 35, "y_max": 60, "p": 1.0}}]
    moved = build_transforms(crop, min_visibility)(rectangle(), np.random.default_rng(0))
    assert len(moved.boxes) == len(moved.labels) == kept
    assert moved.boxes.shape == (kept, 4)


def test_an_image_without_objects():
    empty = BoxedImage(np.zeros((60, 80, 3), np.uint8), np.zeros((0, 4), np.float32), np.zeros(0, np.int64))
    moved = build_transforms([{"HorizontalFlip": {"p": 1.0}}], 0.25)(empty, np.random.default_rng(0))
    assert moved.boxes.shape == (0, 4) and moved.labels.shape == (0,)


def test_a_pipeline_letterboxes_what_a_crop_leaves():
    crop = [{"RandomCrop": {"height": 30, "width": 40, "p": 1.0}}]
    pipeline = build_pipeline(PRESETS["none"], (64, 64), transforms=crop)
    partners = np.arange(1)
    sample = pipeline(lambda _: rectangle(), 0, sample_rng(0, 0, 0, 0), partners=partners, mixup_partners=partners)
    assert sample.image.shape == (64, 64, 3)
    ys, xs = np.nonzero(sample.image[:, :, 0] > 150)
    np.testing.assert_allclose(sample.boxes[0], [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], atol=1.5)
