"""Pre-activation ResNets with a stem for small images: norm and ReLU come before each convolution."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class PreActBlock(nn.Module):
    """The pre-activation unit (figure 4e of the paper), basic or bottleneck.

    Where the shape changes, the shortcut is a 1x1 convolution of the activated input; elsewhere it is the input itself.
    """

    def __init__(self, channels: int, out_channels: int, stride: int, *, is_bottleneck: bool) -> None:
        super().__init__()
        if is_bottleneck:
            middle = out_channels // 4
            shapes = [(channels, middle, 1, 1), (middle, middle, 3, stride), (middle, out_channels, 1, 1)]
        else:
            shapes = [(channels, out_channels, 3, stride), (out_channels, out_channels, 3, 1)]
        self.norms = nn.ModuleList(nn.BatchNorm2d(shape[0]) for shape in shapes)
        self.acts = nn.ModuleList(nn.ReLU() for _ in shapes)  # not in place: without norms the shortcut is its input
        self.convs = nn.ModuleList(
            nn.Conv2d(fan_in, fan_out, kernel, stride=step, padding=kernel // 2, bias=False)
            for fan_in, fan_out, kernel, step in shapes
        )
        is_same = stride == 1 and channels == out_channels
        self.shortcut = None if is_same else nn.Conv2d(channels, out_channels, 1, stride=stride, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        branch = self.acts[0](self.norms[0](features))
        shortcut = features if self.shortcut is None else self.shortcut(branch)
        branch = self.convs[0](branch)
        for norm, act, conv in zip(self.norms[1:], self.acts[1:], self.convs[1:], strict=True):
            branch = conv(act(norm(branch)))
        return shortcut + branch


class PreActResNet(nn.Module):
    """A pre-activation ResNet whose first convolution keeps the resolution: strides 1, 2, 4 and 8.

    For images of ImageNet's size take `resnetv2_50` and its like.

    Source: He et al. 2016, "Identity mappings in deep residual networks", arXiv:1603.05027, figure 4e and the appendix
    (norm and ReLU after the last unit); the stem is that of its CIFAR networks, the stages are ResNet-18's to 50's.
    """

    def __init__(self, units: Sequence[int], *, is_bottleneck: bool, num_classes: int = 1000) -> None:
        super().__init__()
        expansion = 4 if is_bottleneck else 1
        self.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        channels = 64
        for index, num_units in enumerate(units):
            out_channels = 64 * 2**index * expansion
            blocks = []
            for position in range(num_units):
                stride = 2 if index > 0 and position == 0 else 1
                blocks.append(PreActBlock(channels, out_channels, stride, is_bottleneck=is_bottleneck))
                channels = out_channels
            self.add_module(f"layer{index + 1}", nn.Sequential(*blocks))
        self.norm = nn.BatchNorm2d(channels)
        self.act = nn.ReLU(inplace=True)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        self._layers = tuple(f"layer{index + 1}" for index in range(len(units)))

    def forward(self, images: Tensor) -> Tensor:
        """Compute (B, K) logits of normalised images (B, 3, H, W)."""
        features = self.conv1(images)
        for name in self._layers:
            features = self.get_submodule(name)(features)
        features = self.act(self.norm(features))
        return self.fc(torch.flatten(self.avgpool(features), 1))
