"""Every detector on torchvision's parts: losses, gradients, detections, labels, and the official detectors' outputs."""

import copy
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torchvision
from pydantic import ValidationError
from torch import Tensor, nn
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from detection.models import build_model
from detection.models.torchvision_parts import COCO_ROWS
from detection.settings import DetectionSettings
from foundation.errors import ConfigError, WeightsError
from vision.layers.apply import apply_parts
from vision.layers.settings import PartsSettings

NARROW = {"name": "resnet18", "width": 0.125}
LITE_RCNN = {
    "name": "faster_rcnn",
    "backbone": NARROW,
    "fpn_channels": 32,
    "levels": [3, 4, 5],
    "anchor_sizes": [16, 32, 64],
    "rois_per_image": 16,
    "proposals_train": 50,
    "proposals_test": 50,
    "roi_pool": 3,
    "head_channels": 32,
}
SMALL_MODELS: dict[str, dict[str, Any]] = {
    "faster_rcnn": LITE_RCNN,
    "retinanet": {
        "name": "retinanet",
        "backbone": {**NARROW, "norm": "group"},
        "fpn_channels": 32,
        "levels": [3, 4, 5],
        "head_convs": 1,
    },
    "fcos": {"name": "fcos", "backbone": NARROW, "fpn_channels": 64, "levels": [3, 4, 5, 6], "head_convs": 1},
    "ssd": {"name": "ssd", "backbone": NARROW},
    "ssdlite": {"name": "ssdlite", "backbone": NARROW},
}
NUM_CLASSES = 3
SIZE = 64


def settings(model: dict[str, Any], **others: Any) -> DetectionSettings:
    return DetectionSettings.model_validate({"model": model, "image_size": [SIZE, SIZE], **others})


def build(name: str, **others: Any) -> nn.Module:
    torch.manual_seed(0)
    return build_model(settings(SMALL_MODELS[name], **others), NUM_CLASSES)


class TinyLinear(nn.Linear):
    """Stands in for nn.Linear, without its size."""

    def __init__(self, *_: int) -> None:
        super().__init__(1, 1)


@pytest.fixture(autouse=True)
def _vgg_without_classifier(monkeypatch: pytest.MonkeyPatch) -> None:
    """SSD throws VGG-16's classifier away, whose 120 M parameters take seconds to initialise."""
    monkeypatch.setattr(torchvision.models.vgg, "nn", SimpleNamespace(**{**vars(nn), "Linear": TinyLinear}))


def two_images() -> tuple[Tensor, list[dict[str, Tensor]]]:
    """Two grey images, each with a bright and a dark rectangle of its own class."""
    images = torch.full((2, 3, SIZE, SIZE), 0.5)
    boxes = [torch.tensor([[8.0, 8, 32, 32], [36, 30, 60, 58]]), torch.tensor([[20.0, 10, 48, 40]])]
    labels = [torch.tensor([0, 2]), torch.tensor([2])]
    for image, own_boxes, own_labels in zip(images, boxes, labels, strict=True):
        for (x1, y1, x2, y2), label in zip(own_boxes.int().tolist(), own_labels.tolist(), strict=True):
            image[:, y1:y2, x1:x2] = label / 2
    return images, [{"boxes": b, "labels": n} for b, n in zip(boxes, labels, strict=True)]


