"""Trunks: every family of classifiers yields its pyramid; names, norms, freezing and weights behave as said."""

import copy

import pytest
import timm
import torch
import torchvision
from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from foundation.errors import ConfigError, WeightsError
from vision.backbones import build_backbone
from vision.layers.norms import group_norm
from vision.layers.settings import PartsSettings

FAMILIES = {
    # Name: channels of levels 2 to 5.
    "resnet18": (64, 128, 256, 512),
    "resnext50_32x4d": (256, 512, 1024, 2048),
    "regnet_x_400mf": (32, 64, 160, 400),
    "mobilenet_v2": (24, 32, 96, 1280),
    "mobilenet_v3_small": (16, 24, 48, 576),
    "efficientnet_b0": (24, 40, 112, 1280),
    "convnext_tiny": (96, 192, 384, 768),
    "densenet121": (256, 512, 1024, 1024),
    "shufflenet_v2_x0_5": (24, 48, 96, 1024),
    "mnasnet0_5": (16, 24, 48, 1280),
    "swin_t": (96, 192, 384, 768),
    "timm:resnet18": (64, 128, 256, 512),
    "timm:mobilenetv3_small_050": (8, 16, 24, 288),
    "timm:convnext_atto": (40, 80, 160, 320),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_each_level_has_its_stride_and_channels(name):
    trunk = build_backbone(name, levels=(2, 3, 4, 5))
    with torch.no_grad():
        maps = trunk(torch.rand(2, 3, 64, 96))
    assert trunk.levels == (2, 3, 4, 5)
    assert trunk.channels == FAMILIES[name]
    assert {key: tuple(value.shape) for key, value in maps.items()} == {
        str(level): (2, channels, 64 >> level, 96 >> level)
        for level, channels in zip(trunk.levels, trunk.channels, strict=True)
    }


def test_only_what_the_wanted_levels_need_is_kept():
    trunk = build_backbone("resnet18", levels=(3, 4))
    names = set(dict(trunk.named_children()))
    assert "layer3" in names
    assert not names & {"layer4", "fc", "avgpool"}


def test_levels_deeper_than_the_last_are_left_to_the_caller():
    with torch.device("meta"):
        assert build_backbone("mobilenet_v3_small", levels=(4, 5, 6, 7)).levels == (4, 5)
        assert build_backbone("timm:resnet18", levels=(4, 5, 6, 7)).levels == (4, 5)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small"])
def test_the_maps_are_those_of_the_classifier(name):
    torch.manual_seed(0)
    classifier = torchvision.models.get_model(name, weights=None).eval()
    trunk = build_backbone(name, levels=(3, 5), load=lambda model: load_common(model, classifier)).eval()
    last = "layer4" if name == "resnet18" else "features"
    seen = []
    classifier.get_submodule(last).register_forward_hook(lambda _, __, output: seen.append(output))
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        classifier(images)
        torch.testing.assert_close(trunk(images)["5"], seen[0])


def load_common(model: nn.Module, source: nn.Module) -> None:
    """Load the part of a classifier that a trunk keeps."""
    assert model.load_state_dict(source.state_dict(), strict=False).missing_keys == []


@pytest.mark.parametrize(("width", "channels"), [(0.5, (32, 64, 128, 256)), (0.125, (8, 16, 32, 64))])
def test_width_scales_a_resnet(width, channels):
    with torch.device("meta"):
        assert build_backbone("resnet18", levels=(2, 3, 4, 5), width=width).channels == channels
        assert build_backbone("resnet50", levels=(5,), width=width).channels == (4 * channels[-1],)


def test_a_half_as_wide_resnet18_has_a_quarter_of_the_parameters():
    count = sum(p.numel() for p in build_backbone("resnet18", levels=(3, 4, 5), width=0.5).parameters())
    assert count == 2_798_880  # counted by hand: 4,768 + 37,120 + 131,712 + 525,568 + 2,099,712


@pytest.mark.parametrize("name", ["resnet18", "timm:mobilenetv3_small_050"])
def test_frozen_norms_compute_the_same_and_have_no_parameters(name):
    torch.manual_seed(0)
    batch = build_backbone(name, levels=(3, 5)).eval()
    torch.manual_seed(0)
    frozen = build_backbone(name, levels=(3, 5), parts=PartsSettings(norm="frozen")).train()
    assert any(isinstance(module, FrozenBatchNorm2d) for module in frozen.modules())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in frozen.modules())
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(frozen(images)["5"], batch(images)["5"])


