"""Spatial pyramid pooling against the windows of the paper."""

import math

import pytest
import torch

from vision.layers.pooling import SpatialPyramidPool


def papers_windows(maps, level):
    """He et al. 2014, section 2.2: windows of ceil(a / n) every floor(a / n) pixels."""
    side = maps.shape[-1]
    window, stride = math.ceil(side / level), side // level
    return torch.nn.functional.max_pool2d(maps, window, stride)


@pytest.mark.parametrize("side", [12, 24])
def test_each_level_is_the_papers_where_it_divides_the_map(side):
    maps = torch.randn(2, 3, side, side)
    expected = torch.cat([papers_windows(maps, level).flatten(1) for level in (4, 2, 1)], dim=1)
    assert torch.equal(SpatialPyramidPool((4, 2, 1))(maps), expected)


@pytest.mark.parametrize("size", [(13, 13), (7, 20), (1, 1)])
def test_any_size_gives_one_length(size):
    pool = SpatialPyramidPool((4, 2, 1))
    assert pool(torch.randn(2, 3, *size)).shape == (2, 3 * pool.cells)
    assert pool.cells == 16 + 4 + 1


def test_the_last_level_is_the_largest_value_of_each_channel():
    maps = torch.randn(2, 3, 5, 6)
    assert torch.equal(SpatialPyramidPool()(maps)[:, -3:], maps.amax((2, 3)))
