"""All parts on networks of every source: forward, backward, copies, and weights from networks with the same parts."""

import copy

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from vision.layers.apply import apply_parts, are_named_after_parts
from vision.layers.settings import PartsSettings

MIXED = {
    # Every norm, activation, dropout and start is in one of them; all nets see most.
    "resnet18": [
        {"norm": "switchable", "activation": "maxout", "dropout": {"name": "dropblock", "rate": 0.1}},
        {"norm": "weight", "activation": "elu", "dropout": {"name": "stochastic_depth", "rate": 0.1}, "init": "xavier"},
    ],
    "vgg11": [{"norm": "layer", "activation": "prelu", "dropout": {"name": "vanilla", "rate": 0.1}, "init": "normal"}],
    "mobilenet_v2": [{"norm": "instance", "activation": "mish", "dropout": {"name": "spatial", "rate": 0.1}}],
    "densenet121": [{"norm": "group", "activation": "silu", "dropout": {"name": "dropblock", "rate": 0.1}}],
    "convnext_tiny": [{"activation": "tanh", "dropout": {"name": "stochastic_depth", "rate": 0.3}}],
    "mobilenet_v3_small": [{"norm": "none", "activation": "sigmoid", "dropout": {"name": "inverted", "rate": 0.1}}],
    "timm:resnet18": [{"norm": "sync", "activation": "leaky_relu", "init": "orthogonal"}],
    "timm:efficientnet_b0": [
        {"norm": "group", "activation": "gelu", "dropout": {"name": "spatial", "rate": 0.1}, "init": "trunc_normal"},
        {"norm": "frozen", "activation": "maxout", "dropout": {"name": "stochastic_depth", "rate": 0.1}},
    ],
    "lenet5": [{"norm": "layer", "activation": "maxout"}],
    "plain": [
        {"norm": "batch", "activation": "maxout", "dropout": {"name": "inverted", "rate": 0.5}, "init": "kaiming"}
    ],
}


@pytest.mark.parametrize(
    ("name", "parts"),
    [pytest.param(name, parts, id=f"{name}-{i}") for name in MIXED for i, parts in enumerate(MIXED[name])],
)
def test_a_network_with_other_parts_runs_learns_and_can_be_copied(name, parts, networks):
    network = networks(name)
    apply_parts(network, PartsSettings.model_validate(parts), name)
    side = 32 if name == "lenet5" else 64  # so that the deepest maps have more than one pixel
    images = torch.rand(2, 3, side, side)
    network(images).square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())
    network.eval()
    other = copy.deepcopy(network)
    with torch.no_grad():
        before = other(images)
        assert torch.equal(network(images), before)
        for parameter in network.parameters():
            parameter.add_(0.1)
        assert torch.equal(other(images), before)  # the copy's parts are its own


def test_null_changes_nothing(networks):
    network = networks("resnet18")
    text, state = str(network), copy.deepcopy(network.state_dict())
    apply_parts(network, PartsSettings(), "resnet18")
    assert str(network) == text
    assert all(torch.equal(state[name], tensor) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({"norm": "switchable"}, True),
        ({"norm": "group"}, True),
        ({"norm": "weight"}, True),
        ({"activation": "maxout"}, True),
        ({"activation": "tanh"}, False),
    ],
)
def test_weights_tell_whether_their_network_had_the_parts(parts, expected, networks):
    network, settings = networks("resnet18"), PartsSettings.model_validate(parts)
    plain = {f"network.{name}" for name in network.state_dict()}
    trained = copy.deepcopy(network)
    apply_parts(trained, settings, "resnet18")
    names = {f"network.{name}" for name in trained.state_dict()}
    assert are_named_after_parts(names, network, settings, "resnet18") == expected
    assert not are_named_after_parts(plain, network, settings, "resnet18")
    assert isinstance(network.bn1, nn.BatchNorm2d)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"norm": "grup"}, "'group'"),
        ({"dropout": {"name": "spatial", "rate": 0.1, "block_size": 3}}, "block_size"),
        ({"dropout": {"name": "dropblock", "rate": 0.1, "block_size": 4}}, "odd number, got 4"),
        ({"dropout": {"name": "inverted", "rate": 1.0}}, "less than 1"),
    ],
)
def test_settings_refuse_what_has_no_meaning(parts, words):
    with pytest.raises(ValidationError, match=words):
        PartsSettings.model_validate(parts)
