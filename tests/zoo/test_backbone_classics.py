"""Our own networks are their papers': maps, multiplications, branches, order of layers. Oracles: timm, torchvision."""

import pytest
import timm
import torch
from timm.models.resnetv2 import PreActBasic
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models.googlenet import Inception as TorchvisionInception

from foundation.errors import ConfigError
from vision.backbones.auxiliary import WithAuxiliary
from vision.backbones.classics import CLASSICS
from vision.backbones.classics.alexnet import AlexNet2012, response_norm
from vision.backbones.classics.bn_inception import BLOCKS, DEPTH_MULTIPLIER, BNInception
from vision.backbones.classics.googlenet import GoogLeNet2014, Inception
from vision.backbones.classics.lenet import LeNet5
from vision.backbones.classics.preact_resnet import PreActBlock, PreActResNet
from vision.backbones.classics.shufflenet_v1 import ShuffleUnit


@pytest.mark.parametrize(
    ("name", "side", "sides"),
    [
        pytest.param("alexnet2012", 227, [55, 27, 27, 13, 13, 13, 13, 6], id="figure 2"),
        pytest.param("zfnet", 224, [110, 55, 26, 13, 13, 13, 13, 6], id="figure 3"),
        pytest.param("lenet5", 32, [28, 14, 10, 5], id="C1 S2 C3 S4"),
    ],
)
def test_the_maps_shrink_as_in_the_paper(name, side, sides):
    with torch.device("meta"):
        network = CLASSICS[name]()
        seen = []
        for module in network.features:
            if isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
                module.register_forward_hook(lambda _, __, output: seen.append(output.shape[-1]))
        network(torch.zeros(1, 3, side, side))
    assert seen == sides


@pytest.mark.parametrize(
    ("name", "side", "millions"),
    [
        # AlexNet and LeNet counted by hand layer by layer; the others from the papers, which round.
        pytest.param("alexnet2012", 227, 724.406816, id="105.4 + 224.0 + 149.5 + 112.1 + 74.8 + 58.6"),
        pytest.param("lenet5", 32, 0.41652, id="117600 + 240000 + 48000 + 10080 + 840"),
        pytest.param("mobilenet_v1", 224, 569, id="MobileNet, table 4"),
        pytest.param("shufflenet_v1_g1", 224, 143, id="ShuffleNet, table 1, 1 group"),
        pytest.param("shufflenet_v1_g2", 224, 140, id="2 groups"),
        pytest.param("shufflenet_v1_g3", 224, 137, id="3 groups"),
        pytest.param("shufflenet_v1_g4", 224, 133, id="4 groups"),
        pytest.param("shufflenet_v1_g8", 224, 137, id="8 groups"),
    ],
)
def test_the_multiplications_are_those_of_the_paper(name, side, millions):
    with torch.device("meta"):
        network = CLASSICS[name](num_classes=10 if name == "lenet5" else 1000).eval()
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network(torch.zeros(1, 3, side, side))
    assert counter.get_total_flops() / 2e6 == pytest.approx(millions, rel=0.012)


def test_response_norm_is_the_papers_formula():
    torch.manual_seed(0)
    maps = torch.rand(2, 7, 3, 3) * 20
    expected = torch.empty_like(maps)
    for channel in range(7):
        near = maps[:, max(0, channel - 2) : channel + 3]
        expected[:, channel] = maps[:, channel] / (2 + 1e-4 * (near**2).sum(dim=1)) ** 0.75
    torch.testing.assert_close(response_norm()(maps), expected)


def test_alexnets_second_convolution_is_two_half_networks():
    torch.manual_seed(0)
    convolution = AlexNet2012(num_classes=2, image_size=(67, 67)).features[4]
    maps = torch.rand(1, 96, 5, 5)
    halves = [
        functional.conv2d(part, weight, bias, padding=2)
        for part, weight, bias in zip(
            maps.chunk(2, dim=1), convolution.weight.chunk(2), convolution.bias.chunk(2), strict=True
        )
    ]
    torch.testing.assert_close(convolution(maps), torch.cat(halves, dim=1))


