"""Dropout: what each kind drops, how it is scaled, and where in a network it acts."""

import pytest
import torch
import torchvision
from torch import nn
from torchvision.ops import StochasticDepth

from foundation.errors import ConfigError
from vision.backbones.heads import replace_head, split_head
from vision.layers.apply import apply_parts
from vision.layers.dropout import DropBlock, VanillaDropout
from vision.layers.settings import PartsSettings

MANY = 200_000
"""Values; the mean of dropped ones is then within 0.01 of its expectation by more than four deviations."""


def parts(name, rate=0.2, **others):
    return PartsSettings.model_validate({"dropout": {"name": name, "rate": rate, **others}})


def test_vanilla_dropout_keeps_values_in_training_and_scales_them_in_evaluation():
    torch.manual_seed(0)
    vanilla, ones = VanillaDropout(0.3), torch.ones(MANY)
    dropped = vanilla(ones)
    assert set(dropped.unique().tolist()) == {0.0, 1.0}
    assert dropped.mean().item() == pytest.approx(0.7, abs=0.01)
    assert torch.equal(vanilla.eval()(ones), ones * 0.7)


def test_vanilla_and_inverted_dropout_expect_the_same_up_to_the_scale():
    torch.manual_seed(0)
    inverted, vanilla, ones = nn.Dropout(0.3), VanillaDropout(0.3), torch.ones(MANY)
    assert inverted(ones).mean().item() == pytest.approx(vanilla(ones).mean().item() / 0.7, abs=0.01)
    assert torch.equal(inverted.eval()(ones) * 0.7, vanilla.eval()(ones))


@pytest.mark.parametrize(("side", "expected_side"), [(16, 5), (4, 3), (3, 3), (1, 1)])
def test_dropblock_drops_squares_that_fit_the_map(side, expected_side):
    torch.manual_seed(0)
    dropblock = DropBlock(0.02 if side > 5 else 0.5, 5)
    maps = dropblock(torch.ones(300, 2, side, side))
    dropped = (maps == 0).flatten(2).sum(2)
    fewest = dropped[dropped > 0].min().item()
    assert fewest == expected_side**2
    assert maps.mean().item() == pytest.approx(1.0, abs=1e-3)  # what is left is scaled by what is missing
    assert torch.equal(dropblock.eval()(torch.ones(1, 2, side, side)), torch.ones(1, 2, side, side))


def test_dropblock_drops_about_the_rate():
    torch.manual_seed(0)
    assert (DropBlock(0.1, 3)(torch.ones(200, 4, 14, 14)) == 0).float().mean().item() == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize(("name", "kind"), [("inverted", nn.Dropout), ("vanilla", VanillaDropout)])
def test_a_networks_own_dropout_is_exchanged_and_one_without_gets_one_before_its_classes(name, kind, networks):
    for network, count in ((networks("mobilenet_v2"), 1), (networks("resnet18"), 1)):
        names = set(network.state_dict())
        apply_parts(network, parts(name), "net")
        assert sum(isinstance(module, nn.Dropout | VanillaDropout) for module in network.modules()) == count
        assert sum(isinstance(module, kind) for module in network.modules()) == count
        assert set(network.state_dict()) == names
    network.fc.dropout.register_forward_hook(lambda _, inputs, output: output * 0)
    assert torch.equal(network(torch.rand(2, 3, 32, 32)), network.fc.bias.expand(2, 5))


@pytest.mark.parametrize(
    ("name", "count", "last"),
    [
        pytest.param("resnet18", 8, "layer4.1.bn2.dropout", id="torchvision, after the last norm"),
        pytest.param("mobilenet_v2", 10, "features.16.conv.dropout", id="only blocks that add"),
        pytest.param("preact_resnet18", 8, "layer4.1.convs.1.dropout", id="ours, after the last convolution"),
        pytest.param("shufflenet_v1_g3", 13, "stage4.3.bn3.dropout", id="only blocks of stride 1"),
        pytest.param("convnext_tiny", 18, "features.7.2.stochastic_depth", id="torchvision's own place"),
        pytest.param("timm:resnet18", 8, "layer4.1.drop_path", id="timm's place"),
        pytest.param("timm:efficientnet_b0", 9, "blocks.5.3.drop_path", id="timm's, only blocks that add"),
    ],
)
def test_branches_are_dropped_at_rates_that_rise_to_the_last(name, count, last, networks):
    network = networks(name)
    names = set(network.state_dict())
    apply_parts(network, parts("stochastic_depth", 0.2), name)
    rates = {path: module.p for path, module in network.named_modules() if isinstance(module, StochasticDepth)}
    used = {path: rate for path, rate in rates.items() if rate > 0}
    in_order = [rate for rate in used.values() if rate <= 0.2]
    assert rates[last] == pytest.approx(0.2)
    assert in_order[:count] == pytest.approx([0.2 * index / count for index in range(1, count + 1)])
    assert set(network.state_dict()) == names


