"""Every classifier of the zoo is built once, runs forward and backward, and has its published number of parameters."""

import json
from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn

from vision.backbones.auxiliary import WithAuxiliary
from vision.backbones.classifiers import build_classifier
from vision.backbones.heads import auxiliary_names, replace_head, split_head
from vision.backbones.plain import timm_name_of
from vision.backbones.stages import stages
from vision.backbones.zoo import list_backbones

ROWS = {row["name"]: row for row in list_backbones() if row["name"] != "timm:NAME"}
NUM_CLASSES = 3
SMALLEST = {
    "lenet5": 32,
    "alexnet2012": 67,
    "zfnet": 70,
    "inception_v3": 75,
    "inception_v4": 75,
    "inception_resnet_v2": 75,
    "maxvit_t": 224,
}
"""Sides of the images that are tried, where 64 px are too few, too many or not possible. Transformers that are built
for one size are built for it."""


@pytest.fixture(autouse=True)
def cheap_start_values(monkeypatch):
    """Fill weights with a constant: drawing four thousand million numbers would take longer than all the rest."""
    for draw in ("normal_", "uniform_"):
        monkeypatch.setattr(torch.Tensor, draw, lambda tensor, *_, **__: tensor.fill_(0.01))


@pytest.mark.parametrize("name", ROWS)
def test_each_network_learns_and_has_its_published_size(name):
    row = ROWS[name]
    side = SMALLEST.get(name, 64)
    network = build_classifier(name, row["num_classes"], stem="standard", image_size=size_to_build(name, side))
    if size_to_build(name, side) is None:
        assert count(network) == row["parameters"]
    auxiliary = [network.get_submodule(part) for part in auxiliary_names(network)]
    assert (
        sum(parameter.numel() for part in auxiliary for parameter in part.parameters()) == row["auxiliary_parameters"]
    )

    replace_head(network, NUM_CLASSES)
    images = torch.linspace(0, 1, 2 * 3 * side * side).reshape(2, 3, side, side)
    output = network.train()(images)
    outputs = [output.logits, *output.auxiliary] if isinstance(output, WithAuxiliary) else [output]
    assert [tuple(logits.shape) for logits in outputs] == [(2, NUM_CLASSES)] * (1 + len(auxiliary))
    sum(logits.sum() for logits in outputs).backward()
    assert [key for key, parameter in network.named_parameters() if parameter.grad is None] == []

    assert_a_partition(network)
    network, size = split_head(network)
    with torch.no_grad():
        assert network.eval()(images).shape == (2, size)


def size_to_build(name: str, side: int) -> tuple[int, int] | None:
    """Only transformers are built for the image; for others the published size of the first full layer counts."""
    return (side, side) if name.startswith("vit_") else None


def count(network: nn.Module) -> int:
    """Parameters that evaluation uses."""
    total = sum(parameter.numel() for parameter in network.parameters())
    parts = [network.get_submodule(name) for name in auxiliary_names(network)]
    return total - sum(parameter.numel() for part in parts for parameter in part.parameters())


def assert_a_partition(network: nn.Module) -> None:
    """Every parameter is in one stage, and no stage but the head may be empty."""
    groups = stages(network)
    assert sorted(id(p) for group in groups for p in group) == sorted(id(p) for p in network.parameters())
    assert len(groups) >= 4
    assert all(groups)


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row["source"] == "torchvision"])
def test_the_table_agrees_with_torchvisions_own(name):
    published = next(iter(torchvision.models.get_model_weights(name))).meta
    row = ROWS[name]
    # torchvision counts the auxiliary classifiers of Inception v3, but not those of GoogLeNet.
    extra = row["auxiliary_parameters"] if name == "inception_v3" else 0
    assert row["parameters"] + extra == published["num_params"]


def test_vision_transformers_built_for_224_have_their_published_size():
    for name in ("vit_b_16", "vit_b_32"):
        with torch.device("meta"):
            assert count(build_classifier(name, 1000)) == ROWS[name]["parameters"]


def test_the_list_is_json_and_tells_everything():
    rows = json.loads(json.dumps(list_backbones()))
    assert rows[-1]["name"] == "timm:NAME"
    assert len({row["name"] for row in rows}) == len(rows)
    assert all((row["papers"] and row["pyramid"] in (True, None)) or isinstance(row["pyramid"], str) for row in rows)
    assert "torchvision:IMAGENET1K_V2" in ROWS["resnet50"]["weights"]
    assert ROWS["senet154"]["weights"] == ["timm:gluon_in1k"]
    assert ROWS["zfnet"]["weights"] == []


@pytest.mark.parametrize(
    "asked",
    [
        *("lenet5", "alexnet2012", "alexnet", "zfnet", "googlenet", "googlenet2014", "bn_inception", "inception_v3"),
        *("inception_v4", "inception_resnet_v2", "resnet152", "preact_resnet18", "resnetv2_50", "resnext50_32x4d"),
        *("wide_resnet50_2", "densenet121", "seresnet50", "seresnext50_32x4d", "senet154", "squeezenet1_0"),
        *("mobilenet_v1", "mobilenet_v2", "mobilenet_v3_large", "shufflenet_v1_g3", "shufflenet_v2_x1_0", "dpn68"),
        *("efficientnet_b0", "convnext_tiny", "vit_b_16", "swin_t", "vgg11", "vgg19_bn"),
    ],
)
def test_what_was_asked_for_is_listed(asked):
    row = ROWS[asked]
    assert (row["source"] == "timm") == (timm_name_of(asked) is not None)


def test_the_documentation_lists_the_same_networks_and_numbers():
    text = (Path(__file__).parents[2] / "docs" / "backbones.md").read_text(encoding="utf-8")
    lines = {line.split("`")[1]: line.split(" | ") for line in text.splitlines() if line.startswith("| `")}
    for name, row in ROWS.items():
        _, _, _, parameters, side, pyramid, small_stem, *_ = lines[name]
        assert parameters.split(" + ")[0] == f"{row['parameters']:,}"
        assert [int(side)] * 2 == row["input_size"]
        assert (pyramid == "yes", small_stem == "yes") == (row["pyramid"] is True, row["small_stem"])