def no_targets(count: int) -> list[dict[str, Tensor]]:
    return [{"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)} for _ in range(count)]


@pytest.fixture(params=SMALL_MODELS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def test_losses_are_finite_and_reach_every_parameter(name):
    model = build(name)
    losses = model(*two_images())
    assert all(key.startswith("loss_") and value.isfinite() for key, value in losses.items())
    sum(losses.values()).backward()
    assert [key for key, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


@pytest.mark.parametrize("num_empty", [1, 2])
def test_images_without_objects_give_finite_losses_and_gradients(name, num_empty):
    model = build(name)
    images, targets = two_images()
    losses = model(images, no_targets(num_empty) + targets[num_empty:])
    sum(losses.values()).backward()
    gradients = [p.grad for p in model.parameters() if p.requires_grad]
    assert all(grad is not None and grad.isfinite().all() for grad in gradients)


def test_a_box_without_area_is_left_out(name):
    model = build(name)
    images, targets = two_images()
    targets[0]["boxes"][0, 2] = targets[0]["boxes"][0, 0]
    assert all(value.isfinite() for value in model(images, targets).values())


def test_one_batch_is_learned_with_its_labels(name):
    """After a few steps the best detection on each image is one of its objects: labels are shifted there and back."""
    model = build(name, score_threshold=0.0)
    images, targets = two_images()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, fused=True)
    totals = []
    for _ in range(30):
        loss = sum(model(images, targets).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        totals.append(loss.item())
    assert totals[-1] < 0.5 * totals[0]
    with torch.no_grad():
        detections = model.eval()(images)
    for detection, target in zip(detections, targets, strict=True):
        best = int(detection["scores"].argmax())
        assert detection["labels"][best] in target["labels"]
        iou = torchvision.ops.box_iou(detection["boxes"][best : best + 1], target["boxes"])
        assert iou[0, target["labels"] == detection["labels"][best]].max() > 0.4


@pytest.mark.parametrize("image_size", [(96, 64), (72, 88)])
def test_detections_lie_in_the_input_and_obey_the_limits(name, image_size):
    model = build(name, score_threshold=0.0, max_detections=7).eval()
    with torch.no_grad():
        detections = model(torch.rand(2, 3, *image_size), None)
    for detection in detections:
        boxes, scores, labels = detection["boxes"], detection["scores"], detection["labels"]
        assert 0 < len(boxes) <= 7
        assert boxes.shape == (len(scores), 4) == (len(labels), 4)
        assert boxes.min() >= 0
        assert boxes[:, 2].max() <= image_size[1]
        assert boxes[:, 3].max() <= image_size[0]
        assert set(labels.tolist()) <= set(range(NUM_CLASSES))


def test_no_detection_above_a_high_threshold_is_an_empty_answer(name):
    with torch.no_grad():
        detection = build(name, score_threshold=1.0).eval()(torch.rand(1, 3, SIZE, SIZE))[0]
    assert detection["boxes"].shape == (0, 4)
    assert detection["scores"].shape == detection["labels"].shape == (0,)


def test_bfloat16_autocast_keeps_losses_and_boxes_in_float32(name):
    model = build(name, score_threshold=0.0)
    images, targets = two_images()
    exact = model(images, targets)
    with torch.autocast("cpu", torch.bfloat16):
        losses = model(images.bfloat16(), targets)
        detections = model.eval()(images.bfloat16())
    assert all(value.dtype == torch.float32 for value in losses.values())
    assert all(detection["boxes"].dtype == torch.float32 for detection in detections)
    assert losses["loss_cls"].item() == pytest.approx(exact["loss_cls"].item(), rel=0.2)


def test_a_copy_gives_the_same_detections(name):
    """The EMA deep-copies the model."""
    model = build(name, score_threshold=0.0).eval()
    images = torch.rand(1, 3, SIZE, SIZE)
    with torch.no_grad():
        assert torch.equal(model(images)[0]["boxes"], copy.deepcopy(model)(images)[0]["boxes"])


def test_batch_norm_from_scratch_is_trainable(name):
    model = build(name)
    assert not any(isinstance(module, torchvision.ops.FrozenBatchNorm2d) for module in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_training_without_targets_is_refused(name):
    with pytest.raises(ValueError, match="needs targets"):
        build(name)(torch.rand(1, 3, SIZE, SIZE))


# The official detectors

CONSTRUCTORS: dict[str, tuple[dict[str, Any], str, int]] = {
    # Name: settings, torchvision's constructor, outputs of the official head that ours has not.
    "faster_rcnn": ({"name": "faster_rcnn", "backbone": {"name": "resnet50"}}, "fasterrcnn_resnet50_fpn", 0),
    "faster_rcnn mobilenet": (
        {"name": "faster_rcnn", "official": "fasterrcnn_mobilenet_v3_large_320_fpn"},
        "fasterrcnn_mobilenet_v3_large_320_fpn",
        0,
    ),
    "faster_rcnn v2": (
        {"name": "faster_rcnn", "official": "fasterrcnn_resnet50_fpn_v2"},
        "fasterrcnn_resnet50_fpn_v2",
        0,
    ),
    "retinanet": ({"name": "retinanet", "backbone": {"name": "resnet50"}}, "retinanet_resnet50_fpn", 1),
    "fcos": ({"name": "fcos", "backbone": {"name": "resnet50"}}, "fcos_resnet50_fpn", 1),
    "ssd": ({"name": "ssd"}, "ssd300_vgg16", 0),
    "ssdlite": ({"name": "ssdlite"}, "ssdlite320_mobilenet_v3_large", 0),
}


def official(constructor: str, num_outputs: int) -> nn.Module:
    return torchvision.models.get_model(constructor, weights=None, weights_backbone=None, num_classes=num_outputs)


@pytest.mark.parametrize("key", CONSTRUCTORS)
def test_names_and_shapes_are_the_official_ones(key):
    model, constructor, num_surplus = CONSTRUCTORS[key]
    with torch.device("meta"):
        theirs = official(constructor, NUM_CLASSES + 1).state_dict()
        ours = build_model(settings(model, image_size=[300, 300]), NUM_CLASSES + num_surplus).state_dict()
    assert {n: t.shape for n, t in ours.items()} == {n: t.shape for n, t in theirs.items()}


@pytest.mark.parametrize(
    ("key", "size"), [("faster_rcnn", 64), ("retinanet", 64), ("fcos", 64), ("ssd", 300), ("ssdlite", 96)]
)
def test_official_weights_give_the_official_detections(tmp_path, key, size):
    model, constructor, _ = CONSTRUCTORS[key]
    torch.manual_seed(0)
    theirs = official(constructor, NUM_CLASSES + 1).eval()
    _spread_scores(theirs)
    _without_resizing(theirs, size)
    torch.save({"model": theirs.state_dict()}, tmp_path / "official.pth")
    ours = build_model(
        settings(
            {**model, "weights": f"file:{tmp_path / 'official.pth'}"},
            image_size=[size, size],
        ),
        NUM_CLASSES,
    ).eval()
    if key == "ssd":
        theirs.backbone = ours.backbone = FixedMaps()
    image = torch.rand(3, size, size)
    score_threshold = 0.9 if key == "ssd" else 0.3
    with torch.no_grad():
        expected = _with_same_limits(theirs, score_threshold)([image])[0]
        found = _with_same_limits(ours, score_threshold)(image[None])[0]
    is_real = expected["labels"] >= 1  # torchvision's sigmoid heads also answer for background
    assert len(found["labels"]) == is_real.sum() > 5
    expected = {key: value[is_real] for key, value in expected.items()}
    torch.testing.assert_close(
        _sorted_rows(found["boxes"], found["scores"], found["labels"]),
        _sorted_rows(expected["boxes"], expected["scores"], expected["labels"] - 1),
        rtol=1e-4,
        atol=1e-3,
    )


def _sorted_rows(boxes: Tensor, scores: Tensor, labels: Tensor) -> Tensor:
    """(N, 6) in an order that near ties of the scores do not change."""
    rows = torch.cat((boxes, scores[:, None], labels[:, None].float()), dim=1)
    key = labels * 1000 + boxes.double() @ torch.tensor([7.0, 5.0, 3.0, 2.0]).double() + scores.double() * 1e-3
    return rows[key.argsort()]


class FixedMaps(nn.Module):
    """Stands in for VGG-16, which takes seconds: SSD300's six maps, in proportion to the normalised image's mean."""

    def __init__(self) -> None:
        super().__init__()
        sizes = {512: [38], 1024: [19], -512: [10], 256: [5, 3, 1]}
        self.maps = [torch.randn(1, abs(c), side, side) for c, sides in sizes.items() for side in sides]

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {str(index): maps * images.mean() / 10 for index, maps in enumerate(self.maps)}


def _spread_scores(model: nn.Module) -> None:
    """Make an untrained detector answer with boxes of many scores and every class."""
    for name, parameter in model.named_parameters():
        if "cls_" in name or "classification_head" in name or "bbox_" in name:
            parameter.data += torch.randn_like(parameter) * (0.3 if name.endswith("bias") else 0.02)
        if name.endswith("cls_logits.bias") and "rpn" not in name:
            parameter.data.fill_(-1.0)


def _without_resizing(model: nn.Module, size: int) -> None:
    stock = model.transform
    model.transform = GeneralizedRCNNTransform(
        size, size, stock.image_mean, stock.image_std, size_divisible=stock.size_divisible
    )


def _with_same_limits(model: nn.Module, score_threshold: float) -> nn.Module:
    """Limits under which neither background answers, which ours has not, nor rounding push others out."""
    head = getattr(model, "roi_heads", model)
    head.score_thresh, head.nms_thresh = score_threshold, 1.0
    head.detections_per_img = head.topk_candidates = 10_000
    return model


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    return tmp_path / "hub" / "checkpoints"


def test_the_coco_head_is_kept_for_cocos_80_classes_and_made_anew_for_others(hub, caplog):
    url = torchvision.models.get_model_weights("ssdlite320_mobilenet_v3_large")["COCO_V1"].url
    torch.manual_seed(0)
    state = official("ssdlite320_mobilenet_v3_large", 91).state_dict()
    torch.save(state, hub / Path(url).name)
    model = {"name": "ssdlite", "weights": "torchvision:COCO_V1"}
    weight = "head.classification_head.module_list.0.1.weight"  # 6 default boxes x 91 outputs

    kept = build_model(settings(model), 80).state_dict()[weight]
    rows = [0, *COCO_ROWS]
    assert torch.equal(kept.reshape(6, 81, -1), state[weight].reshape(6, 91, -1)[:, rows])

    with caplog.at_level(logging.INFO, logger="engine.weights"):
        other = build_model(settings(model), 3)
    assert "made anew" in caplog.text
    assert torch.equal(other.state_dict()["backbone.extra.0.0.0.weight"], state["backbone.extra.0.0.0.weight"])


def test_old_names_of_the_proposal_head_still_load(tmp_path):
    """torchvision's published Faster R-CNN files carry the names of an older release."""
    model = build("faster_rcnn")
    state = {name.replace("rpn.head.conv.0.0.", "rpn.head.conv."): t for name, t in model.state_dict().items()}
    assert "rpn.head.conv.weight" in state
    torch.save(state, tmp_path / "old.pth")
    again = build_model(settings({**LITE_RCNN, "weights": f"file:{tmp_path / 'old.pth'}"}), NUM_CLASSES)
    assert torch.equal(again.state_dict()["rpn.head.conv.0.0.weight"], state["rpn.head.conv.weight"])


@pytest.mark.parametrize(
    ("model", "others", "words"),
    [
        pytest.param({**LITE_RCNN, "weights": "torchvision:COCO_V1"}, {}, "no detector with these", id="own width"),
        pytest.param({**LITE_RCNN, "levels": [3, 5]}, {}, "consecutive", id="levels with a gap"),
        pytest.param({**LITE_RCNN, "levels": []}, {}, "consecutive", id="no levels"),
        pytest.param({**LITE_RCNN, "levels": [0, 1, 2]}, {}, "between 1 and", id="level 0"),
        pytest.param({**LITE_RCNN, "anchor_sizes": [16]}, {}, "1 sizes for 3 levels", id="too few anchor sizes"),
        pytest.param({**SMALL_MODELS["fcos"], "fpn_channels": 40}, {}, "must be 64", id="fcos group norm"),
        pytest.param({"name": "ssd"}, {"image_size": [128, 128]}, "too small", id="VGG at 128 px"),
        pytest.param({"name": "ssd"}, {"test_time": {"scales": [1.0, 0.4]}}, "test_time", id="VGG at 128 px in a pass"),
        pytest.param(
            {"name": "faster_rcnn", "official": "fasterrcnn_resnet50_fpn_v2", "backbone": {"name": "resnet34"}},
            {},
            "has its own backbone",
            id="official with another backbone",
        ),
        pytest.param(
            {"name": "ssd", "backbone": {"name": "resnet18", "weights": "timm:a1_in1k"}},
            {},
            "timm's networks only",
            id="timm weights for torchvision",
        ),
    ],
)
def test_settings_that_cannot_work_are_refused(model, others, words):
    with pytest.raises(ConfigError, match=words):
        build_model(settings(model, **others), NUM_CLASSES)


def test_weights_of_another_width_are_refused_with_both_shapes(tmp_path):
    torch.save(build("faster_rcnn").state_dict(), tmp_path / "narrow.pth")
    wide = {**LITE_RCNN, "backbone": {**NARROW, "width": 0.25}, "weights": f"file:{tmp_path / 'narrow.pth'}"}
    with pytest.raises(WeightsError, match=r"is \(8, 3, 7, 7\) in the weights and \(16, 3, 7, 7\) in the model"):
        build_model(settings(wide), NUM_CLASSES)


def test_a_classifiers_weights_start_the_backbone(tmp_path):
    classifier = torchvision.models.resnet18(weights=None)
    torch.save(classifier.state_dict(), tmp_path / "classifier.pth")
    backbone = {"name": "resnet18", "weights": f"file:{tmp_path / 'classifier.pth'}", "norm": "frozen"}
    model = build_model(settings({**LITE_RCNN, "backbone": {**backbone, "trainable_layers": 3}}), NUM_CLASSES)
    body = model.backbone.body
    assert torch.equal(body.layer4[0].conv1.weight, classifier.layer4[0].conv1.weight)
    frozen = {name.split(".")[0] for name, parameter in body.named_parameters() if not parameter.requires_grad}
    assert frozen == {"conv1", "layer1"}


@pytest.mark.parametrize("norm", ["switchable", "group", "weight"])
def test_a_classifier_with_the_same_parts_starts_the_backbone_with_them(norm, tmp_path):
    classifier = torchvision.models.resnet18(weights=None)
    apply_parts(classifier, PartsSettings(norm=norm), "resnet18")
    state = {f"network.{name}": torch.rand_like(tensor) for name, tensor in classifier.state_dict().items()}
    torch.save(state, tmp_path / "classifier.pth")
    backbone = {"name": "resnet18", "weights": f"file:{tmp_path / 'classifier.pth'}", "norm": norm}
    body = build_model(settings({**LITE_RCNN, "backbone": backbone}), NUM_CLASSES).backbone.body
    ours = body.state_dict()
    assert all(torch.equal(tensor, state[f"network.{name}"]) for name, tensor in ours.items())
    assert len(ours) == len(state) - (3 if norm == "weight" else 2)  # all but the classifier's own head


@pytest.mark.parametrize("owner", ["model", "backbone"])
def test_initial_weights_that_others_would_replace_are_refused(owner):
    model = {**LITE_RCNN, "backbone": {**NARROW, "init": "kaiming"}}
    (model if owner == "model" else model["backbone"])["weights"] = "file:any.pth"
    with pytest.raises(ValidationError, match="init has no effect together with weights"):
        settings(model)


def test_norm_batch_leaves_the_norms_that_a_backbone_has():
    model = {**LITE_RCNN, "backbone": {"name": "convnext_tiny", "norm": "batch"}}
    with torch.device("meta"):
        body = build_model(settings(model), NUM_CLASSES).backbone.body
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in body.modules())
