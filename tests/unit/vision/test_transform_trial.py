"""Transforms that no image of the size in question can be put through."""

import numpy as np
import pytest

from foundation.errors import DataError
from vision.augment.albumentations_builder import build_image_transforms, build_transforms
from vision.augment.geometry import BoxedImage
from vision.augment.transform_trial import trial_problems

SIZE = (64, 96)
LARGE = {"RandomCrop": {"height": 65, "width": 96, "p": 0.1}}


@pytest.mark.parametrize(
    ("transforms", "name"),
    [
        pytest.param([LARGE], "RandomCrop", id="a row too many, at times"),
        pytest.param([{"Blur": {}}, {"CenterCrop": {"height": 64, "width": 97}}], "CenterCrop", id="after another"),
        pytest.param([{"Crop": {"x_max": 200, "y_max": 20}}], "Crop", id="corners outside"),
        pytest.param([{"OneOf": {"transforms": [{"Blur": {}}, LARGE]}}], "RandomCrop", id="within a composition"),
    ],
)
@pytest.mark.parametrize("with_boxes", [True, False])
def test_a_crop_larger_than_its_image_is_named(transforms, name, with_boxes):
    (problem,) = trial_problems(transforms, SIZE, with_boxes)
    assert problem.startswith(f"{name} cannot be applied to an image of 96 x 64 pixels: ")
    assert "make it smaller" in problem


def test_what_fits_is_no_problem():
    fitting = [
        {"RandomCrop": {"height": 64, "width": 96}},
        {"RandomCrop": {"height": 100, "width": 100, "pad_if_needed": True}},
        {"SomeOf": {"n": 1, "transforms": [{"HorizontalFlip": {"p": 0.5}}, {"Affine": {"rotate": [-10, 10]}}]}},
    ]
    assert trial_problems(fitting, SIZE) == []
    assert trial_problems([], SIZE) == []


def test_in_a_run_it_is_an_error_in_words():
    image = np.zeros((*SIZE, 3), np.uint8)
    sample = BoxedImage(image, np.float32([[5, 5, 20, 20]]), np.zeros(1, np.int64))
    certain = [{"RandomCrop": {"height": 65, "width": 96, "p": 1.0}}]
    with pytest.raises(DataError, match="RandomCrop cannot be applied to an image of 96 x 64 pixels"):
        build_transforms(certain, 0.25)(sample, np.random.default_rng(0))
    with pytest.raises(DataError, match="RandomCrop cannot be applied to an image of 96 x 64 pixels"):
        build_image_transforms(certain)(image, np.random.default_rng(0))
