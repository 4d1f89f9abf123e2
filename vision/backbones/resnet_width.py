"""torchvision's ResNets with more or fewer channels."""

import torch
import torchvision
from torch import nn
from torchvision.models.resnet import ResNet

from foundation.errors import ConfigError

CHANNEL_STEP = 8
"""Scaled channel counts are multiples of it: vector units and GroupNorm want that."""


def scaled_resnet(name: str, width: float, num_classes: int) -> ResNet:
    """Build a torchvision ResNet with `width` times the channels, rounded to multiples of 8.

    Raises:
        ConfigError: if the network is no ResNet.
    """
    with torch.device("meta"):  # only its structure is used: every layer with weights is remade below
        network = torchvision.models.get_model(name, weights=None)
    if not isinstance(network, ResNet):
        raise no_width(name, width)

    def scaled(channels: int) -> int:
        return max(CHANNEL_STEP, round(channels * width / CHANNEL_STEP) * CHANNEL_STEP)

    network.inplanes = scaled(64)  # torchvision's own stem
    network.conv1 = nn.Conv2d(3, network.inplanes, kernel_size=7, stride=2, padding=3, bias=False)
    network.bn1 = nn.BatchNorm2d(network.inplanes)
    for index in range(4):
        blocks = getattr(network, f"layer{index + 1}")
        stride = 1 if index == 0 else 2
        layer = network._make_layer(type(blocks[0]), scaled(64 * 2**index), len(blocks), stride=stride)
        setattr(network, f"layer{index + 1}", layer)
    network.fc = nn.Linear(network.inplanes, num_classes)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return network


def no_width(name: str, width: float) -> ConfigError:
    """The error for a network whose channels cannot be scaled."""
    return ConfigError(f"width {width} works with torchvision ResNets only, not {name}; set it to 1.0.")
