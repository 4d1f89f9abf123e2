"""One name builds any classifier, with a stem that suits the image; heads come off and stages are in order."""

import copy
import re

import pytest
import timm
import torch
import torchvision
from torch import nn

from foundation.errors import ConfigError
from vision.backbones import build_backbone
from vision.backbones.auxiliary import WithAuxiliary
from vision.backbones.classifiers import build_classifier
from vision.backbones.heads import NoHead, replace_head, split_head
from vision.backbones.small_stem import use_small_stem
from vision.backbones.stages import stages
from vision.backbones.zoo import list_backbones

SMALL = (32, 32)


def last_map(network: nn.Module, image_size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) of the last map with more than one cell, or of the last map there is."""
    sizes: list[tuple[int, int]] = []
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda _, __, output: sizes.append(tuple(output.shape[2:])))
    with torch.no_grad():
        network.eval()(torch.zeros(1, 3, *image_size))
    return next(size for size in reversed(sizes) if size != (1, 1))


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        pytest.param("resnet18", 4, id="ResNet"),
        pytest.param("timm:resnet18d", 4, id="three convolutions in the stem"),
        pytest.param("seresnet18", 4, id="SE-ResNet"),
        pytest.param("preact_resnet18", 4, id="PreAct"),
        pytest.param("resnetv2_18", 4, id="PreAct of timm"),
        pytest.param("densenet121", 4, id="DenseNet"),
        pytest.param("dpn68", 4, id="DPN"),
        pytest.param("mobilenet_v1", 4, id="MobileNet v1"),
        pytest.param("mobilenet_v2", 4, id="MobileNet v2"),
        pytest.param("mobilenet_v3_small", 4, id="MobileNet v3"),
        pytest.param("efficientnet_b0", 4, id="EfficientNet"),
        pytest.param("regnet_x_400mf", 4, id="RegNet"),
        pytest.param("convnext_tiny", 4, id="ConvNeXt"),
        pytest.param("shufflenet_v1_g3", 4, id="ShuffleNet v1"),
        pytest.param("shufflenet_v2_x0_5", 4, id="ShuffleNet v2"),
        pytest.param("googlenet2014", 4, id="GoogLeNet"),
        pytest.param("googlenet", 4, id="GoogLeNet of torchvision"),
        pytest.param("bn_inception", 4, id="BN-Inception"),
        pytest.param("squeezenet1_1", 7, id="SqueezeNet, stride 4 without margins"),
        pytest.param("alexnet2012", 7, id="AlexNet before its last pool"),
        pytest.param("zfnet", 7, id="ZFNet before its last pool"),
        pytest.param("vgg11", 2, id="VGG before its last pool"),
    ],
)
def test_a_small_stem_leaves_cells_to_average(name, cells):
    network = build_classifier(name, 5, image_size=SMALL)
    assert last_map(network, SMALL) == (cells, cells)


@pytest.mark.parametrize(
    "name", ["vit_b_16", "swin_t", "timm:vit_tiny_patch16_224", "timm:swin_tiny_patch4_window7_224"]
)
def test_transformers_get_smaller_patches(name):
    with torch.device("meta"):
        network = build_classifier(name, 5, image_size=SMALL)
    patches = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    assert patches.kernel_size == ((2, 2) if "swin" in name else (4, 4))


def test_each_family_has_a_small_stem_where_it_is_listed():
    for row in {row["family"]: row for row in reversed(list_backbones()[:-1])}.values():
        with torch.device("cpu" if row["family"] == "RegNet" else "meta"):  # RegNet's builder computes with tensors
            network = build_classifier(row["name"], 2, stem="standard")
        assert use_small_stem(network, SMALL) is row["small_stem"], row["name"]


def test_the_stem_of_a_small_resnet_is_one_convolution_of_3x3():
    network = build_classifier("resnet18", 10, image_size=(48, 64))
    assert network.conv1.kernel_size == (3, 3)
    assert network.conv1.stride == (1, 1)
    assert isinstance(network.maxpool, nn.Identity)
    assert network.layer2[0].conv1.stride == (2, 2)


@pytest.mark.parametrize(
    ("options", "kernel"),
    [
        pytest.param({}, 7, id="no size known"),
        pytest.param({"image_size": (96, 96)}, 7, id="96 px are not small"),
        pytest.param({"image_size": (95, 200)}, 3, id="the shorter side counts"),
        pytest.param({"image_size": (32, 32), "stem": "standard"}, 7, id="asked for"),
        pytest.param({"image_size": (224, 224), "stem": "small"}, 3, id="asked for on a large image"),
    ],
)
def test_auto_takes_the_small_stem_below_96_px(options, kernel):
    with torch.device("meta"):
        assert build_classifier("resnet18", 10, **options).conv1.kernel_size == (kernel, kernel)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "swin_t"])
def test_a_standard_network_is_the_libraries_own(name):
    torch.manual_seed(0)
    theirs = torchvision.models.get_model(name, weights=None, num_classes=3).eval()
    torch.manual_seed(0)
    ours = build_classifier(name, 3, image_size=(224, 224)).eval()
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(ours(images), theirs(images))


def test_inception_v3_of_torchvision_is_timms_with_its_weights():
    torch.manual_seed(0)
    ours = build_classifier("inception_v3", 3).eval()
    theirs = timm.create_model("inception_v3", num_classes=3).eval()
    theirs.load_state_dict({key: value for key, value in ours.state_dict().items() if "AuxLogits" not in key})
    images = torch.rand(1, 3, 75, 75)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images))


def test_width_scales_a_resnet_as_it_scales_a_trunk():
    network = build_classifier("resnet18", 10, width=0.25)
    assert network.fc.in_features == 128
    trunk = build_backbone("resnet18", levels=(2, 3, 4, 5), width=0.25)
    trunk.load_state_dict({key: value for key, value in network.state_dict().items() if not key.startswith("fc.")})


@pytest.mark.parametrize(
    ("name", "levels", "channels"),
    [
        pytest.param("bn_inception", (2, 3, 4, 5), (192, 320, 576, 1024), id="BN-Inception"),
        pytest.param("googlenet2014", (2, 3, 4, 5), (192, 480, 832, 1024), id="GoogLeNet as published"),
        pytest.param("googlenet", (2, 3, 4, 5), (192, 480, 832, 1024), id="GoogLeNet of torchvision"),
        pytest.param("shufflenet_v1_g3", (2, 3, 4, 5), (24, 240, 480, 960), id="ShuffleNet v1"),
        pytest.param("mobilenet_v1", (2, 3, 4, 5), (128, 256, 512, 1024), id="MobileNet v1"),
        pytest.param("preact_resnet18", (2, 3), (256, 512), id="PreAct: strides 1 to 8"),
        pytest.param("dpn68", (2, 3, 4, 5), (144, 320, 704, 832), id="timm without its prefix"),
    ],
)
def test_own_networks_are_backbones_of_detectors(name, levels, channels):
    trunk = build_backbone(name, levels=(2, 3, 4, 5))
    assert (trunk.levels, trunk.channels) == (levels, channels)
    with torch.no_grad():
        maps = trunk(torch.rand(2, 3, 64, 96))
    assert [tuple(part.shape[2:]) for part in maps.values()] == [(64 >> level, 96 >> level) for level in levels]


@pytest.mark.parametrize(
    "name", [row["name"] for row in list_backbones() if isinstance(row["pyramid"], str) and row["name"] != "maxvit_t"]
)
def test_a_network_without_a_pyramid_is_refused_as_a_backbone(name):
    with torch.device("meta"), pytest.raises(ConfigError, match=r"pyramid|no feature map"):
        build_backbone(name, levels=(2, 3, 4, 5))


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        pytest.param("resnet81", {}, "nearest torchvision models: .*resnet18", id="misspelt"),
        pytest.param("alexnet2021", {}, "nearest of our own: .*alexnet2012", id="misspelt own"),
        pytest.param("timm:resnet81d", {}, "nearest timm models: .*resnet18d", id="misspelt timm"),
        pytest.param("inception_v3", {"image_size": SMALL}, "needs 75 px at least", id="too small, least size said"),
        pytest.param("alexnet", {"image_size": SMALL, "stem": "standard"}, "needs 63 px at least", id="standard stem"),
        pytest.param("inception_v3", {"stem": "small"}, "no stem for small images", id="no small stem"),
        pytest.param("lenet5", {"image_size": (64, 64)}, "at most 32x32, not 64x64", id="too large"),
        pytest.param(
            "maxvit_t", {"image_size": (100, 100)}, "maxvit_t cannot be built for images of 100x100", id="windows"
        ),
        pytest.param("vit_b_16", {"image_size": (224, 192)}, "square images only", id="not square"),
        pytest.param("vit_b_16", {"image_size": (230, 230)}, "cannot be built for images of 230x230", id="patches"),
        pytest.param("vit_b_16", {"image_size": (30, 30)}, "patches of 4x4, and 30x30 is", id="small patches"),
        pytest.param("mobilenet_v2", {"width": 0.5}, "ResNets only, not mobilenet_v2", id="width"),
        pytest.param("zfnet", {"width": 0.5}, "ResNets only, not zfnet", id="width of ours"),
        pytest.param("timm:resnet18", {"width": 0.5}, "ResNets only", id="width of timm"),
        pytest.param("resnet18", {"stem": "tiny"}, "unknown stem 'tiny'", id="stem"),
    ],
)
def test_what_cannot_be_built_is_refused_with_the_reason(name, options, words):
    with torch.device("meta"), pytest.raises(ConfigError, match=re.compile(words, re.DOTALL)):
        build_classifier(name, 10, **options)


HEADS = {
    # Name: size of the embedding.
    "resnet18": 512,
    "vgg11": 512,  # 4096 with the standard stem
    "squeezenet1_1": 512,
    "mobilenet_v3_small": 1024,
    "densenet121": 1024,
    "shufflenet_v1_g3": 960,
    "lenet5": 84,
    "timm:resnet18": 512,
    "timm:convnext_atto": 320,
    "dpn68": 832,
    "resnetv2_18": 512,
    "timm:deit_tiny_distilled_patch16_224": 192,
}


@pytest.mark.parametrize("name", HEADS)
def test_a_head_comes_off_and_another_goes_on(name):
    torch.manual_seed(0)
    network = build_classifier(name, 7, image_size=SMALL).eval()
    images = torch.rand(2, 3, *SMALL)
    body, size = split_head(copy.deepcopy(network))
    assert size == HEADS[name]
    assert stages(body)[-1] == []
    with torch.no_grad():
        embeddings = body.eval()(images)
        assert embeddings.shape == (2, size)
        assert replace_head(body, 3).eval()(images).shape == (2, 3)
        assert replace_head(network, 3).eval()(images).shape == (2, 3)
    assert not any(isinstance(module, NoHead) for module in body.modules())


def test_the_embedding_is_what_the_last_layer_read():
    torch.manual_seed(0)
    network = build_classifier("resnet18", 4, width=0.25, image_size=SMALL).eval()
    head = copy.deepcopy(network.fc)
    images = torch.rand(2, 3, *SMALL)
    with torch.no_grad():
        logits = network(images)
        torch.testing.assert_close(head(split_head(network)[0](images)), logits)


@pytest.mark.parametrize("name", ["googlenet", "googlenet2014", "inception_v3"])
def test_auxiliary_classifiers_change_with_the_head_and_go_with_it(name):
    network = build_classifier(name, 7).train()
    images = torch.rand(2, 3, 75, 75)
    with torch.no_grad():
        output = replace_head(network, 3)(images)
        assert isinstance(output, WithAuxiliary)
        assert {tuple(part.shape) for part in (output.logits, *output.auxiliary)} == {(2, 3)}
        assert split_head(network)[0](images).shape == (2, network.fc.num_features)
    assert not [key for key in network.state_dict() if key.startswith(("aux", "Aux"))]


@pytest.mark.parametrize(
    ("name", "firsts"),
    [
        pytest.param("resnet18", ["conv1", "layer1.0", "layer2.0", "layer3.0", "layer4.0", "fc"], id="ResNet"),
        pytest.param(
            "vgg11",
            [*(f"features.{index}" for index in (0, 3, 6, 11, 16)), "classifier.0", "classifier.6"],
            id="VGG: one per resolution, the hidden full layers, the head",
        ),
        pytest.param(
            "densenet121",
            ["features.conv0", "features.denseblock1", *(f"features.transition{i}" for i in (1, 2, 3)), "classifier"],
            id="DenseNet",
        ),
        pytest.param(
            "mobilenet_v2",
            [*(f"features.{index}" for index in (0, 2, 4, 7, 14)), "classifier.1"],
            id="MobileNet: where the stride is",
        ),
        pytest.param(
            "vit_b_16",
            ["class_token", *(f"encoder.layers.encoder_layer_{index}" for index in range(12)), "heads"],
            id="ViT: block by block",
        ),
        pytest.param(
            "timm:resnet18", ["conv1", "layer1.0", "layer2.0", "layer3.0", "layer4.0", "fc"], id="timm's own groups"
        ),
    ],
)
def test_stages_go_from_the_stem_to_the_head(name, firsts):
    with torch.device("meta"):
        network = build_classifier(name, 5)
    name_of = {id(parameter): key for key, parameter in network.named_parameters()}
    found = [name_of[id(group[0])] for group in stages(network)]
    assert len(found) == len(firsts)
    for key, first in zip(found, firsts, strict=True):
        assert key == first or key.startswith(f"{first}.")
