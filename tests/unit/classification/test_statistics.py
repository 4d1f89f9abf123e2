"""Colours of a data set, against numpy over all pixels at once."""

import cv2
import numpy as np
import pytest

from classification.statistics import channel_statistics, colour_statistics, statistics_of
from vision.record import LabelledDataset, LabelledImage


@pytest.fixture
def pictures():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (5 + index, 7, 3), dtype=np.uint8) // np.uint8([1, 2, 3]) for index in range(4)]


def test_statistics_are_those_of_all_pixels_at_once(pictures):
    pixels = np.concatenate([picture.reshape(-1, 3) for picture in pictures]) / 255
    measured = statistics_of(pictures)
    assert measured.num_pixels == len(pixels)
    np.testing.assert_allclose(measured.mean, pixels.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(measured.std, pixels.std(axis=0), rtol=1e-12)
    np.testing.assert_allclose(measured.covariance, np.cov(pixels.T, bias=True), rtol=1e-10, atol=1e-15)


def test_the_order_of_the_images_does_not_matter_in_the_last_bit(pictures):
    forwards, backwards = statistics_of(pictures), statistics_of(pictures[::-1])
    assert (forwards.mean, forwards.std) == (backwards.mean, backwards.std)
    np.testing.assert_array_equal(forwards.covariance, backwards.covariance)


def test_principal_colours_are_eigenvectors_times_eigenvalues(pictures):
    measured = statistics_of(pictures)
    axes = measured.principal_colours()
    values = np.linalg.norm(axes, axis=0)
    assert (np.diff(values) <= 0).all() and values.sum() == pytest.approx(np.trace(measured.covariance))
    np.testing.assert_allclose(measured.covariance @ axes, axes * values, atol=1e-12)


def test_a_channel_that_never_changes_can_be_divided_by():
    measured = statistics_of([np.full((2, 2, 3), 51, np.uint8)])
    assert (measured.mean, measured.std) == (pytest.approx((0.2, 0.2, 0.2)), (1.0, 1.0, 1.0))
    assert not measured.principal_colours().any()


def test_no_pixel_has_no_statistics():
    with pytest.raises(ValueError, match="at least one pixel"):
        statistics_of([])


def test_only_the_parts_that_are_shown_count(tmp_path):
    image = np.zeros((4, 6, 3), np.uint8)
    image[:, 3:] = 255
    cv2.imwrite(str(tmp_path / "a.png"), image)
    records = [LabelledImage(i, "a", tmp_path / "a.png", (4, 6), i, box) for i, box in enumerate([(3, 0, 6, 4), None])]
    dataset = LabelledDataset(("a", "b"), tuple(records))
    assert colour_statistics(dataset).num_pixels == 36
    mean, std = channel_statistics(dataset)
    assert mean == pytest.approx((2 / 3,) * 3) and std == pytest.approx((2**0.5 / 3,) * 3)