def test_alexnets_start_values_keep_the_signal_alive():
    torch.manual_seed(0)
    network = AlexNet2012(num_classes=10, image_size=(67, 67)).eval()
    with torch.no_grad():
        logits = network(torch.randn(4, 3, 67, 67))
    assert 0.1 < logits.std().item() < 10


def test_alexnet_made_for_other_images_reads_any_size():
    network = AlexNet2012(num_classes=2, image_size=(67, 99)).eval()
    assert network.classifier[1].in_features == 256 * 1 * 2
    with torch.no_grad():
        assert network(torch.rand(1, 3, 131, 163)).shape == (1, 2)


def test_lenet_reads_grey_digits_in_the_middle_of_a_margin():
    torch.manual_seed(0)
    network = LeNet5().eval()
    digit = torch.rand(1, 1, 28, 28)
    padded = functional.pad(digit, (2, 2, 2, 2))
    with torch.no_grad():
        torch.testing.assert_close(network(digit), network(padded))
        torch.testing.assert_close(network(digit.expand(-1, 3, -1, -1)), network(digit))
    with pytest.raises(ConfigError, match="at most 32x32, not 33x20"):
        network(torch.rand(1, 3, 33, 20))


def test_an_inception_block_is_torchvisions_with_a_5x5_and_without_norms():
    def plain(channels, out_channels, **options):
        return nn.Sequential(nn.Conv2d(channels, out_channels, **options), nn.ReLU())

    torch.manual_seed(0)
    theirs = TorchvisionInception(8, 3, 4, 5, 2, 6, 7, conv_block=plain)
    theirs.branch3[1] = plain(2, 6, kernel_size=5, padding=2)  # the paper's; torchvision has 3x3
    theirs.branch4[0].ceil_mode = False
    ours = Inception(8, 3, 4, 5, 2, 6, 7)
    ours.load_state_dict(theirs.state_dict())
    maps = torch.rand(2, 8, 6, 6)
    torch.testing.assert_close(ours(maps), theirs(maps))


def test_googlenet_returns_its_auxiliary_logits_in_training_only():
    network = GoogLeNet2014(num_classes=3)
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        output = network.train()(images)
        assert isinstance(output, WithAuxiliary)
        assert [tuple(logits.shape) for logits in (output.logits, *output.auxiliary)] == [(2, 3)] * 3
        assert network.eval()(images).shape == (2, 3)
    assert network.AUXILIARY_WEIGHT == 0.3


def test_bn_inception_has_the_size_of_the_slim_implementation():
    # Its own count of the network without the last layer: norms have no scale there, their statistics count, and the
    # separable first convolution has a bias in place of a norm.
    network = BNInception(num_classes=2)
    weights = sum(module.weight.numel() for module in network.modules() if isinstance(module, nn.Conv2d))
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert weights + 3 * sum(norm.num_features for norm in norms[1:]) + 64 == 10_173_112


def test_bn_inception_differs_from_the_caffe_model_where_said():
    # That one projects to 128 channels in 4c and 4d, has biases, and a plain first convolution: 11,295,240.
    wider = {name: row._replace(projection=128) if name in ("4c", "4d") else row for name, row in BLOCKS.items()}
    network = BNInception(blocks=wider)
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    separable = 3 * DEPTH_MULTIPLIER * 49 + 3 * DEPTH_MULTIPLIER * 64
    biases = sum(module.out_channels for module in convolutions[1:])
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count - separable + 3 * 49 * 64 + biases == 11_295_240


def test_bn_inceptions_maps_are_those_of_figure_5():
    with torch.device("meta"):
        network = BNInception()
        shapes = {}
        for name in BLOCKS:
            module = network.get_submodule(f"inception{name}")
            module.register_forward_hook(
                lambda _, __, output, name=name: shapes.update({name: tuple(output.shape[1:])})
            )
        network(torch.zeros(1, 3, 224, 224))
    assert shapes == {
        "3a": (256, 28, 28),
        "3b": (320, 28, 28),
        "3c": (576, 14, 14),
        **dict.fromkeys(("4a", "4b", "4c", "4d"), (576, 14, 14)),
        "4e": (1024, 7, 7),
        "5a": (1024, 7, 7),
        "5b": (1024, 7, 7),
    }


