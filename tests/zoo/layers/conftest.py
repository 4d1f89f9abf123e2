"""Small networks of every source, with five classes."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from vision.backbones.classifiers import build_classifier


def plain() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(64, 32),
        nn.ReLU(),
        nn.Linear(32, 5),
    )


@pytest.fixture
def networks() -> Callable[[str], nn.Module]:
    def build(name: str) -> nn.Module:
        torch.manual_seed(0)
        if name == "plain":
            return plain()
        if name == "vgg11":  # its stem for small images has full layers of 512 instead of 4096
            return build_classifier(name, 5, stem="small", image_size=(64, 64))
        return build_classifier(name, 5, stem="standard")

    return build
