"""The finer pyramid level of `yolo`."""

import pytest
import torch
from pydantic import ValidationError

from detection.models import build_model
from detection.models.yolo_layers import anchor_points
from detection.settings import DetectionSettings

FINE = (2, 3, 4, 5)


def build(levels):
    torch.manual_seed(0)
    model = {"name": "yolo", "size": "pico", "levels": list(levels)}
    return build_model(DetectionSettings.model_validate({"model": model}), 3)


def test_four_levels_have_four_times_the_points_of_stride_8_more():
    cells, strides = anchor_points([torch.Size((16, 24)), *(torch.Size((8 >> i, 12 >> i)) for i in range(3))], "cpu")
    assert [int((strides == stride).sum()) for stride in (4, 8, 16, 32)] == [384, 96, 24, 6]
    assert ((cells + 0.5) * strides)[0].tolist() == [2, 2]


def test_the_finer_level_sees_the_image_at_stride_4():
    detector = build(FINE).eval()
    with torch.no_grad():
        maps = detector.head(detector.backbone(torch.rand(1, 3, 64, 96)))
    assert [tuple(level.shape[-2:]) for level in maps] == [(16, 24), (8, 12), (4, 6), (2, 3)]


def test_losses_and_gradients_reach_every_parameter():
    detector = build(FINE)
    targets = [{"boxes": torch.tensor([[8.0, 8, 14, 15], [20, 20, 60, 60]]), "labels": torch.tensor([0, 2])}]
    sum(detector(torch.rand(1, 3, 64, 64), targets).values()).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in detector.parameters())


def test_the_usual_levels_have_the_usual_parameters():
    names = set(build((3, 4, 5)).state_dict())
    more = set(build(FINE).state_dict()) - names
    assert not any("C3_p2" in name for name in names)
    assert {name.split(".")[1] for name in more if name.startswith("backbone.")} == {
        "reduce_conv2",
        "C3_p2",
        "bu_conv3",
        "C3_n2",
    }


@pytest.mark.parametrize("levels", [[4, 5], [3, 4, 5, 6], [5, 4, 3], []])
def test_other_levels_are_refused(levels):
    with pytest.raises(ValidationError, match=r"\[3, 4, 5\] or \[2, 3, 4, 5\]"):
        DetectionSettings.model_validate({"model": {"name": "yolo", "levels": levels}})
