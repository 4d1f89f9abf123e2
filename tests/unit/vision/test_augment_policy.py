"""Operations of RandAugment and TrivialAugment against torchvision's, and what the policies draw."""

import numpy as np
import pytest
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

from vision.augment.classify import policy
from vision.augment.classify.policy import OPERATIONS, apply_policy
from vision.augment.classify.presets import NO_POLICY, NUM_MAGNITUDES, RandAugment, TrivialAugment
from vision.augment.pipeline import sample_rng


@pytest.fixture(scope="module")
def image():
    """Smooth colours, in which interpolation matters little, and some noise in one corner."""
    ys, xs = np.mgrid[0:40, 0:56]
    planes = [120 + 90 * np.sin(xs / 9), 110 + 80 * np.cos(ys / 7), 40 + 2 * xs + ys]
    image = np.stack(planes, axis=2).astype(np.uint8)
    image[:8, :8] = np.random.default_rng(0).integers(20, 200, (8, 8, 3))
    return image


def torchvision_result(function, image, *arguments):
    result = function(torch.from_numpy(image).permute(2, 0, 1), *arguments)
    return result.permute(1, 2, 0).numpy()


@pytest.mark.parametrize(
    ("name", "value", "reference", "argument"),
    [
        pytest.param("brightness", 0.6, F.adjust_brightness, 1.6, id="brighter"),
        pytest.param("brightness", -0.4, F.adjust_brightness, 0.6, id="darker"),
        pytest.param("colour", -0.7, F.adjust_saturation, 0.3, id="paler"),
        pytest.param("colour", 0.8, F.adjust_saturation, 1.8, id="more colourful"),
        pytest.param("contrast", 0.5, F.adjust_contrast, 1.5, id="more contrast"),
        pytest.param("contrast", -0.99, F.adjust_contrast, 0.01, id="grey"),
        pytest.param("sharpness", 0.9, F.adjust_sharpness, 1.9, id="sharper"),
        pytest.param("sharpness", -0.9, F.adjust_sharpness, 0.1, id="smoother"),
        pytest.param("posterize", 3.0, F.posterize, 5, id="fewer bits"),
        pytest.param("posterize", 0.0, F.posterize, 8, id="all bits"),
        pytest.param("solarize", 100.0, F.solarize, 100, id="inverted above"),
    ],
)
def test_colours_change_as_in_torchvision(image, name, value, reference, argument):
    ours = OPERATIONS[name].apply(image, value)
    difference = np.abs(ours.astype(int) - torchvision_result(reference, image, argument).astype(int))
    assert difference.max() <= (1 if name in ("posterize", "solarize") else 2)


@pytest.mark.parametrize(("name", "reference"), [("autocontrast", F.autocontrast), ("equalize", F.equalize)])
def test_histograms_change_as_in_torchvision(image, name, reference):
    ours = OPERATIONS[name].apply(image, 0.0)
    assert np.abs(ours.astype(int) - torchvision_result(reference, image).astype(int)).max() <= 1


def sheared(image, slope, axis):
    degrees = float(np.degrees(np.arctan(slope)))
    shear = [degrees, 0.0] if axis == "x" else [0.0, degrees]
    return torchvision_result(F.affine, image, 0.0, [0, 0], 1.0, shear, InterpolationMode.BILINEAR, [114.0] * 3, [0, 0])


@pytest.mark.parametrize("axis", ["x", "y"])
@pytest.mark.parametrize("slope", [0.3, -0.2])
def test_pixels_are_sheared_as_in_torchvision(image, axis, slope):
    smooth = image[8:, 8:]
    ours = OPERATIONS[f"shear_{axis}"].apply(smooth, slope).astype(int)
    # Its centre lies half a pixel off ours, and its border is blended with the grey outside.
    difference = np.abs(ours - sheared(smooth, slope, axis))
    assert np.median(difference) <= 2 and (difference > 10).mean() < 0.06


