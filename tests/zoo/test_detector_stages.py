"""Detectors by depth: what rests when a backbone is frozen, and what learns at which rate."""

from typing import Any

import pytest
import torch
from torch import nn

from detection.models import build_model
from detection.settings import DetectionSettings
from engine.fine_tuning import Freezer, rate_factors, stages_of
from engine.settings import FineTuneSettings

SLIM = {"name": "resnet18", "width": 0.125}
DETECTORS: list[Any] = [
    pytest.param({"name": "yolo", "size": "pico"}, "backbone.backbone.", 5, id="yolo"),
    pytest.param({"name": "yolo", "size": "pico", "levels": [2, 3, 4, 5]}, "backbone.backbone.", 5, id="yolo P2"),
    pytest.param({"name": "yolox", "size": "nano"}, "backbone.backbone.", 5, id="yolox"),
    pytest.param({"name": "faster_rcnn", "backbone": SLIM, "fpn_channels": 16}, "backbone.body.", 5, id="faster_rcnn"),
    pytest.param(
        {"name": "faster_rcnn", "official": "fasterrcnn_mobilenet_v3_large_320_fpn"}, "backbone.body.", 5, id="official"
    ),
    pytest.param({"name": "retinanet", "backbone": SLIM, "fpn_channels": 16}, "backbone.body.", 5, id="retinanet"),
    pytest.param({"name": "fcos", "backbone": SLIM, "fpn_channels": 64}, "backbone.body.", 5, id="fcos"),
    pytest.param({"name": "ssd", "backbone": SLIM}, "backbone.body.", 5, id="ssd"),
    pytest.param({"name": "ssd"}, ("backbone.features.", "backbone.extra.0."), 5, id="ssd with VGG-16"),
    pytest.param({"name": "ssdlite", "backbone": SLIM}, "backbone.body.", 5, id="ssdlite"),
    pytest.param({"name": "ssdlite"}, "backbone.features.", 5, id="ssdlite with MobileNet"),
    pytest.param(
        {"name": "retinanet", "backbone": {"name": "timm:test_resnet"}, "levels": [3, 4, 5], "fpn_channels": 16},
        "backbone.body.",
        5,
        id="timm",
    ),
]


def build(model: dict[str, Any]) -> nn.Module:
    return build_model(DetectionSettings.model_validate({"model": model, "image_size": [300, 300]}), 3)


@pytest.mark.parametrize(("model", "trunk", "num_stages"), DETECTORS)
def test_stages_run_from_the_trunks_stem_to_neck_and_head(
    model: dict[str, Any], trunk: str | tuple[str, ...], num_stages: int
) -> None:
    detector = build(model)
    names = {id(parameter): name for name, parameter in detector.named_parameters()}
    stages = [[names[id(parameter)] for parameter in stage] for stage in stages_of(detector)]
    assert len(stages) == num_stages + 1
    assert sorted(name for stage in stages for name in stage) == sorted(names.values()), "each is in one stage"
    assert {name for stage in stages[:-1] for name in stage} == {n for n in names.values() if n.startswith(trunk)}


@pytest.mark.parametrize(("model", "trunk", "num_stages"), [case for case in DETECTORS if case.id != "ssd with VGG-16"])
def test_a_frozen_trunk_keeps_weights_and_statistics(
    model: dict[str, Any], trunk: str | tuple[str, ...], num_stages: int
) -> None:
    detector = build(model)
    freezer = Freezer(detector, stages_of(detector), 1)
    freezer.set_epoch(0)
    detector.train()
    freezer.rest()
    before = {name: tensor.clone() for name, tensor in detector.state_dict().items()}
    targets = [{"boxes": torch.tensor([[9.0, 9.0, 150.0, 150.0]]), "labels": torch.tensor([1])}] * 2
    losses = detector(torch.rand(2, 3, 192, 192), targets)
    trained = [parameter for parameter in detector.parameters() if parameter.requires_grad]
    sum(losses.values()).backward()
    torch.optim.SGD(trained, lr=1e-3).step()
    changed = {name for name, tensor in detector.state_dict().items() if not torch.equal(tensor, before[name])}
    assert not [name for name in changed if name.startswith(trunk)]
    assert changed
    freezer.set_epoch(1)
    detector.train()
    assert all(parameter.requires_grad for parameter in detector.parameters())


def test_what_trainable_layers_keeps_fixed_stays_so() -> None:
    backbone = {"name": "timm:test_resnet", "trainable_layers": 2}
    detector = build({"name": "retinanet", "backbone": backbone, "levels": [3, 4, 5], "fpn_channels": 16})
    fixed = {name for name, parameter in detector.named_parameters() if not parameter.requires_grad}
    stages = stages_of(detector)
    assert fixed == {name for name, parameter in detector.named_parameters() if not parameter.requires_grad}
    names = {id(parameter): name for name, parameter in detector.named_parameters()}
    assert {names[id(parameter)] for stage in stages[:3] for parameter in stage} == fixed


def test_rates_fall_from_the_head_to_the_stem() -> None:
    detector = build({"name": "yolo", "size": "pico"})
    factors = rate_factors(stages_of(detector), FineTuneSettings(layer_decay=0.5, backbone_lr=0.1))
    named = dict(detector.named_parameters())
    found = {name: factors[id(parameter)] for name, parameter in named.items()}
    assert found["head.cls_preds.0.weight"] == found["backbone.lateral_conv0.conv.weight"] == 1.0
    assert found["backbone.backbone.dark5.0.conv.weight"] == pytest.approx(0.05)
    assert found["backbone.backbone.stem.conv.weight"] == pytest.approx(0.1 / 32)
