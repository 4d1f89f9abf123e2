"""Losses for unequal classes inside the detectors: by hand, against loops, and that each head listens to them."""

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from detection import class_losses
from detection.class_losses import BoxHeadLoss, ClassCounts, DenseClassLoss, FocalForm, use_class_counts
from detection.data import DetectionDataset
from detection.loss_settings import SIGMOID_MODELS, CrossEntropySettings, EqlSettings, FocalSettings, SeesawSettings
from detection.models import build_model
from detection.settings import DetectionSettings
from engine.bundle import Manifest, load_bundle, save_bundle
from engine.ema import WeightAverage
from engine.task import BoxedDataset
from foundation.errors import ConfigError
from tests.fakes import make_record
from vision.record import Dataset

COUNTS = ClassCounts(objects=np.array([60, 30, 10]), images=np.array([20, 10, 1]), num_images=20)
NARROW: dict[str, Any] = {"backbone": {"name": "resnet18", "width": 0.125}, "levels": [3, 4, 5]}
DENSE = NARROW | {"fpn_channels": 64, "head_convs": 1}
LITE_RCNN = {"name": "faster_rcnn", "fpn_channels": 16, "anchor_sizes": [16, 32, 64], "roi_pool": 3}
FEW = {"rois_per_image": 16, "proposals_train": 50, "proposals_test": 50, "head_channels": 32}
MODELS: dict[str, dict[str, Any]] = {
    "yolo": {"name": "yolo", "size": "pico"},
    "yolox": {"name": "yolox", "size": "nano"},
    "retinanet": DENSE | {"name": "retinanet"},
    "fcos": DENSE | {"name": "fcos"},
    "faster_rcnn": NARROW | LITE_RCNN | FEW,
}
OWN = {"retinanet": {"name": "focal"}, "fcos": {"name": "focal"}}
"""What null stands for; else cross-entropy."""


