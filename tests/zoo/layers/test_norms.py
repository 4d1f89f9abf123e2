"""Norms: each against torch's own or a loop over its formula, and what the exchange leaves in a network."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torchvision
from torch import nn

from foundation.errors import ConfigError
from vision.layers.apply import apply_parts
from vision.layers.norms import ChannelAffine, InstanceNorm2d, layer_norm, replace_norms
from vision.layers.settings import PartsSettings
from vision.layers.switchable import SwitchableNorm2d
from vision.layers.sync import SyncBatchNorm2d

INSTANCE, LAYER, BATCH = range(3)
CERTAIN = 1e3
"""A softmax over [0, 0, 1e3] is [0, 0, 1] in float32."""


def maps(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 3 + 1


def switchable_to(choice, channels=6):
    norm = SwitchableNorm2d(channels)
    with torch.no_grad():
        norm.weight.copy_(torch.linspace(0.5, 2, channels))
        norm.bias.copy_(torch.linspace(-1, 1, channels))
        for weights in (norm.mean_weight, norm.var_weight):
            weights.zero_()[choice] = CERTAIN
    return norm


@pytest.mark.parametrize(
    ("choice", "build_oracle"),
    [
        pytest.param(INSTANCE, lambda: nn.InstanceNorm2d(6, affine=True), id="instance"),
        pytest.param(LAYER, lambda: nn.GroupNorm(1, 6), id="layer"),
        pytest.param(BATCH, lambda: nn.BatchNorm2d(6), id="batch"),
    ],
)
@pytest.mark.parametrize("is_training", [True, False])
def test_a_switchable_norm_that_is_certain_is_the_norm_it_chose(choice, build_oracle, is_training):
    norm, oracle = switchable_to(choice), build_oracle()
    with torch.no_grad():
        oracle.weight.copy_(norm.weight)
        oracle.bias.copy_(norm.bias)
    for seed in range(3):  # running averages move
        norm.train()(maps(4, 6, 5, 7, seed=seed)), oracle.train()(maps(4, 6, 5, 7, seed=seed))
    ours, theirs = maps(4, 6, 5, 7, seed=9).requires_grad_(), maps(4, 6, 5, 7, seed=9).requires_grad_()
    output, expected = norm.train(is_training)(ours), oracle.train(is_training)(theirs)
    torch.testing.assert_close(output, expected, rtol=1e-4, atol=1e-5)
    (output**3).sum().backward(), (expected**3).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-3)


def test_a_switchable_norm_keeps_batch_norms_running_statistics():
    norm, oracle = switchable_to(LAYER), nn.BatchNorm2d(6)
    for seed in range(2):
        norm(maps(4, 6, 5, 7, seed=seed)), oracle(maps(4, 6, 5, 7, seed=seed))
    torch.testing.assert_close(norm.running_mean, oracle.running_mean)
    torch.testing.assert_close(norm.running_var, oracle.running_var)


def test_an_undecided_switchable_norm_is_the_formula_of_the_paper():
    norm = SwitchableNorm2d(3)
    with torch.no_grad():
        norm.mean_weight.copy_(torch.tensor([0.1, 0.5, -0.3]))
        norm.var_weight.copy_(torch.tensor([-0.2, 0.4, 0.9]))
    x = maps(2, 3, 2, 4)
    of_mean, of_var = norm.mean_weight.softmax(0), norm.var_weight.softmax(0)
    expected = torch.empty_like(x)
    for b in range(2):
        for c in range(3):
            groups = (x[b, c], x[b], x[:, c])
            mean = sum(weight * group.mean() for weight, group in zip(of_mean, groups, strict=True))
            var = sum(weight * group.var(correction=0) for weight, group in zip(of_var, groups, strict=True))
            expected[b, c] = (x[b, c] - mean) / (var + 1e-5).sqrt()
    torch.testing.assert_close(norm(x), expected)


def test_layer_and_instance_norm_are_group_norm_with_one_and_all_groups():
    x = maps(2, 6, 3, 3)
    torch.testing.assert_close(layer_norm(6)(x)[0].mean(), torch.tensor(0.0), atol=1e-6, rtol=0)
    torch.testing.assert_close(InstanceNorm2d(6)(x), nn.GroupNorm(6, 6)(x))


def test_instance_norm_of_a_single_pixel_is_refused_with_a_way_out():
    with pytest.raises(ConfigError, match=r"more than one pixel.*image_size"):
        InstanceNorm2d(4)(torch.ones(2, 4, 1, 1))


def test_a_weight_is_its_length_times_its_direction():
    network = torchvision.models.resnet18(weights=None)
    before = network.conv1.weight.detach().clone()
    replace_norms(network, "weight", "resnet18")
    g, v = network.conv1.parametrizations.weight.original0, network.conv1.parametrizations.weight.original1
    torch.testing.assert_close(network.conv1.weight, before)
    with torch.no_grad():
        g.mul_(3), v.mul_(torch.rand_like(g) + 0.5)
    length = v.flatten(1).norm(dim=1)[:, None, None, None]
    torch.testing.assert_close(network.conv1.weight, g * v / length)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    assert isinstance(network.bn1, ChannelAffine)  # the convolutions have no bias of their own


@pytest.mark.parametrize("kind", ["weight", "none"])
@pytest.mark.parametrize("name", ["resnet18", "preact_resnet18", "timm:resnetv2_50", "timm:seresnet50", "mobilenet_v2"])
def test_without_norms_a_residual_branch_begins_as_zero_and_still_learns(kind, name, networks):
    network = networks(name)
    replace_norms(network, kind, name)
    network.train()
    images = torch.rand(2, 3, 32, 32)
    logits = network(images)
    assert logits.std() < 10
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Linear) and kind == "none":
                module.weight.normal_(std=0.1)  # where the last layer starts at zero, nothing flows in the first step
    network(images).square().sum().backward()
    ends = [
        parameter
        for parameter in network.parameters()
        if parameter.numel() > 1 and not parameter.detach().any() and parameter.grad is not None
    ]
    scales = [parameter for parameter in ends if parameter.grad.abs().sum() > 0]
    assert len(scales) >= len(list(residual_ends(name)))


def residual_ends(name):
    counts = {"resnet18": 8, "preact_resnet18": 8, "timm:resnetv2_50": 16, "timm:seresnet50": 16, "mobilenet_v2": 10}
    return range(counts[name])


def test_synchronised_norm_of_one_rank_is_batch_norm():
    norm, oracle = SyncBatchNorm2d(3), nn.BatchNorm2d(3)
    torch.testing.assert_close(norm(maps(4, 3, 2, 2)), oracle(maps(4, 3, 2, 2)))
    torch.testing.assert_close(norm.running_var, oracle.running_var)


class TwoRanks:
    """torch.distributed for two threads: as far as the synchronised norm needs it."""

    def __init__(self):
        self.barrier = threading.Barrier(2, timeout=10)
        self.shares = {}

    is_available = is_initialized = staticmethod(lambda: True)
    get_world_size = staticmethod(lambda: 2)

    def all_reduce(self, tensor):
        self.shares[threading.get_ident()] = tensor.clone()
        self.barrier.wait()
        total = sum(self.shares.values())
        self.barrier.wait()
        tensor.copy_(total)


def test_two_ranks_with_unequal_batches_normalise_as_one_with_both(monkeypatch):
    monkeypatch.setattr("vision.layers.sync.dist", TwoRanks())
    joined = maps(5, 3, 4, 2).requires_grad_()
    oracle, norms = nn.BatchNorm2d(3), [SyncBatchNorm2d(3), SyncBatchNorm2d(3)]
    for norm in (oracle, *norms):
        nn.init.constant_(norm.weight, 1.5)
    expected = oracle(joined)
    (expected**3).sum().backward()

    def run(norm, images):
        images = images.clone().requires_grad_()
        output = norm(images)
        (output**3).sum().backward()
        return output.detach(), images.grad

    with ThreadPoolExecutor(2) as pool:
        outputs, grads = zip(*pool.map(run, norms, (joined.detach()[:2], joined.detach()[2:])), strict=True)
    torch.testing.assert_close(torch.cat(outputs), expected.detach())
    torch.testing.assert_close(torch.cat(grads), joined.grad, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(sum(norm.weight.grad for norm in norms), oracle.weight.grad, rtol=1e-4, atol=1e-3)
    for norm in norms:
        torch.testing.assert_close(norm.running_mean, oracle.running_mean)
        torch.testing.assert_close(norm.running_var, oracle.running_var)


@pytest.mark.parametrize("kind", ["batch", "group", "switchable", "instance", "layer", "sync"])
def test_a_network_without_norms_gets_one_after_every_convolution_and_keeps_its_names(kind, networks):
    network = networks("plain")
    names = set(network.state_dict())
    apply_parts(network, PartsSettings(norm=kind), "plain")
    assert names <= set(network.state_dict())
    assert {name.rpartition(".norm.")[0] for name in set(network.state_dict()) - names} == {"0", "3"}
    seen = []
    network[1].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().clone()))
    network(maps(4, 3, 16, 16))
    assert abs(seen[0].std() - 1) < 0.05


def test_the_convolution_that_yields_the_classes_gets_no_norm():
    with torch.device("meta"):
        network = torchvision.models.squeezenet1_1(weights=None)
    convs = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    replace_norms(network, "group", "squeezenet1_1")
    assert [hasattr(conv, "norm") for conv in convs] == [True] * 25 + [False]


def test_local_response_norm_gives_way_to_another(networks):
    network = networks("alexnet2012")
    apply_parts(network, PartsSettings(norm="group"), "alexnet2012")
    assert not any(isinstance(module, nn.LocalResponseNorm) for module in network.modules())
    assert sum(isinstance(module, nn.GroupNorm) for module in network.modules()) == 5


def test_synchronised_norms_keep_what_batch_norms_had_learned():
    network = torchvision.models.resnet18(weights=None)
    with torch.no_grad():
        network.bn1.running_mean.fill_(0.25)
    replace_norms(network, "sync", "resnet18")
    assert isinstance(network.bn1, SyncBatchNorm2d)
    assert network.bn1.running_mean.eq(0.25).all()


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        pytest.param("vgg11", "frozen", "vgg11 has no batch normalisation", id="nothing to freeze"),
        pytest.param("vgg11", "none", "no effect: vgg11 has no normalisation", id="nothing to take out"),
        pytest.param("convnext_tiny", "group", "it normalises by LayerNorm", id="layer norm of transformers"),
    ],
)
def test_a_norm_that_cannot_be_applied_is_refused_with_the_reason(name, kind, words):
    with torch.device("meta"):
        network = torchvision.models.get_model(name, weights=None)
    with pytest.raises(ConfigError, match=words):
        replace_norms(network, kind, name)
