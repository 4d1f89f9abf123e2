"""The recipe that all sides of `benchmarks.classification` follow, in plain torch and torchvision.

Imports nothing of ours but the network, so that every side trains the very same one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from vision.backbones.classifiers import build_classifier

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIDE = 32
PADDING = 4
EVALUATION_BATCH = 250


@dataclass(frozen=True)
class Recipe:
    """What a side is asked to do."""

    data: str
    model: str
    width: float
    batch_size: int
    epochs: int
    lr: float
    momentum: float
    weight_decay: float

    @property
    def root(self) -> Path:
        """Folder with `train/CLASS` and `test/CLASS`."""
        return Path(self.data)


def build_network(recipe: Recipe) -> nn.Module:
    """Build the network, with the first convolution that suits small images, in the layout that suits the CPU."""
    torch.manual_seed(0)
    network = build_classifier(
        recipe.model, len(list((recipe.root / "train").iterdir())), width=recipe.width, stem="small"
    )
    return network.to(memory_format=torch.channels_last)


def build_loaders(recipe: Recipe) -> tuple[DataLoader[Any], DataLoader[Any]]:
    """Read JPEG files as torchvision's reference scripts do: padded random crop and flip in training, else nothing."""
    to_tensor: list[Callable[..., Any]] = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    crop: list[Callable[..., Any]] = [v2.RandomCrop(SIDE, padding=PADDING), v2.RandomHorizontalFlip()]
    train = ImageFolder(str(recipe.root / "train"), v2.Compose([*crop, *to_tensor]))
    test = ImageFolder(str(recipe.root / "test"), v2.Compose(to_tensor))
    return DataLoader(train, recipe.batch_size, shuffle=True), DataLoader(test, EVALUATION_BATCH)


def build_optimizer(recipe: Recipe, network: nn.Module) -> torch.optim.Optimizer:
    """Plain momentum SGD over all parameters, fused."""
    return torch.optim.SGD(
        network.parameters(), recipe.lr, recipe.momentum, weight_decay=recipe.weight_decay, fused=True
    )


def count_correct(logits: Tensor, labels: Tensor) -> int:
    """Images whose first guess is right."""
    return int((logits.argmax(1) == labels).sum())