def test_pixels_are_turned_as_in_torchvision(image):
    smooth = image[8:, 8:]
    theirs = torchvision_result(F.rotate, smooth, 20.0, InterpolationMode.BILINEAR, False, None, [114.0] * 3)
    difference = np.abs(OPERATIONS["rotate"].apply(smooth, 20.0).astype(int) - theirs)
    assert np.median(difference) <= 1 and (difference > 10).mean() < 0.05  # the border is blended with the grey


def test_pixels_are_moved_by_whole_pixels(image):
    moved = OPERATIONS["translate_x"].apply(image, 5.9)
    np.testing.assert_array_equal(moved[:, 5:], image[:, :-5])
    assert (moved[:, :5] == 114).all()
    np.testing.assert_array_equal(OPERATIONS["translate_y"].apply(image, -3.0)[:-3], image[3:])


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("value", [0, 7, 255], ids=["black", "dark", "white"])
def test_an_even_image_stays_even_and_of_its_type(name, value):
    operation = OPERATIONS[name]
    image = np.full((6, 9, 3), value, np.uint8)
    image.flags.writeable = False
    for span in (operation.rand, operation.trivial):
        for magnitude in (0, NUM_MAGNITUDES - 1):
            result = operation.apply(image, span.at(magnitude))
            assert (result.shape, result.dtype) == (image.shape, np.uint8)


@pytest.mark.parametrize("name", [name for name in OPERATIONS if name not in ("autocontrast", "equalize", "solarize")])
def test_the_weakest_strength_changes_nothing(image, name):
    operation = OPERATIONS[name]
    for span in (operation.rand, operation.trivial):
        assert np.abs(operation.apply(image, span.at(0)).astype(int) - image).max() <= 1


def test_strengths_are_those_of_the_papers():
    wide = OPERATIONS["rotate"].trivial
    assert [wide.at(0), wide.at(15), wide.at(30)] == [0, 67.5, 135]
    assert OPERATIONS["shear_x"].rand.at(9) == pytest.approx(0.09)
    assert OPERATIONS["solarize"].rand.at(30) == 0
    assert len(OPERATIONS) == 14


def drawn(monkeypatch, settings, draws=600, image_size=(50, 100)):
    """Record (name, value) of every operation that a policy applies."""
    seen = []

    def recorder(name, operation):
        def apply(image, value):
            seen.append((name, value))
            return image

        return policy.Operation(apply, operation.rand, operation.trivial, operation.is_signed, operation.side)

    monkeypatch.setattr(policy, "_ALL", tuple(recorder(*item) for item in OPERATIONS.items()))
    for index in range(draws):
        apply_policy(np.zeros((*image_size, 3), np.uint8), settings, sample_rng(0, 0, index, 0))
    return seen


def test_randaugment_applies_n_operations_of_one_strength(monkeypatch):
    seen = drawn(monkeypatch, RandAugment(name="randaugment", n=3, m=30))
    assert len(seen) == 1800 and {name for name, _ in seen} == set(OPERATIONS)
    assert {abs(value) for name, value in seen if name == "rotate"} == {30.0}
    assert {round(value, 6) for name, value in seen if name == "translate_x"} == {45.317221, -45.317221}
    assert {round(value, 6) for name, value in seen if name == "translate_y"} == {22.65861, -22.65861}


def test_trivialaugment_applies_one_operation_of_any_strength(monkeypatch):
    seen = drawn(monkeypatch, TrivialAugment(name="trivialaugment"), draws=2000)
    assert len(seen) == 2000 and {name for name, _ in seen} == set(OPERATIONS)
    turns = [value for name, value in seen if name == "rotate"]
    assert min(turns) < -100 and max(turns) > 100 and len(set(turns)) > 30


def test_no_policy_returns_the_image_itself(image):
    assert apply_policy(image, NO_POLICY, sample_rng(0, 0, 0, 0)) is image
