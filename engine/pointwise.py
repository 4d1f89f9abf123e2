"""A way round a fault of the CPU's convolutions that write beyond their memory.

oneDNN's weight gradient of a strided 1x1 convolution with fewer than 16 input channels, channels last, overruns its
workspace when several threads share a batch (oneDNN 3.12 in torch 2.15, github.com/uxlfoundation/oneDNN issue 6035):
later the process crashes, or worse, does not. Such a convolution looks at every s-th pixel only, so taking these pixels
first and convolving without stride gives the same numbers through kernels that are sound.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SAFE_CHANNELS = 16
"""From so many input channels on the kernels are sound."""


class SubsampledPointwise(nn.Conv2d):
    """A strided 1x1 convolution that takes the pixels it looks at first; parameters and results stay the same."""

    def forward(self, input: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C', ceil(H / s), ceil(W / s))."""
        rows, columns = self.stride
        return F.conv2d(input[:, :, ::rows, ::columns], self.weight, self.bias, groups=self.groups)


def avoid_strided_pointwise(model: nn.Module, device: torch.device) -> int:
    """Let a model's thin strided 1x1 convolutions take the sound way on the CPU; return how many.

    Args:
        model: changed in place; names and values of its parameters stay.
        device: that it is trained on.
    """
    if device.type != "cpu":
        return 0
    found = [module for module in model.modules() if type(module) is nn.Conv2d and _is_strided_pointwise(module)]
    for module in found:
        module.__class__ = SubsampledPointwise
    return len(found)


def _is_strided_pointwise(module: nn.Conv2d) -> bool:
    is_pointwise = tuple(module.kernel_size) == (1, 1) and tuple(module.padding) == (0, 0)
    return is_pointwise and max(module.stride) > 1 and module.in_channels // module.groups < SAFE_CHANNELS