def test_a_dropped_branch_leaves_its_input(networks):
    block = torchvision.models.resnet18(weights=None).layer1[0]
    network = nn.Sequential(block)
    apply_parts(network, parts("stochastic_depth", 0.999), "block")
    maps = torch.rand(1, 64, 8, 8)
    torch.manual_seed(0)
    assert torch.equal(network(maps), maps)  # relu of the input, which is positive
    assert not torch.equal(network.eval()(maps), maps)


@pytest.mark.parametrize("name", ["spatial", "dropblock"])
def test_maps_are_dropped_in_the_last_two_stages_of_a_resnet(name, networks):
    network = networks("resnet18")
    apply_parts(network, parts(name), "resnet18")
    places = [path for path, module in network.named_modules() if isinstance(module, nn.Dropout2d | DropBlock)]
    assert places == [f"layer{stage}.{block}.relu.dropout" for stage in (3, 4) for block in (0, 1)]


def test_maps_are_not_dropped_inside_gates_or_after_linear_layers(networks):
    for name in ("timm:seresnet50", "vgg11"):
        network = networks(name)
        apply_parts(network, parts("spatial"), name)
        places = [path for path, module in network.named_modules() if isinstance(module, nn.Dropout2d)]
        assert places
        assert not any(".se." in path or path.startswith("classifier") for path in places)


def test_spatial_dropout_drops_whole_channels(networks):
    network = networks("plain")
    apply_parts(network, parts("spatial", 0.5), "plain")
    seen = []
    network[4].register_forward_hook(lambda _, __, output: seen.append(output))
    network(torch.rand(8, 3, 16, 16) + 1)
    is_zero = (seen[0] == 0).flatten(2).all(2)
    assert 0.3 < is_zero.float().mean() < 0.9


@pytest.mark.parametrize(
    ("network", "settings", "words"),
    [
        pytest.param("vgg11", ("stochastic_depth", 0.1), "no residual blocks", id="no branches"),
        pytest.param("convnext_tiny", ("dropblock", 0.1), "no activations after its convolutions", id="no maps"),
        pytest.param("resnet18", ("inverted", 0.0), "rate 0 has no effect", id="nothing to switch off"),
    ],
)
def test_dropout_without_a_place_is_refused_with_the_reason(network, settings, words):
    with torch.device("meta"):
        module = torchvision.models.get_model(network, weights=None)
    with pytest.raises(ConfigError, match=words):
        apply_parts(module, parts(*settings), network)


def test_dropout_stays_where_another_head_takes_the_place_of_the_old(networks):
    network = networks("resnet18")
    apply_parts(network, parts("vanilla", 0.4), "resnet18")
    images = torch.rand(2, 3, 32, 32)
    assert replace_head(network, 7).eval()(images).shape == (2, 7)
    assert isinstance(network.fc.dropout, VanillaDropout)
    embedded, _ = split_head(network)
    assert (embedded.train()(images) == 0).float().mean().item() > 0.3


def test_a_trunk_has_no_classifier_to_drop_inputs_of(networks):
    with pytest.raises(ConfigError, match="no classifier here"):
        apply_parts(networks("resnet18"), parts("inverted"), "resnet18", has_head=False)


def test_rate_0_switches_a_networks_own_dropout_off(networks):
    network = networks("mobilenet_v2")
    apply_parts(network, parts("inverted", 0.0), "mobilenet_v2")
    assert network.classifier[0].p == 0
