"""Arithmetic of one axis of a receptive field, by hand."""

from fractions import Fraction

import pytest

from vision.profile.axis import Axis


def test_a_pixel_sees_itself():
    assert Axis().size == 1


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        pytest.param({"kernel": 3, "padding": 1}, Axis(-1, 1, 1), id="3, padded"),
        pytest.param({"kernel": 2, "stride": 2}, Axis(0, 1, 2), id="pooling of pairs"),
        pytest.param({"kernel": 3, "padding": 2, "dilation": 2}, Axis(-2, 2, 1), id="dilated: 5 wide"),
        pytest.param({"kernel": 1, "stride": 2}, Axis(0, 0, 2), id="1x1 skips pixels"),
        pytest.param({"kernel": 7, "stride": 2, "padding": 3}, Axis(-3, 3, 2), id="stem of a ResNet"),
    ],
)
def test_one_window(window, expected):
    assert Axis().window(**window) == expected


def test_windows_grow_by_the_stride_before_them():
    alexnet = Axis().window(11, 4, 2).window(3, 2).window(5, 1, 2).window(3, 2)
    assert (alexnet.size, alexnet.stride, -alexnet.first) == (67, 16, 18)


def test_branches_of_different_depth_see_their_union():
    assert Axis(-1, 1, 2).joined(Axis(0, 4, 2)) == Axis(-1, 4, 2)


def test_branches_of_different_strides_cannot_meet():
    assert Axis(0, 0, 2).joined(Axis(0, 0, 4)) is None


def test_padding_and_cutting_move_the_origin():
    assert Axis(0, 1, 2).moved(-3) == Axis(-6, -5, 2)
    assert Axis(0, 1, 2).every(2) == Axis(0, 1, 4)


def test_doubling_by_the_nearest_halves_the_stride():
    grown = Axis(0, 3, 4).enlarged(Fraction(2))
    assert grown.stride == 2
    # Feature 0 and 1 see pixels 0 to 3: 1 * 2 + first <= 0 and 0 * 2 + last >= 3.
    assert (grown.first, grown.last) == (-2, 3)


def test_a_transposed_convolution_sees_the_features_under_its_filter():
    # Kernel 2, stride 2: each new feature comes from one old one.
    assert Axis(0, 3, 4).transposed(2, 2, 0) == Axis(-2, 3, 2)
