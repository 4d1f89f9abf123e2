"""Initial weights: variances against their formulas."""

import math

import pytest
import torch
from torch import nn

from vision.layers.initialisation import init_weights

FAN_IN, FAN_OUT = 64 * 9, 96 * 9
"""Of a 3x3 convolution from 64 to 96 channels."""


@pytest.mark.parametrize(
    ("how", "activation", "variance"),
    [
        pytest.param("xavier", "relu", 2 / (FAN_IN + FAN_OUT), id="Glorot & Bengio 2010, eq. 16"),
        pytest.param("kaiming", "relu", 2 / FAN_IN, id="He et al. 2015, eq. 10"),
        pytest.param("kaiming", "gelu", 2 / FAN_IN, id="no gain of its own: as relu"),
        pytest.param("kaiming", "prelu", 2 / (1 + 0.25**2) / FAN_IN, id="He et al. 2015, eq. 15"),
        pytest.param("kaiming", "tanh", 25 / 9 / FAN_IN, id="tanh"),
        pytest.param("orthogonal", "relu", 2 / FAN_IN, id="rows of length sqrt 2"),
        pytest.param("trunc_normal", "relu", (0.02 * 0.8796) ** 2, id="0.02, cut at two deviations"),
        pytest.param("normal", "relu", 0.01**2, id="0.01"),
    ],
)
def test_the_variance_is_the_formulas(how, activation, variance):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(64, 96, 3), nn.BatchNorm2d(96), nn.ReLU())
    init_weights(network, how, activation)
    assert network[0].weight.var().item() == pytest.approx(variance, rel=0.03)
    assert not network[0].bias.any()


def test_orthogonal_rows_are_orthogonal():
    network = nn.Sequential(nn.Conv2d(8, 16, 3), nn.ReLU())
    init_weights(network, "orthogonal")
    rows = network[0].weight.flatten(1)
    torch.testing.assert_close(rows @ rows.T, 2 * torch.eye(16), atol=1e-5, rtol=0)


def test_the_networks_own_activation_sets_the_gain():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(1000, 200), nn.Tanh())
    init_weights(network, "kaiming")
    assert network[0].weight.std().item() == pytest.approx(5 / 3 / math.sqrt(1000), rel=0.02)


def test_kaiming_keeps_the_size_of_activations_through_forty_layers():
    torch.manual_seed(0)
    layers = [layer for _ in range(40) for layer in (nn.Linear(256, 256), nn.ReLU())]
    network = nn.Sequential(*layers)
    init_weights(network, "kaiming")
    with torch.no_grad():
        assert 0.2 < network(torch.randn(64, 256)).square().mean() / 0.5 < 5


def test_norms_keep_their_start():
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU())
    nn.init.zeros_(network[1].weight)
    init_weights(network, "normal")
    assert not network[1].weight.any()
