"""Views of an image: which they are, and that one of them is the plain answer."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.transforms import v2

from classification.models import build_model
from classification.settings import ClassificationSettings, ViewSettings
from classification.test_time import check_views, predict_views, views
from foundation.errors import ConfigError

IMAGES = torch.rand(2, 3, 12, 16, generator=torch.Generator().manual_seed(0))
SIZE = (8, 10)


def settings(**keys: Any) -> ViewSettings:
    return ViewSettings.model_validate(keys)


def test_one_crop_one_scale_is_the_image_itself() -> None:
    (view,) = views(IMAGES, settings(), SIZE)
    assert view is IMAGES


@pytest.mark.parametrize(("crops", "reference"), [("five", v2.FiveCrop(SIZE)), ("ten", v2.TenCrop(SIZE))])
def test_crops_are_those_of_torchvision(crops: str, reference: nn.Module) -> None:
    ours = torch.stack(list(views(IMAGES, settings(crops=crops), SIZE)))
    theirs = torch.stack(reference(IMAGES))
    assert sorted(view.sum().item() for view in ours) == sorted(view.sum().item() for view in theirs)
    assert ours.shape == theirs.shape


def test_scales_and_mirror_images_multiply() -> None:
    found = list(views(IMAGES, settings(scales=[1.0, 1.5], flip=True), SIZE))
    assert [tuple(view.shape[-2:]) for view in found] == [(12, 16), (12, 16), (18, 24), (18, 24)]
    assert torch.equal(found[1], IMAGES.flip(-1))


def test_the_mean_of_the_probabilities_counts() -> None:
    class LeftPixel(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images[:, :, 0, 0]

    answer = predict_views(LeftPixel(), IMAGES, settings(flip=True), SIZE)
    assert torch.allclose(answer, (IMAGES[:, :, 0, 0] + IMAGES[:, :, 0, -1]) / 2)


@pytest.mark.parametrize("name", ["timm:vit_tiny_patch16_224", "lenet5"])
def test_a_network_for_one_size_refuses_scales_before_training(name: str) -> None:
    given = ClassificationSettings.model_validate(
        {"model": {"name": name}, "image_size": [32, 32], "test_time": {"scales": [1.0, 2.0]}}
    )
    with pytest.raises(ConfigError, match="does not accept images of another size"):
        check_views(build_model(given, 2), given)
