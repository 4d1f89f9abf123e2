"""Switchable normalisation: a layer learns how much of instance, layer and batch normalisation it wants."""

import torch
from torch import Tensor, nn


class SwitchableNorm2d(nn.Module):
    """Mixes the means and variances of instance, layer and batch normalisation by two softmaxes over learned weights.

    In evaluation the batch's share comes from running averages, kept as torch's BatchNorm2d keeps them. Statistics are
    those of the local batch.

    Source: Luo et al. 2018, arXiv:1806.10779, eq. 3 to 5; written from the paper.
    """

    def __init__(self, channels: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.eps = eps
        self.momentum = momentum
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.mean_weight = nn.Parameter(torch.ones(3))
        self.var_weight = nn.Parameter(torch.ones(3))
        self.running_mean: Tensor
        self.running_var: Tensor
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, maps: Tensor) -> Tensor:
        """Normalise (B, C, H, W) float maps; statistics in float32, the result in the maps' type."""
        var_BC, mean_BC = torch.var_mean(maps.float(), dim=(2, 3), correction=0)
        var_B1, mean_B1 = _joined(var_BC, mean_BC, dim=1)
        if self.training:
            var_1C, mean_1C = _joined(var_BC, mean_BC, dim=0)
            self._remember(var_1C[0], mean_1C[0], num_values=maps.numel() // maps.shape[1])
        else:
            var_1C, mean_1C = self.running_var[None], self.running_mean[None]
        of_mean, of_var = self.mean_weight.softmax(0), self.var_weight.softmax(0)
        mean_BC = of_mean[0] * mean_BC + of_mean[1] * mean_B1 + of_mean[2] * mean_1C
        var_BC = of_var[0] * var_BC + of_var[1] * var_B1 + of_var[2] * var_1C
        scale_BC = self.weight * (var_BC + self.eps).rsqrt()
        shift_BC = self.bias - mean_BC * scale_BC
        return maps * scale_BC[..., None, None].to(maps.dtype) + shift_BC[..., None, None].to(maps.dtype)

    @torch.no_grad()
    def _remember(self, var: Tensor, mean: Tensor, num_values: int) -> None:
        unbiased = var * (num_values / max(num_values - 1, 1))
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(unbiased, self.momentum)


def _joined(var: Tensor, mean: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Variance and mean of equally large groups taken together: the mean variance plus the variance of the means."""
    var_of_means, mean_of_means = torch.var_mean(mean, dim=dim, correction=0, keepdim=True)
    return var.mean(dim, keepdim=True) + var_of_means, mean_of_means
