"""Normalisation layers that torch has not, and the exchange of a finished network's normalisation for another kind."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm
from torchvision.ops import FrozenBatchNorm2d

from foundation.errors import ConfigError
from vision.layers.follow import follow
from vision.layers.residual import is_gate, residual_branches
from vision.layers.switchable import SwitchableNorm2d
from vision.layers.sync import SyncBatchNorm2d

MAX_GROUPS = 32
"""Wu & He 2018, arXiv:1803.08494, use 32 groups; fewer where the channels do not divide."""
SHORTCUTS = ("downsample", "shortcut", "proj")
"""Children of residual blocks that are not the branch."""


class InstanceNorm2d(nn.InstanceNorm2d):
    """torch's, with scale and shift, and an error of our own on maps of one pixel, of which nothing would be left."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, affine=True)

    def forward(self, input: Tensor) -> Tensor:
        """Normalise each channel of each image.

        Args:
            input: (B, C, H, W) float.

        Raises:
            ConfigError: if H = W = 1.
        """
        if input.shape[-2:] == (1, 1):
            raise ConfigError(
                "norm 'instance' needs feature maps of more than one pixel, and at this image size the deepest ones "
                "have one. Make image_size larger, give the network its small stem, or take `norm: group`."
            )
        return super().forward(input)


