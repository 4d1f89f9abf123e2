"""BN-Inception (Inception v2): batch normalisation everywhere, and two 3x3 convolutions in place of a 5x5."""

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn


class Block(NamedTuple):
    """A row of the paper's figure 5; numbers are output channels."""

    one: int
    """The 1x1 branch; 0 in blocks of stride 2, which have none."""
    reduce3: int
    three: int
    reduce_double: int
    double: int
    """Of both 3x3 convolutions of the long branch."""
    pool: Literal["average", "max"]
    projection: int
    """1x1 after the pool; 0 = the pooled map passes through, in blocks of stride 2."""


BLOCKS = {
    "3a": Block(64, 64, 64, 64, 96, "average", 32),
    "3b": Block(64, 64, 96, 64, 96, "average", 64),
    "3c": Block(0, 128, 160, 64, 96, "max", 0),
    "4a": Block(224, 64, 96, 96, 128, "average", 128),
    "4b": Block(192, 96, 128, 96, 128, "average", 128),
    "4c": Block(160, 128, 160, 128, 160, "average", 96),
    "4d": Block(96, 128, 192, 160, 192, "average", 96),
    "4e": Block(0, 128, 192, 192, 256, "max", 0),
    "5a": Block(352, 192, 320, 160, 224, "average", 128),
    "5b": Block(352, 192, 320, 192, 224, "max", 128),
}
DEPTH_MULTIPLIER = 8
"""Of the separable first convolution (section 4.2 of the paper)."""


class InceptionBlock(nn.Module):
    """The branches of one row, joined over channels."""

    def __init__(self, channels: int, row: Block) -> None:
        super().__init__()
        stride = 1 if row.projection else 2
        branches: list[nn.Module] = [conv_bn(channels, row.one, 1)] if row.one else []
        branches.append(
            nn.Sequential(conv_bn(channels, row.reduce3, 1), conv_bn(row.reduce3, row.three, 3, stride=stride))
        )
        branches.append(
            nn.Sequential(
                conv_bn(channels, row.reduce_double, 1),
                conv_bn(row.reduce_double, row.double, 3),
                conv_bn(row.double, row.double, 3, stride=stride),
            )
        )
        pool = nn.MaxPool2d(3, stride, padding=1) if row.pool == "max" else nn.AvgPool2d(3, stride, padding=1)
        branches.append(nn.Sequential(pool, conv_bn(channels, row.projection, 1)) if row.projection else pool)
        self.branches = nn.ModuleList(branches)
        self.out_channels = row.one + row.three + row.double + (row.projection or channels)

    def forward(self, features: Tensor) -> Tensor:
        return torch.cat([branch(features) for branch in self.branches], dim=1)


class BNInception(nn.Module):
    """The network that needed fourteen times fewer steps than GoogLeNet.

    Its first convolution is separable with depth multiplier 8. Maps of 224 px images are 112, 56, 28, 14 and 7, and
    every odd size is rounded up, so that strides are exact.

    Source: Ioffe & Szegedy 2015, arXiv:1502.03167, figure 5 and section 4.2.
    """

    def __init__(self, num_classes: int = 1000, blocks: dict[str, Block] = BLOCKS) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(
            nn.Conv2d(3, 3 * DEPTH_MULTIPLIER, 7, stride=2, padding=3, groups=3, bias=False),
            *conv_bn(3 * DEPTH_MULTIPLIER, 64, 1),
        )
        self.pool1 = nn.MaxPool2d(3, stride=2, padding=1)
        self.conv2 = nn.Sequential(conv_bn(64, 64, 1), conv_bn(64, 192, 3))
        self.pool2 = nn.MaxPool2d(3, stride=2, padding=1)
        channels = 192
        for name, row in blocks.items():
            block = InceptionBlock(channels, row)
            self.add_module(f"inception{name}", block)
            channels = block.out_channels
        self._blocks = tuple(f"inception{name}" for name in blocks)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Compute (B, K) logits of normalised images (B, 3, H, W)."""
        features = self.pool2(self.conv2(self.pool1(self.conv1(images))))
        for name in self._blocks:
            features = self.get_submodule(name)(features)
        return self.fc(torch.flatten(self.avgpool(features), 1))


def conv_bn(channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Convolution, batch normalisation, ReLU; the map keeps its size up to the stride."""
    return nn.Sequential(
        nn.Conv2d(channels, out_channels, kernel, stride=stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )
