"""Building blocks that `yolox` and `yolo` share: convolution blocks, CSP trunk, path aggregation, anchor points.

Attribute names are those of the official YOLOX weights; no heads, no losses here.
Shape letters: B images, C channels, H W pixels of a feature map, A anchor points of all levels.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

FEWEST_STRIDES = (8, 16, 32)
BATCH_NORM_EPS = 1e-3
BATCH_NORM_MOMENTUM = 0.03


class ConvBnAct(nn.Module):
    """Convolution without bias, batch normalisation, SiLU. Padding keeps the size at stride 1."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(out_channels, eps=BATCH_NORM_EPS, momentum=BATCH_NORM_MOMENTUM)
        # Safe in place: batch normalisation keeps its input for the backward pass, not its output.
        self.act = nn.SiLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.conv(x)))


class DepthwiseConv(nn.Module):
    """A depthwise convolution followed by a pointwise one."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.dconv = ConvBnAct(in_channels, in_channels, kernel, stride, groups=in_channels)
        self.pconv = ConvBnAct(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.pconv(self.dconv(x))


def build_conv(in_channels: int, out_channels: int, kernel: int, stride: int = 1, *, depthwise: bool) -> nn.Module:
    """Make a spatial convolution block, plain or depthwise separable."""
    block = DepthwiseConv if depthwise else ConvBnAct
    return block(in_channels, out_channels, kernel, stride)


class Bottleneck(nn.Module):
    """1x1 then 3x3 convolution, with the input added where asked."""

    def __init__(self, channels: int, *, shortcut: bool, depthwise: bool) -> None:
        super().__init__()
        self.conv1 = ConvBnAct(channels, channels, 1)
        self.conv2 = build_conv(channels, channels, 3, depthwise=depthwise)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(self.conv1(x))
        return x + y if self.shortcut else y


class CspLayer(nn.Module):
    """Cross-stage partial layer: half of the channels pass the bottlenecks, half go round them.

    Source: Wang et al. 2019, arXiv:1911.11929, with the three 1x1 convolutions of YOLOv5 and YOLOX.
    """

    def __init__(self, in_channels: int, out_channels: int, depth: int, *, shortcut: bool, depthwise: bool) -> None:
        super().__init__()
        hidden = out_channels // 2
        self.conv1 = ConvBnAct(in_channels, hidden, 1)
        self.conv2 = ConvBnAct(in_channels, hidden, 1)
        self.conv3 = ConvBnAct(2 * hidden, out_channels, 1)
        self.m = nn.Sequential(*(Bottleneck(hidden, shortcut=shortcut, depthwise=depthwise) for _ in range(depth)))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv3(torch.cat((self.m(self.conv1(x)), self.conv2(x)), dim=1))


class SppBottleneck(nn.Module):
    """Spatial pyramid pooling: the map beside its maxima over windows of 5, 9 and 13."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        hidden = in_channels // 2
        self.conv1 = ConvBnAct(in_channels, hidden, 1)
        self.conv2 = ConvBnAct(4 * hidden, out_channels, 1)
        self.pool = nn.MaxPool2d(5, stride=1, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        # Maxima compose: two windows of 5 in a row see 9 pixels, three see 13.
        pooled_5 = self.pool(x)
        pooled_9 = self.pool(pooled_5)
        return self.conv2(torch.cat((x, pooled_5, pooled_9, self.pool(pooled_9)), dim=1))


class Focus(nn.Module):
    """Fold each 2x2 block of pixels into the channels, then convolve.

    The order of the four pixels (top left, bottom left, top right, bottom right) is that of the official weights.
    """

    def __init__(self, out_channels: int) -> None:
        super().__init__()
        self.conv = ConvBnAct(4 * 3, out_channels, 3)

    def forward(self, images: Tensor) -> Tensor:
        left, right = images[..., ::2], images[..., 1::2]
        return self.conv(torch.cat((left[..., ::2, :], left[..., 1::2, :], right[..., ::2, :], right[..., 1::2, :]), 1))


class CspDarknet(nn.Module):
    """A stem and four stages of CSP layers, the last one with spatial pyramid pooling.

    Args:
        widths: channels after the stem and after each stage.
        depths: bottlenecks in each stage.
        stem: maps (B, 3, H, W) to (B, widths[0], H/2, W/2).
        has_stride_4: give out the first stage's map as well.
    """

    def __init__(
        self,
        widths: Sequence[int],
        depths: Sequence[int],
        stem: nn.Module,
        *,
        depthwise: bool,
        has_stride_4: bool = False,
    ) -> None:
        super().__init__()
        self.has_stride_4 = has_stride_4
        self.stem = stem
        down = [build_conv(a, b, 3, 2, depthwise=depthwise) for a, b in pairwise(widths)]
        csp = [
            CspLayer(width, width, depth, shortcut=stage < 3, depthwise=depthwise)
            for stage, (width, depth) in enumerate(zip(widths[1:], depths, strict=True))
        ]
        self.dark2 = nn.Sequential(down[0], csp[0])
        self.dark3 = nn.Sequential(down[1], csp[1])
        self.dark4 = nn.Sequential(down[2], csp[2])
        self.dark5 = nn.Sequential(down[3], SppBottleneck(widths[4], widths[4]), csp[3])

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the maps of strides (4,) 8, 16 and 32."""
        stride_4 = self.dark2(self.stem(images))
        stride_8 = self.dark3(stride_4)
        stride_16 = self.dark4(stride_8)
        maps = stride_8, stride_16, self.dark5(stride_16)
        return (stride_4, *maps) if self.has_stride_4 else maps


class PathAggregation(nn.Module):
    """A trunk with a top-down and a bottom-up pyramid over it.

    Source: Liu et al. 2018, arXiv:1803.01534, with CSP layers as in YOLOX; nearest-neighbour upsampling.

    Args:
        trunk: gives the maps of strides 8, 16 and 32, and before them the one of stride 4 if there are four channels.
        channels: of the maps, finest first.
        depth: bottlenecks in each CSP layer.
    """

    def __init__(self, trunk: nn.Module, channels: Sequence[int], depth: int, *, depthwise: bool) -> None:
        super().__init__()
        c3, c4, c5 = channels[-3:]
        self.has_stride_4 = len(channels) > len(FEWEST_STRIDES)

        def csp(in_channels: int, out_channels: int) -> CspLayer:
            return CspLayer(in_channels, out_channels, depth, shortcut=False, depthwise=depthwise)

        self.backbone = trunk
        self.lateral_conv0 = ConvBnAct(c5, c4, 1)
        self.C3_p4 = csp(2 * c4, c4)
        self.reduce_conv1 = ConvBnAct(c4, c3, 1)
        self.C3_p3 = csp(2 * c3, c3)
        self.bu_conv2 = build_conv(c3, c3, 3, 2, depthwise=depthwise)
        self.C3_n3 = csp(2 * c3, c4)
        self.bu_conv1 = build_conv(c4, c4, 3, 2, depthwise=depthwise)
        self.C3_n4 = csp(2 * c4, c5)
        self.upsample = nn.Upsample(scale_factor=2, mode="nearest")
        if self.has_stride_4:
            c2 = channels[0]
            self.reduce_conv2 = ConvBnAct(c3, c2, 1)
            self.C3_p2 = csp(2 * c2, c2)
            self.bu_conv3 = build_conv(c2, c2, 3, 2, depthwise=depthwise)
            self.C3_n2 = csp(2 * c2, c3)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Map (B, 3, H, W), H and W multiples of 32, to the maps of strides (4,) 8, 16 and 32."""
        *finest, trunk_8, trunk_16, trunk_32 = self.backbone(images)
        lateral_32 = self.lateral_conv0(trunk_32)
        top_down_16 = self.C3_p4(torch.cat((self.upsample(lateral_32), trunk_16), dim=1))
        lateral_16 = self.reduce_conv1(top_down_16)
        out_8 = self.C3_p3(torch.cat((self.upsample(lateral_16), trunk_8), dim=1))
        if self.has_stride_4:
            lateral_8 = self.reduce_conv2(out_8)
            out_4 = self.C3_p2(torch.cat((self.upsample(lateral_8), finest[0]), dim=1))
            out_8 = self.C3_n2(torch.cat((self.bu_conv3(out_4), lateral_8), dim=1))
            finest = [out_4]
        out_16 = self.C3_n3(torch.cat((self.bu_conv2(out_8), lateral_16), dim=1))
        out_32 = self.C3_n4(torch.cat((self.bu_conv1(out_16), lateral_32), dim=1))
        return *finest, out_8, out_16, out_32


def flatten_levels(maps: Sequence[Tensor]) -> Tensor:
    """Join (B, C, H, W) maps of all levels, row by row, to (B, A, C) float32."""
    return torch.cat([level.flatten(2) for level in maps], dim=2).transpose(1, 2).float()


def anchor_points(sizes: Sequence[torch.Size], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the cells of all levels in the order of `flatten_levels`.

    Args:
        sizes: shapes of the level maps, (..., H, W), the last three for strides 8, 16, 32, any before them finer.

    Returns:
        cells_A2: (A, 2) float32, column and row of each cell, counted in its own level.
        strides_A1: (A, 1) float32, pixels. The cell's centre lies at (cell + 0.5) * stride.
    """
    cells, strides = [], []
    finer = [FEWEST_STRIDES[0] >> steps for steps in range(len(sizes) - len(FEWEST_STRIDES), 0, -1)]
    for size, stride in zip(sizes, (*finer, *FEWEST_STRIDES), strict=True):
        rows = torch.arange(size[-2], device=device, dtype=torch.float32)
        columns = torch.arange(size[-1], device=device, dtype=torch.float32)
        grid_y, grid_x = torch.meshgrid(rows, columns, indexing="ij")
        cells.append(torch.stack((grid_x.flatten(), grid_y.flatten()), dim=1))
        strides.append(torch.full((grid_x.numel(), 1), float(stride), device=device))
    return torch.cat(cells), torch.cat(strides)
