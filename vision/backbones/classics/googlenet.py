"""GoogLeNet (Inception v1) as published: 5x5 branches, response normalisation, two auxiliary classifiers."""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from vision.backbones.auxiliary import WithAuxiliary

# Table 1 of the paper: input channels; 1x1; 3x3 reduction and 3x3; 5x5 reduction and 5x5; projection after the pool.
BLOCKS = {
    "3a": (192, 64, 96, 128, 16, 32, 32),
    "3b": (256, 128, 128, 192, 32, 96, 64),
    "4a": (480, 192, 96, 208, 16, 48, 64),
    "4b": (512, 160, 112, 224, 24, 64, 64),
    "4c": (512, 128, 128, 256, 24, 64, 64),
    "4d": (512, 112, 144, 288, 32, 64, 64),
    "4e": (528, 256, 160, 320, 32, 128, 128),
    "5a": (832, 256, 160, 320, 32, 128, 128),
    "5b": (832, 384, 192, 384, 48, 128, 128),
}
AUXILIARY_SIDE = 14
"""Cells of the maps the auxiliary classifiers read at 224 px; averaged down to 4x4."""

Pool = partial(nn.MaxPool2d, kernel_size=3, stride=2, ceil_mode=True)


class Inception(nn.Module):
    """Four branches side by side (figure 2b), joined over channels."""

    def __init__(self, channels: int, one: int, reduce3: int, three: int, reduce5: int, five: int, pool: int) -> None:
        super().__init__()
        self.branch1 = _conv(channels, one, 1)
        self.branch2 = nn.Sequential(_conv(channels, reduce3, 1), _conv(reduce3, three, 3))
        self.branch3 = nn.Sequential(_conv(channels, reduce5, 1), _conv(reduce5, five, 5))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), _conv(channels, pool, 1))

    def forward(self, features: Tensor) -> Tensor:
        branches = (self.branch1, self.branch2, self.branch3, self.branch4)
        return torch.cat([branch(features) for branch in branches], dim=1)


class Auxiliary(nn.Module):
    """The classifier that trains the middle of the network: average, 1x1, two full layers, dropout 0.7."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.conv = _conv(channels, 128, 1)
        self.fc1 = nn.Linear(128 * 4 * 4, 1024)
        self.act = nn.ReLU(inplace=True)
        self.dropout = nn.Dropout(0.7)
        self.fc2 = nn.Linear(1024, num_classes)

    def forward(self, features: Tensor) -> Tensor:
        is_papers = features.shape[-2:] == (AUXILIARY_SIDE, AUXILIARY_SIDE)
        # On other image sizes windows that share the map out evenly stand in for the paper's 5x5 with stride 3.
        pooled = functional.avg_pool2d(features, 5, 3) if is_papers else functional.adaptive_avg_pool2d(features, 4)
        hidden = self.act(self.fc1(torch.flatten(self.conv(pooled), 1)))
        return self.fc2(self.dropout(hidden))


class GoogLeNet2014(nn.Module):
    """GoogLeNet: 6,998,552 parameters for a thousand classes, and 6,379,728 more that only training uses.

    torchvision's `googlenet` has batch normalisation, and 3x3 where the paper has 5x5.

    Source: Szegedy et al. 2014, "Going deeper with convolutions", arXiv:1409.4842, table 1 and section 5. The
    constants of the response normalisation, which the paper leaves out, are those of Caffe's replication.
    """

    AUXILIARY_WEIGHT = 0.3
    """Share of each auxiliary loss in the total (section 5)."""

    def __init__(self, num_classes: int = 1000) -> None:
        super().__init__()
        self.conv1 = _conv(3, 64, 7, stride=2)
        self.maxpool1 = Pool()
        self.norm1 = nn.LocalResponseNorm(size=5, alpha=1e-4, beta=0.75, k=1.0)
        self.conv2 = _conv(64, 64, 1)
        self.conv3 = _conv(64, 192, 3)
        self.norm2 = nn.LocalResponseNorm(size=5, alpha=1e-4, beta=0.75, k=1.0)
        self.maxpool2 = Pool()
        self.inception3a, self.inception3b = Inception(*BLOCKS["3a"]), Inception(*BLOCKS["3b"])
        self.maxpool3 = Pool()
        self.inception4a = Inception(*BLOCKS["4a"])
        self.inception4b = Inception(*BLOCKS["4b"])
        self.inception4c = Inception(*BLOCKS["4c"])
        self.inception4d = Inception(*BLOCKS["4d"])
        self.inception4e = Inception(*BLOCKS["4e"])
        self.maxpool4 = Pool()
        self.inception5a, self.inception5b = Inception(*BLOCKS["5a"]), Inception(*BLOCKS["5b"])
        self.aux1: Auxiliary | None = Auxiliary(512, num_classes)
        self.aux2: Auxiliary | None = Auxiliary(528, num_classes)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(0.4)
        self.fc = nn.Linear(1024, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> Tensor | WithAuxiliary:
        """Compute (B, K) logits of normalised images (B, 3, H, W); in training those of aux1 and aux2 as well."""
        features = self.maxpool2(self.norm2(self.conv3(self.conv2(self.norm1(self.maxpool1(self.conv1(images)))))))
        features = self.maxpool3(self.inception3b(self.inception3a(features)))
        first = self.inception4a(features)
        second = self.inception4d(self.inception4c(self.inception4b(first)))
        features = self.maxpool4(self.inception4e(second))
        features = self.inception5b(self.inception5a(features))
        logits = self.fc(self.dropout(torch.flatten(self.avgpool(features), 1)))
        if self.training and self.aux1 is not None and self.aux2 is not None:
            return WithAuxiliary(logits, [self.aux1(first), self.aux2(second)])
        return logits


def _conv(channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, out_channels, kernel, stride=stride, padding=kernel // 2), nn.ReLU(inplace=True)
    )