def test_a_shuffle_lets_each_group_see_all_the_others():
    torch.manual_seed(0)
    unit = ShuffleUnit(72, 72, groups=3, stride=1, is_first_grouped=True).eval()
    maps = torch.rand(1, 72, 3, 3, requires_grad=True)
    unit(maps)[:, 48:].sum().backward()  # the last group's output
    assert bool((maps.grad.abs().sum(dim=(0, 2, 3)) > 0).all())


def test_a_shuffle_unit_of_stride_2_keeps_its_input_beside_the_branch():
    unit = ShuffleUnit(24, 240, groups=3, stride=2, is_first_grouped=False).eval()
    maps = torch.rand(1, 24, 6, 6)
    with torch.no_grad():
        output = unit(maps)
    assert output.shape == (1, 240, 3, 3)
    torch.testing.assert_close(output[:, :24], functional.avg_pool2d(maps, 3, 2, padding=1))


@pytest.mark.parametrize("is_bottleneck", [False, True])
def test_with_a_zero_branch_a_preactivation_unit_hands_its_input_on(is_bottleneck):
    unit = PreActBlock(16, 16, 1, is_bottleneck=is_bottleneck)
    nn.init.zeros_(unit.convs[-1].weight)
    maps = torch.randn(2, 16, 4, 4)
    torch.testing.assert_close(unit(maps), maps)


def test_norm_and_relu_come_before_each_convolution():
    unit = PreActBlock(8, 16, 2, is_bottleneck=True)
    order = []
    for module in unit.modules():
        if isinstance(module, nn.BatchNorm2d | nn.ReLU | nn.Conv2d) and module is not unit.shortcut:
            module.register_forward_hook(lambda module, *_: order.append(type(module).__name__))
    unit(torch.rand(2, 8, 4, 4))
    assert order == ["BatchNorm2d", "ReLU", "Conv2d"] * 3


@pytest.mark.parametrize(("units", "name"), [((2, 2, 2, 2), "resnetv2_18"), ((3, 4, 6, 3), "resnetv2_50")])
def test_the_preactivation_resnet_is_timms_with_another_stem(units, name):
    torch.manual_seed(0)
    theirs = timm.create_model(name, num_classes=3).eval()
    theirs.stem = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    ours = PreActResNet(units, is_bottleneck=name == "resnetv2_50", num_classes=3).eval()
    copied = {"conv1.weight": theirs.stem.weight}
    for stage_index, stage in enumerate(theirs.stages):
        for index, block in enumerate(stage.blocks):
            target = f"layer{stage_index + 1}.{index}"
            for part in range(2 if isinstance(block, PreActBasic) else 3):
                copied[f"{target}.convs.{part}.weight"] = block.get_submodule(f"conv{part + 1}").weight
            if block.downsample is not None and hasattr(block.downsample, "conv"):
                copied[f"{target}.shortcut.weight"] = block.downsample.conv.weight
    copied |= {"fc.weight": theirs.head.fc.weight.flatten(1), "fc.bias": theirs.head.fc.bias}
    missing = ours.load_state_dict(copied, strict=False).missing_keys
    # timm puts a shortcut convolution into the very first bottleneck as we do; norms are fresh in both.
    assert all("norm" in key for key in missing)
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images), rtol=1e-4, atol=1e-4)


def test_mobilenet_v1_has_the_plain_relu_of_its_paper():
    with torch.device("meta"):
        network = CLASSICS["mobilenet_v1"]()
    assert not any(isinstance(module, nn.ReLU6) for module in network.modules())
    assert any(isinstance(module, nn.ReLU) for module in network.modules())
