"""Batch normalisation over all ranks, on the CPU too, which torch's own refuses."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class SyncBatchNorm2d(nn.SyncBatchNorm):
    """torch's SyncBatchNorm, and on the CPU the same by two all-reduces; with one rank plain batch normalisation."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (B, C, H, W) by the statistics of all ranks' images; B may differ between ranks."""
        has_ranks = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
        if not self.training or not has_ranks:
            return _BatchNorm.forward(self, input)
        if input.device.type != "cpu":
            return super().forward(input)
        maps = input.float()
        num_values = _sum_over_ranks(maps.new_tensor(maps.numel() // maps.shape[1]))
        mean = _sum_over_ranks(maps.sum((0, 2, 3))) / num_values
        centred = maps - mean[:, None, None]
        var = _sum_over_ranks(centred.square().sum((0, 2, 3))) / num_values
        self._remember(mean.detach(), var.detach() * num_values / (num_values - 1).clamp(min=1))
        normal = centred * (var + self.eps).rsqrt()[:, None, None]
        return (normal * self.weight[:, None, None] + self.bias[:, None, None]).to(input.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, unbiased_var: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        share = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(unbiased_var, share)


class _SumOverRanks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:  # noqa: ARG004
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:  # noqa: ARG004
        total = grads[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total


def _sum_over_ranks(tensor: Tensor) -> Tensor:
    """Sum over all ranks; the gradient of every rank's share is the sum of all ranks' gradients."""
    return _SumOverRanks.apply(tensor)
