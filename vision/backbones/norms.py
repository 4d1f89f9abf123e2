"""Exchange a finished network's batch normalisation for another kind."""

import math
from typing import Any

import torch
from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from foundation.errors import ConfigError

MAX_GROUPS = 32
"""Wu & He 2018, arXiv:1803.08494, use 32 groups; fewer where the channels do not divide."""


def group_norm(channels: int) -> nn.GroupNorm:
    """GroupNorm with 32 groups, or the most that divide `channels`."""
    return nn.GroupNorm(math.gcd(MAX_GROUPS, channels), channels)


def replace_norms(network: Any, kind: str, name: str) -> None:
    """Replace every BatchNorm2d of `network`, in place.

    Args:
        kind: `frozen` keeps statistics and affine parameters as constants; `group` starts anew.
        name: the network in the user's words.

    Raises:
        ConfigError: if it has no batch normalisation.
    """
    spots: list[tuple[nn.Module, str, Any]] = [
        (parent, child_name, child)
        for parent in network.modules()
        for child_name, child in parent.named_children()
        if isinstance(child, nn.BatchNorm2d)
    ]
    if not spots:
        raise ConfigError(f"backbone.norm {kind!r} has no effect: {name} has no batch normalisation. Leave it `batch`.")
    for parent, child_name, child in spots:
        new: nn.Module = _frozen(child) if kind == "frozen" else group_norm(child.num_features)
        if hasattr(child, "act"):  # timm joins norm, dropout and activation in one layer
            new = nn.Sequential(new, child.drop, child.act)
        setattr(parent, child_name, new)


def _frozen(norm: nn.BatchNorm2d) -> FrozenBatchNorm2d:
    frozen = FrozenBatchNorm2d(norm.num_features, eps=norm.eps)
    with torch.no_grad():
        for name, buffer in frozen.named_buffers():
            buffer.copy_(norm.get_parameter(name) if name in ("weight", "bias") else norm.get_buffer(name))
    return frozen