def points() -> tuple[Tensor, Tensor, Tensor]:
    """Twelve points of three classes, some of them background; targets of 0, 1 and in between."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(-1, 3, (12,), generator=generator)
    targets = torch.zeros(12, 3)
    for row, label in enumerate(labels.tolist()):
        if label >= 0:
            targets[row, label] = 0.5 + row / 24
    return 2 * torch.randn(12, 3, generator=generator), targets, labels


def build(name: str, loss: dict[str, Any] | None) -> nn.Module:
    torch.manual_seed(0)
    return build_model(DetectionSettings.model_validate({"model": MODELS[name], "loss": loss}), 3)


def train_losses(model: nn.Module) -> dict[str, Tensor]:
    """Losses of two images with objects of classes 0 and 2; the same proposals every time."""
    torch.manual_seed(1)
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    boxes = [torch.tensor([[8.0, 8, 32, 32], [36, 30, 60, 58]]), torch.tensor([[20.0, 10, 48, 40]])]
    labels = [torch.tensor([0, 2]), torch.tensor([2])]
    return model.train()(images, [{"boxes": b, "labels": n} for b, n in zip(boxes, labels, strict=True)])


def test_weights_of_a_dense_head_count_for_all_that_is_said_at_an_objects_points() -> None:
    logits, targets, labels = points()
    loss = DenseClassLoss(CrossEntropySettings(name="cross_entropy", class_weights="balanced"), FocalForm())
    loss.use_counts(COUNTS)
    # 1 / 60, 1 / 30, 1 / 10, scaled so that the mean over the 100 objects is 1: by 100 / 3.
    weights = [100 / 180, 100 / 90, 100 / 30]
    expected = 0.0
    for row, label in enumerate(labels.tolist()):
        for column in range(3):
            p, y = logits[row, column].double().sigmoid().item(), targets[row, column].item()
            weight = weights[label] if label >= 0 else 1.0
            expected -= weight * (y * np.log(p) + (1 - y) * np.log(1 - p))
    assert loss(logits, targets, labels).item() == pytest.approx(expected, rel=1e-5)


def test_eql_leaves_rare_classes_alone_where_another_ones_object_is() -> None:
    logits, targets, labels = points()
    loss = DenseClassLoss(EqlSettings(name="eql", threshold=0.1), FocalForm())
    loss.use_counts(COUNTS)  # class 2 is in 5 % of the images
    elementwise = binary_cross_entropy_with_logits(logits, targets, reduction="none")
    left_out = elementwise[(labels == 0) | (labels == 1), 2].sum()
    assert loss(logits, targets, labels).item() == pytest.approx((elementwise.sum() - left_out).item(), rel=1e-5)


def test_weights_of_a_box_head_leave_the_background_at_one() -> None:
    logits, labels = torch.randn(9, 4, generator=torch.Generator().manual_seed(0)), torch.arange(9) % 4
    loss = BoxHeadLoss(CrossEntropySettings(name="cross_entropy", class_weights=(1.0, 2.0, 4.0)), 3)
    loss.use_counts(COUNTS)
    scale = 100 / (60 * 1 + 30 * 2 + 10 * 4)
    weights = torch.tensor([1.0, 1.0 * scale, 2.0 * scale, 4.0 * scale])
    expected = (cross_entropy(logits, labels, reduction="none") * weights[labels]).mean()
    torch.testing.assert_close(loss(logits, labels), expected)


def test_seesaw_counts_objects_before_their_use_and_leaves_the_background_alone() -> None:
    loss = BoxHeadLoss(SeesawSettings(name="seesaw", p=0.5, q=0.0), 2)
    # Background, and 16 objects of the first class to 1 of the second: (1 / 16) ** 0.5 = 1/4 of class 2's push.
    labels = torch.tensor([0] * 3 + [1] * 16 + [2])
    value = loss(torch.zeros(20, 3), labels)
    assert loss.accumulated_counts.tolist() == [16, 1]
    frequent, rest = np.log(1 + 1 + 0.25), np.log(3)
    assert value.item() == pytest.approx((16 * frequent + 4 * rest) / 20, rel=1e-6)
    loss.eval()(torch.zeros(20, 3), labels)
    assert loss.accumulated_counts.tolist() == [16, 1], "only training counts"


def test_seesaw_counts_the_objects_of_all_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(class_losses, "sum_over_ranks", lambda counts: counts + torch.tensor([7, 1, 2]))
    loss = BoxHeadLoss(SeesawSettings(name="seesaw"), 2)
    loss(torch.zeros(3, 3), torch.tensor([0, 1, 1]))
    assert loss.accumulated_counts.tolist() == [3, 2]


def test_no_proposals_cost_nothing() -> None:
    loss = BoxHeadLoss(SeesawSettings(name="seesaw"), 2)
    assert loss(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64)).item() == 0
    dense = DenseClassLoss(FocalSettings(name="focal"), FocalForm())
    assert dense(torch.zeros(0, 3), torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64)).item() == 0


@pytest.mark.parametrize("name", MODELS)
def test_null_is_the_loss_that_the_docs_name(name: str) -> None:
    own, named = train_losses(build(name, None)), train_losses(build(name, OWN.get(name, {"name": "cross_entropy"})))
    for key, value in own.items():
        torch.testing.assert_close(named[key], value)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    "loss",
    [
        pytest.param({"name": "cross_entropy", "class_weights": "balanced"}, id="balanced"),
        pytest.param({"name": "cross_entropy", "class_weights": [1.0, 0.0, 5.0]}, id="list"),
        pytest.param({"name": "focal", "gamma": 1.0, "alpha": None, "class_weights": "effective_number"}, id="focal"),
        pytest.param({"name": "eql", "threshold": 0.1}, id="eql"),
        pytest.param({"name": "seesaw"}, id="seesaw"),
    ],
)
def test_a_loss_changes_the_class_term_alone_or_is_refused(name: str, loss: dict[str, Any]) -> None:
    fitting = ("cross_entropy", "focal", "eql") if name in SIGMOID_MODELS else ("cross_entropy", "seesaw")
    if loss["name"] not in fitting:
        with pytest.raises(ValidationError, match=f"`loss: {loss['name']}` does not fit {name}"):
            build(name, loss)
        return
    model = build(name, loss)
    use_class_counts(model, COUNTS)
    own, other = train_losses(build(name, None)), train_losses(model)
    assert {key for key in own if not own[key].equal(other[key])} == {"loss_cls"}
    other["loss_cls"].backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("name", ["ssd", "ssdlite"])
def test_heads_that_mine_negatives_take_no_loss(name: str) -> None:
    with pytest.raises(ValidationError, match=f"`loss` has no effect on {name}"):
        DetectionSettings.model_validate({"model": {"name": name}, "loss": {"name": "focal"}})


@pytest.mark.parametrize("name", SIGMOID_MODELS)
def test_weights_of_a_sigmoid_head_bear_the_same_names_under_any_loss(name: str) -> None:
    model = build(name, {"name": "eql", "threshold": 0.1})
    use_class_counts(model, COUNTS)
    assert list(model.state_dict()) == list(build(name, None).state_dict())


def test_seesaw_counts_are_in_bundles_and_averages_but_start_anew_from_weights(tmp_path: Any) -> None:
    model = build("faster_rcnn", {"name": "seesaw"})
    average = WeightAverage(model, 0.9)
    train_losses(model)
    counts = model.roi_heads.class_loss.accumulated_counts.clone()
    assert counts.sum() > 0
    assert counts[1] == 0, "no object is of class 1"
    average.update(model)
    assert average.model.roi_heads.class_loss.accumulated_counts.equal(counts)
    save_bundle(tmp_path, model.state_dict(), Manifest("detection", {}, ("a", "b", "c"), {}))
    assert load_bundle(tmp_path)[1]["roi_heads.class_loss.accumulated_counts"].equal(counts)
    for loss in ({"name": "seesaw"}, None):
        settings = {"model": MODELS["faster_rcnn"] | {"weights": f"file:{tmp_path}"}, "loss": loss}
        again = build_model(DetectionSettings.model_validate(settings), 3)
        assert again.backbone.body.state_dict().keys() == model.backbone.body.state_dict().keys()
        torch.testing.assert_close(
            again.roi_heads.box_predictor.cls_score.weight, model.roi_heads.box_predictor.cls_score.weight
        )
        if loss is not None:
            assert again.roi_heads.class_loss.accumulated_counts.tolist() == [0, 0, 0]


def test_a_loss_that_goes_by_counts_cannot_do_without() -> None:
    with pytest.raises(RuntimeError, match="objects per class"):
        train_losses(build("yolo", {"name": "eql", "threshold": 0.1}))


@pytest.mark.parametrize(
    ("loss", "counts", "words"),
    [
        pytest.param(
            EqlSettings(name="eql"), COUNTS, "no class is in less than `threshold` 0.00176", id="no class is rare"
        ),
        pytest.param(
            CrossEntropySettings(name="cross_entropy", class_weights=(1.0, 2.0)),
            COUNTS,
            "2 weights for 3 classes",
            id="weights for other classes",
        ),
        pytest.param(
            FocalSettings(name="focal", class_weights="balanced"),
            ClassCounts(np.array([4]), np.array([2]), 2),
            "has one only",
            id="one class has nothing to be weighed against",
        ),
    ],
)
def test_a_loss_without_effect_on_the_data_is_an_error(loss: Any, counts: ClassCounts, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        DenseClassLoss(loss, FocalForm()).use_counts(counts)


def test_counts_of_a_split_leave_crowds_out() -> None:
    box = [0, 0, 20, 20]
    records = (
        make_record(0, [box, box, box], [0, 0, 2], iscrowd=[False, False, True]),
        make_record(1, [box, box], [0, 1]),
        make_record(2, [], []),
    )
    settings = DetectionSettings.model_validate({"image_size": [64, 64]})
    counts = DetectionDataset(Dataset(("a", "b", "c"), records), settings, train=True, seed=0, epochs=1).class_counts()
    assert (counts.objects.tolist(), counts.images.tolist(), counts.num_images) == ([3, 1, 0], [2, 1, 0], 3)


def test_small_objects_are_those_that_are_small_as_the_model_sees_them() -> None:
    # 100 x 100 images at 50 x 50: a side of 20 becomes 10. The order of the records does not matter.
    records = (
        make_record(1, [[0, 0, 20, 20]], [0]),
        make_record(0, [[0, 0, 22, 22], [0, 0, 90, 90]], [0, 1]),
        make_record(2, [], []),
        make_record(3, [[0, 0, 4, 4]], [0], iscrowd=[True]),
    )
    settings = DetectionSettings.model_validate({"image_size": [50, 50]})
    dataset = DetectionDataset(Dataset(("a", "b"), records), settings, train=True, seed=0, epochs=1)
    assert isinstance(dataset, BoxedDataset)
    assert dataset.has_small_objects(100.0).tolist() == [False, True, False, False]
    assert dataset.has_small_objects(121.0).tolist() == [True, True, False, False]
