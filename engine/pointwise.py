"""A way round a fault of the CPU's bf16 kernels that writes beyond its memory.

oneDNN's weight gradient of a strided 1x1 convolution in bf16 overruns a buffer when several threads share a small batch
and there are fewer than 16 channels (seen with torch 2.15): later the process crashes, or worse, does not. Such a
convolution looks at every s-th pixel only, so taking these pixels first and convolving without stride gives the same
numbers through kernels that are sound.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from engine.precision import Precision


class SubsampledPointwise(nn.Conv2d):
    """A strided 1x1 convolution that takes the pixels it looks at first; parameters and results stay the same."""

    def forward(self, input: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C', ceil(H / s), ceil(W / s))."""
        rows, columns = self.stride
        return F.conv2d(input[:, :, ::rows, ::columns], self.weight, self.bias, groups=self.groups)


def avoid_strided_pointwise(model: nn.Module, precision: Precision) -> int:
    """Let a model's strided 1x1 convolutions take the sound way where the other one is faulty; return how many.

    Args:
        model: changed in place; names and values of its parameters stay.
        precision: that it is trained in.
    """
    if precision.device.type != "cpu" or precision.name != "bf16":
        return 0
    found = [module for module in model.modules() if type(module) is nn.Conv2d and _is_strided_pointwise(module)]
    for module in found:
        module.__class__ = SubsampledPointwise
    return len(found)


def _is_strided_pointwise(module: nn.Conv2d) -> bool:
    is_pointwise = tuple(module.kernel_size) == (1, 1) and tuple(module.padding) == (0, 0)
    return is_pointwise and max(module.stride) > 1
