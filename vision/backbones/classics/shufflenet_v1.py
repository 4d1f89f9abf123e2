"""ShuffleNet v1: 1x1 convolutions in groups, whose channels are shuffled so that the groups exchange what they know."""

import torch
from torch import Tensor, nn
from torch.nn import functional

STAGE_CHANNELS = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}
"""Table 1 of the paper: groups to output channels of stage 2; stages 3 and 4 have twice and four times as many."""
STAGE_UNITS = (4, 8, 4)
STEM_CHANNELS = 24


class ShuffleUnit(nn.Module):
    """A bottleneck with a shuffle after its first 1x1 (figure 2b), and joined to a 3x3 average at stride 2 (2c).

    Args:
        is_first_grouped: False for the very first unit: its 24 input channels are too few to be shared out.
    """

    def __init__(self, channels: int, out_channels: int, groups: int, stride: int, is_first_grouped: bool) -> None:
        super().__init__()
        middle = out_channels // 4
        branch_channels = out_channels if stride == 1 else out_channels - channels
        first_groups = groups if is_first_grouped else 1
        self.groups, self.stride = groups, stride
        self.conv1 = nn.Conv2d(channels, middle, 1, groups=first_groups, bias=False)
        self.bn1 = nn.BatchNorm2d(middle)
        self.act1 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(middle, middle, 3, stride=stride, padding=1, groups=middle, bias=False)
        self.bn2 = nn.BatchNorm2d(middle)
        self.conv3 = nn.Conv2d(middle, branch_channels, 1, groups=groups, bias=False)
        self.bn3 = nn.BatchNorm2d(branch_channels)
        self.act3 = nn.ReLU(inplace=True)
        self.pool = nn.AvgPool2d(3, stride=2, padding=1) if stride == 2 else nn.Identity()

    def forward(self, features: Tensor) -> Tensor:
        branch = functional.channel_shuffle(self.act1(self.bn1(self.conv1(features))), self.groups)
        branch = self.bn3(self.conv3(self.bn2(self.conv2(branch))))
        shortcut = self.pool(features)
        return self.act3(shortcut + branch if self.stride == 1 else torch.cat([shortcut, branch], dim=1))


class ShuffleNetV1(nn.Module):
    """ShuffleNet 1x: about 140 million multiplications at 224 px, whatever the number of groups.

    Source: Zhang et al. 2017, arXiv:1707.01083, table 1. torchvision's `shufflenet_v2_x*` are the second version.

    Args:
        groups: 1, 2, 3, 4 or 8; more groups afford more channels.
    """

    def __init__(self, num_classes: int = 1000, groups: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(
            nn.Conv2d(3, STEM_CHANNELS, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(STEM_CHANNELS),
            nn.ReLU(inplace=True),
        )
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        channels = STEM_CHANNELS
        for index, num_units in enumerate(STAGE_UNITS):
            out_channels = STAGE_CHANNELS[groups] * 2**index
            units = [ShuffleUnit(channels, out_channels, groups, 2, is_first_grouped=index > 0)]
            units += [ShuffleUnit(out_channels, out_channels, groups, 1, True) for _ in range(num_units - 1)]
            self.add_module(f"stage{index + 2}", nn.Sequential(*units))
            channels = out_channels
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Compute (B, K) logits of normalised images (B, 3, H, W)."""
        features = self.maxpool(self.conv1(images))
        for index in range(len(STAGE_UNITS)):
            features = self.get_submodule(f"stage{index + 2}")(features)
        return self.fc(torch.flatten(self.avgpool(features), 1))