class ChannelAffine(nn.Module):
    """Scale and shift of each channel: what is left of a normalisation layer when nothing is normalised."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, maps: Tensor) -> Tensor:
        """Compute `weight * maps + bias` on (B, C, H, W)."""
        return maps * self.weight[:, None, None] + self.bias[:, None, None]


def group_norm(channels: int) -> nn.GroupNorm:
    """GroupNorm with 32 groups, or the most that divide `channels`."""
    return nn.GroupNorm(math.gcd(MAX_GROUPS, channels), channels)


def layer_norm(channels: int) -> nn.GroupNorm:
    """Layer normalisation of feature maps: over channels and pixels of an image (Ba et al. 2016, arXiv:1607.06450)."""
    return nn.GroupNorm(1, channels)


LAYERS: dict[str, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm2d,
    "sync": SyncBatchNorm2d,
    "layer": layer_norm,
    "instance": InstanceNorm2d,
    "group": group_norm,
    "switchable": SwitchableNorm2d,
    "weight": ChannelAffine,
    "none": ChannelAffine,
}


def replace_norms(network: Any, kind: str, what: str, *, has_head: bool = True) -> None:
    """Replace the normalisation of `network`, in place.

    Batch and group normalisation layers are exchanged. A network without any normalisation, or with local response
    normalisation, gets a layer after each of its convolutions. `weight` and `none` take every normalisation out; each
    residual branch then begins as zero, without which deep networks do not train (De & Smith 2020, arXiv:2002.10444).

    Args:
        kind: as in `PartsSettings.norm`.
        what: the network in the user's words.
        has_head: False for a trunk, whose last convolution yields features and not classes.

    Raises:
        ConfigError: if it cannot be applied, with the reason.
    """
    if kind == "frozen":
        return _exchange(network, _spots(network, nn.BatchNorm2d, kind, what), _frozen)
    if kind in ("weight", "none"):
        return _take_out(network, kind, what)
    if not _has_any_norm(network):
        return _insert(network, kind, has_head)
    if kind == "batch" and any(isinstance(module, nn.BatchNorm2d) for module in network.modules()):
        return _exchange(network, _find(network, nn.GroupNorm), lambda norm: nn.BatchNorm2d(num_channels(norm)))
    spots = _spots(network, (nn.BatchNorm2d, nn.GroupNorm), kind, what)
    make = _synced if kind == "sync" else lambda norm: LAYERS[kind](num_channels(norm))
    return _exchange(network, spots, make)


def num_channels(norm: Any) -> int:
    """Channels of a batch or group normalisation layer."""
    return int(norm.num_features if isinstance(norm, nn.BatchNorm2d) else norm.num_channels)


Spot = tuple[nn.Module, str, Any]
"""Parent, name of the child, child."""


def _find(network: nn.Module, kinds: Any) -> list[Spot]:
    return [
        (parent, name, child)
        for parent in network.modules()
        for name, child in parent.named_children()
        if isinstance(child, kinds)
    ]


def _spots(network: nn.Module, kinds: Any, kind: str, what: str) -> list[Spot]:
    spots = _find(network, kinds)
    if not spots:
        others = sorted({type(module).__name__ for module in network.modules() if _is_layer_norm(module)})
        has = f"; it normalises by {', '.join(others)}" if others else ""
        raise ConfigError(
            f"norm {kind!r} cannot be applied: {what} has no batch normalisation{has}. Leave `norm` out, or take a "
            "network with batch normalisation, such as resnet18."
        )
    return spots


def _is_layer_norm(module: nn.Module) -> bool:
    return isinstance(module, nn.LayerNorm) or type(module).__name__.lower().startswith(("layernorm", "rmsnorm"))


def _has_any_norm(network: nn.Module) -> bool:
    return any(
        isinstance(module, nn.BatchNorm2d | nn.GroupNorm) or _is_layer_norm(module) for module in network.modules()
    )


def _exchange(network: nn.Module, spots: list[Spot], make: Callable[[Any], nn.Module]) -> None:
    device = next(network.parameters()).device
    for parent, name, child in spots:
        new: nn.Module = make(child).to(device)
        if hasattr(child, "act"):  # timm joins norm, dropout and activation in one layer
            new = nn.Sequential(new, child.drop, child.act)
        setattr(parent, name, new)


def _insert(network: nn.Module, kind: str, has_head: bool) -> None:
    """Let a layer follow every convolution but the one that yields the classes."""
    for parent, name, _ in _find(network, nn.LocalResponseNorm):
        setattr(parent, name, nn.Identity())
    weighted = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    if has_head:
        weighted = weighted[:-1]
    for module in weighted:
        if isinstance(module, nn.Conv2d):
            follow(module, "norm", LAYERS[kind](module.out_channels).to(module.weight.device))


def _take_out(network: nn.Module, kind: str, what: str) -> None:
    spots = _find(network, nn.BatchNorm2d | nn.GroupNorm)
    others = [spot for spot in _find(network, nn.Module) if _is_layer_norm(spot[2])]
    others += _find(network, nn.LocalResponseNorm)
    if kind == "none" and not spots and not others:
        raise ConfigError(f"norm 'none' has no effect: {what} has no normalisation. Leave `norm` out.")
    ends = _branch_ends(network)
    spot_of_end = [(parent, name) for parent, name, child in spots if id(child) in {id(end) for end in ends}]
    _exchange(network, spots, lambda norm: ChannelAffine(num_channels(norm)))
    for parent, name, _ in others:
        setattr(parent, name, nn.Identity())
    for parent, name in spot_of_end:
        nn.init.zeros_(next(getattr(parent, name).parameters()))
    convs = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    if kind == "weight":
        for module in convs:
            weight_norm(module)
    for end in ends:
        if isinstance(end, nn.Conv2d):  # a pre-activation block, where a zero before the ReLU would stay zero
            name = "parametrizations.weight.original0" if kind == "weight" else "weight"
            nn.init.zeros_(end.get_parameter(name))


def _branch_ends(network: nn.Module) -> list[nn.Module]:
    """The last norm or convolution of each residual branch, of blocks with norms that can be exchanged."""
    ends: list[nn.Module] = []
    for branch in residual_branches(network):
        outside = [part for name, part in branch.block.named_children() if name in SHORTCUTS]
        outside += [module for module in branch.block.modules() if is_gate(module)]
        left_out = {id(module) for part in outside for module in part.modules()}
        layers = [module for module in branch.block.modules() if id(module) not in left_out]
        norms = [module for module in layers if isinstance(module, nn.BatchNorm2d | nn.GroupNorm)]
        weighted = [module for module in layers if isinstance(module, nn.BatchNorm2d | nn.GroupNorm | nn.Conv2d)]
        if norms:
            ends.append(weighted[-1])
    return ends


def _frozen(norm: nn.BatchNorm2d) -> FrozenBatchNorm2d:
    frozen = FrozenBatchNorm2d(norm.num_features, eps=norm.eps).to(norm.weight.device)
    with torch.no_grad():
        for name, buffer in frozen.named_buffers():
            buffer.copy_(norm.get_parameter(name) if name in ("weight", "bias") else norm.get_buffer(name))
    return frozen


def _synced(norm: Any) -> SyncBatchNorm2d:
    if not isinstance(norm, nn.BatchNorm2d):
        return SyncBatchNorm2d(num_channels(norm))
    device = norm.weight.device
    synced = SyncBatchNorm2d(norm.num_features, eps=norm.eps, momentum=norm.momentum, device=device)
    synced.load_state_dict({name: tensor for name, tensor in norm.state_dict().items() if "." not in name})
    return synced