@pytest.mark.parametrize("name", ["resnet18", "timm:mobilenetv3_small_050"])
def test_group_norm_makes_an_image_independent_of_its_batch(name):
    trunk = build_backbone(name, levels=(5,), parts=PartsSettings(norm="group"))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in trunk.modules())
    images = torch.rand(2, 3, 64, 64)
    trunk.train()
    for module in trunk.modules():
        if isinstance(module, nn.Dropout):
            module.eval()
    with torch.no_grad():
        torch.testing.assert_close(trunk(images)["5"][:1], trunk(images[:1])["5"], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("channels", "groups"), [(64, 32), (48, 16), (24, 8), (7, 1)])
def test_groups_divide_the_channels(channels, groups):
    assert group_norm(channels).num_groups == groups


@pytest.mark.parametrize(
    ("name", "trainable_layers", "frozen"),
    [
        ("resnet18", 5, set()),
        ("resnet18", 4, {"conv1", "bn1"}),
        ("resnet18", 3, {"conv1", "bn1", "layer1"}),
        ("resnet18", 0, {"conv1", "bn1", "layer1", "layer2", "layer3", "layer4"}),
        ("timm:resnet18", 3, {"conv1", "bn1", "layer1"}),
        ("timm:resnet18", 0, {"conv1", "bn1", "layer1", "layer2", "layer3", "layer4"}),
    ],
)
def test_the_first_stages_are_frozen_as_in_torchvision(name, trainable_layers, frozen):
    trunk = build_backbone(name, levels=(3, 4, 5), trainable_layers=trainable_layers)
    names = {key.removeprefix("network.") for key, p in trunk.named_parameters() if not p.requires_grad}
    assert {key.split(".")[0] for key in names} == frozen


def test_a_copy_computes_the_same():
    trunk = build_backbone("resnet18", levels=(3, 4), width=0.25).eval()
    images = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(copy.deepcopy(trunk)(images)["4"], trunk(images)["4"])


def test_a_timm_classifiers_weights_reach_the_trunk():
    torch.manual_seed(1)
    classifier = timm.create_model("convnext_atto", pretrained=False)
    trunk = build_backbone(
        "timm:convnext_atto", levels=(4, 5), load=lambda model: model.load_state_dict(classifier.state_dict())
    )
    theirs = classifier.stages[3].blocks[0].conv_dw.weight
    assert any(torch.equal(theirs, parameter) for parameter in trunk.parameters() if parameter.shape == theirs.shape)


def test_timm_weights_that_cannot_be_had_are_named(monkeypatch):
    def offline(*_args, **_kwargs):
        raise OSError("cannot find the requested files")

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", offline)
    with pytest.raises(WeightsError, match=r"resnet18\.a1_in1k cannot be had from .*timm/resnet18\.a1_in1k.*file:PATH"):
        build_backbone("timm:resnet18", levels=(3,), timm_tag="a1_in1k")
    with pytest.raises(WeightsError, match=r"resnet18\.nope .*Check the tag"):
        build_backbone("timm:resnet18", levels=(3,), timm_tag="nope")


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        pytest.param("resnet81", {}, "nearest torchvision models: .*resnet18", id="misspelt"),
        pytest.param("timm:resnet81d", {}, "nearest timm models: .*resnet18d", id="misspelt timm"),
        pytest.param("vit_b_16", {}, "made for", id="ViT of torchvision"),
        pytest.param("timm:vit_tiny_patch16_224", {}, "all its feature maps have stride 16", id="ViT of timm"),
        pytest.param("alexnet", {}, "no feature map of level 3", id="odd strides"),
        pytest.param("swin_t", {"levels": (1, 2)}, r"level 1; its levels are: 2 \(stride 4\)", id="no level 1"),
        pytest.param("timm:convnext_atto", {"levels": (1, 2)}, "level 1; its strides are 4, 8", id="timm: no level 1"),
        pytest.param("mobilenet_v2", {"width": 0.5}, "ResNets only", id="width of a MobileNet"),
        pytest.param("timm:resnet18", {"width": 0.5}, "ResNets only", id="width of timm"),
        pytest.param(
            "convnext_tiny", {"parts": PartsSettings(norm="group")}, "no batch normalisation", id="norm of a ConvNeXt"
        ),
    ],
)
def test_what_yields_no_pyramid_is_refused_with_the_reason(name, options, words):
    with torch.device("meta"), pytest.raises(ConfigError, match=words):
        build_backbone(name, **{"levels": (3, 4), **options})
