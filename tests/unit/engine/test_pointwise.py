"""Thin strided 1x1 convolutions on the CPU."""

import copy

import pytest
import torch
from torch import nn

from engine.pointwise import SubsampledPointwise, avoid_strided_pointwise

CPU = torch.device("cpu")


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.Conv2d(8, 16, 1, stride=2, bias=False),
        nn.Conv2d(16, 16, 1, stride=(1, 3), groups=4),
        nn.Conv2d(16, 4, 1),
    )


def test_only_strided_pointwise_convolutions_are_changed_and_names_stay():
    model = network()
    names = list(model.state_dict())
    assert avoid_strided_pointwise(model, CPU) == 2
    assert [type(module) is SubsampledPointwise for module in model] == [False, True, True, False]
    assert list(model.state_dict()) == names


@pytest.mark.parametrize("size", [pytest.param(17, id="odd"), pytest.param(32, id="even")])
def test_values_and_gradients_are_those_of_the_convolution(size):
    model = network()
    other = copy.deepcopy(model)
    avoid_strided_pointwise(other, CPU)
    images = torch.randn(3, 3, size, size)
    expected, found = model(images), other(images)
    assert torch.allclose(found, expected, atol=1e-6)
    expected.square().sum().backward()
    found.square().sum().backward()
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.allclose(one.grad, two.grad, rtol=1e-4, atol=1e-6)


def test_a_copy_keeps_the_sound_way():
    model = network()
    avoid_strided_pointwise(model, CPU)
    assert type(copy.deepcopy(model)[1]) is SubsampledPointwise


def test_wide_ones_and_other_devices_are_left_alone():
    assert avoid_strided_pointwise(nn.Conv2d(16, 8, 1, stride=2), CPU) == 0
    assert avoid_strided_pointwise(network(), torch.device("cuda")) == 0
