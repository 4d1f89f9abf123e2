"""Activations: maxout against its definition, and every hidden activation of a network exchanged."""

import copy

import pytest
import torch
from torch import nn

from foundation.errors import ConfigError
from vision.layers.activations import MaxoutActivation, MaxoutConv2d, MaxoutLinear, replace_activations
from vision.layers.functional import expose_activations
from vision.layers.initialisation import init_weights

NEW = {
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "prelu": nn.PReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "mish": nn.Mish,
}


def test_maxout_is_the_largest_of_its_pieces():
    torch.manual_seed(0)
    linear, conv = MaxoutLinear(4, 3, pieces=3), MaxoutConv2d(4, 3, 3, pieces=3, padding=1)
    values, maps = torch.randn(5, 4), torch.randn(2, 4, 6, 6)
    weights, biases = linear.weight.chunk(3), linear.bias.chunk(3)
    each = [nn.functional.linear(values, weight, bias) for weight, bias in zip(weights, biases, strict=True)]
    torch.testing.assert_close(linear(values), torch.stack(each).amax(0))
    weights, biases = conv.weight.chunk(3), conv.bias.chunk(3)
    each = [nn.functional.conv2d(maps, weight, bias, padding=1) for weight, bias in zip(weights, biases, strict=True)]
    torch.testing.assert_close(conv(maps), torch.stack(each).amax(0))


def test_two_pieces_of_which_one_is_zero_are_relu():
    layer = MaxoutLinear(4, 4)
    with torch.no_grad():
        layer.weight.copy_(torch.cat([torch.eye(4), torch.zeros(4, 4)]))
        layer.bias.zero_()
    values = torch.randn(7, 4)
    assert torch.equal(layer(values), values.relu())


def test_a_maxout_activation_starts_as_relu_and_learns_both_pieces():
    activation = MaxoutActivation([3], [4])
    maps, values = torch.randn(2, 3, 5, 5), torch.randn(2, 4)
    torch.testing.assert_close(activation(maps), maps.relu())
    torch.testing.assert_close(activation(values), values.relu())
    activation(maps).square().sum().backward()
    activation(-maps.abs() - 1).sum().backward()
    assert (activation.layers["maps_3"].weight.grad.flatten(1) != 0).all()


@pytest.mark.parametrize("name", ["resnet18", "convnext_tiny", "timm:efficientnet_b0", "plain"])
def test_a_network_with_maxout_starts_as_with_relu(name, networks):
    network = networks(name).eval()
    replace_activations(network, "relu", name)
    other = copy.deepcopy(network)
    replace_activations(other, "maxout", name)
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(other(images), network(images), rtol=1e-3, atol=1e-4)
    assert sum(p.numel() for p in other.parameters()) > sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("name", NEW)
def test_every_hidden_activation_is_exchanged(name, networks):
    network = networks("resnet18")
    replace_activations(network, name, "resnet18")
    kinds = [type(module) for module in network.modules()]
    assert kinds.count(NEW[name]) == 9
    assert nn.ReLU not in kinds or name == "relu"


def test_gates_keep_their_sigmoid(networks):
    network = networks("timm:seresnet50")
    replace_activations(network, "tanh", "seresnet50")
    assert sum(type(module).__name__ == "Sigmoid" for module in network.modules()) == 16


@pytest.mark.parametrize(("name", "side"), [("densenet121", 32), ("googlenet", 64), ("inception_v3", 80)])
def test_networks_that_call_relu_in_their_code_compute_the_same_with_a_module(name, side, networks):
    network = networks(name).eval()
    init_weights(network, "kaiming")  # googlenet's own start is so small that only the last bias is left
    images = torch.rand(1, 3, side, side)
    with torch.no_grad():
        before = network(images)
        expose_activations(network)
        assert torch.equal(network(images), before)
        replace_activations(network, "tanh", name)
        assert not torch.equal(network(images), before)
    assert not any(isinstance(module, nn.ReLU) for module in network.modules())


@pytest.mark.parametrize("name", ["tanh", "maxout"])
def test_what_comes_after_the_classes_stays(name, networks):
    network = networks("squeezenet1_1")
    replace_activations(network, name, "squeezenet1_1")
    assert isinstance(network.classifier[2], nn.ReLU)
    assert sum(isinstance(module, nn.ReLU) for module in network.modules()) == 1


class CallsRelu(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3)
        self.act = nn.ReLU()

    def forward(self, images):
        return torch.relu(self.act(self.conv(images)))


@pytest.mark.parametrize(
    ("network", "words"),
    [
        pytest.param(CallsRelu(), r"calls its activation in its code, in CallsRelu \(relu\)", id="unknown code"),
        pytest.param(nn.Sequential(nn.Conv2d(3, 5, 3)), "no hidden activations", id="linear network"),
    ],
)
def test_an_activation_that_cannot_be_applied_is_refused_with_the_reason(network, words):
    with pytest.raises(ConfigError, match=words):
        replace_activations(network, "tanh", "mine")
