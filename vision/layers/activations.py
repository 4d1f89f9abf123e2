"""Maxout, and the exchange of a finished network's hidden activations for others."""

import copy
from collections.abc import Callable, Iterable
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor, nn

from foundation.errors import ConfigError
from vision.layers.functional import expose_activations, hidden_calls

KINDS = (
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.PReLU,
    nn.RReLU,
    nn.ELU,
    nn.CELU,
    nn.SELU,
    nn.GELU,
    nn.SiLU,
    nn.Mish,
    nn.Hardswish,
    nn.Tanh,
    nn.Softplus,
)
"""Hidden activations. Not the sigmoids, which are the gates of attention blocks."""
PROBE_SIDES = (64, 96, 224, 299, 32, 28, 40, 48, 56, 80, 112, 128, 160, 192, 256, 320, 384)
"""Image sides tried in turn, because some networks run on one size only."""


class MaxoutLinear(nn.Linear):
    """The largest of `pieces` linear layers. Source: Goodfellow et al. 2013, arXiv:1302.4389, section 2."""

    def __init__(self, in_features: int, out_features: int, pieces: int = 2, bias: bool = True) -> None:
        super().__init__(in_features, out_features * pieces, bias)
        self.pieces = pieces

    def forward(self, input: Tensor) -> Tensor:
        """Compute (..., out_features) from (..., in_features)."""
        values = super().forward(input)
        return values.view(*values.shape[:-1], self.pieces, -1).amax(-2)


class MaxoutConv2d(nn.Conv2d):
    """The largest of `pieces` convolutions, pixel by pixel. Source: Goodfellow et al. 2013, arXiv:1302.4389."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, pieces: int = 2, **options: Any) -> None:
        super().__init__(in_channels, out_channels * pieces, kernel_size, **options)
        self.pieces = pieces

    def forward(self, input: Tensor) -> Tensor:
        """Compute (B, out_channels, H', W') from (B, in_channels, H, W)."""
        first, *others = super().forward(input).chunk(self.pieces, dim=1)
        for other in others:
            first = torch.maximum(first, other)
        return first


class MaxoutActivation(nn.Module):
    """A maxout layer in the place of an activation: at each pixel, the larger of two linear maps of all channels.

    It starts as ReLU: the first map is the identity, the second zero. A module that a network calls at several widths,
    as ResNet's does, has one layer for each.
    """

    def __init__(self, map_channels: Iterable[int], value_channels: Iterable[int]) -> None:
        super().__init__()
        self.layers = nn.ModuleDict()
        for channels in sorted(map_channels):
            self.layers[f"maps_{channels}"] = MaxoutConv2d(channels, channels, 1)
        for channels in sorted(value_channels):
            self.layers[f"values_{channels}"] = MaxoutLinear(channels, channels)
        with torch.no_grad():
            for layer in self.layers.values():
                layer.get_parameter("bias").zero_()
                weight = layer.get_parameter("weight").zero_()
                weight[: weight.shape[1]].flatten(1).fill_diagonal_(1.0)

    def forward(self, values: Tensor) -> Tensor:
        """Compute the same shape: (B, C, H, W) for convolutions, (..., C) for linear layers."""
        key = f"maps_{values.shape[1]}"
        if values.ndim != 4 or key not in self.layers:
            key = f"values_{values.shape[-1]}"
        return self.layers[key](values)


ACTIVATIONS: dict[str, Callable[[bool], nn.Module]] = {
    # From whether the one before overwrote its input, where that does no harm.
    "sigmoid": lambda _: nn.Sigmoid(),
    "tanh": lambda _: nn.Tanh(),
    "relu": nn.ReLU,
    "leaky_relu": lambda inplace: nn.LeakyReLU(inplace=inplace),
    "prelu": lambda _: nn.PReLU(),
    "elu": lambda _: nn.ELU(),
    "gelu": lambda _: nn.GELU(),
    "silu": lambda _: nn.SiLU(),
    "mish": lambda _: nn.Mish(),
}


def is_activation(module: nn.Module) -> bool:
    """Whether the module is a hidden activation of torch, timm or ours."""
    kind = type(module)
    if isinstance(module, (*KINDS, MaxoutActivation)):
        return True
    return kind.__module__.startswith("timm.layers.activations") and "sigmoid" not in kind.__name__.lower()


def replace_activations(network: nn.Module, name: str, what: str, *, has_head: bool = True) -> None:
    """Replace every hidden activation, in place; sigmoids, the gates of attention blocks, stay.

    So does what comes after a convolution that yields the classes, as SqueezeNet's ReLU.

    `prelu` learns one slope per module, because a module may be called at several widths; `maxout` is a
    `MaxoutActivation`.

    Raises:
        ConfigError: if the network calls an activation in its code, has none, or (maxout) cannot be run.
    """
    expose_activations(network)
    if calls := hidden_calls(network):
        raise ConfigError(
            f"activation {name!r} cannot be applied to {what}: it calls its activation in its code, in "
            f"{', '.join(calls)}. Leave `activation` out, or take another network, such as resnet18."
        )
    on_classes = _on_classes(network) if has_head else set()
    spots = [
        (parent, key, child)
        for parent in network.modules()
        for key, child in parent.named_children()
        if is_activation(child) and id(child) not in on_classes
    ]
    if not spots:
        raise ConfigError(f"activation {name!r} has no effect: {what} has no hidden activations. Leave it out.")
    seen = _channels_seen(network, what) if name == "maxout" else {}
    made: dict[int, nn.Module] = {}
    paths = {id(module): path for path, module in network.named_modules()}
    device = next(network.parameters()).device
    for parent, key, child in spots:
        if id(child) not in made:
            new = MaxoutActivation(*seen[paths[id(child)]]) if seen else ACTIVATIONS[name](_is_inplace(child))
            made[id(child)] = new.to(device)
        setattr(parent, key, made[id(child)])
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.inplace = False  # the backward pass of sigmoid and its like needs the output as it was


def _on_classes(network: nn.Module) -> set[int]:
    """Activations behind the last layer, if that is a convolution."""
    leaves = [
        module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear) or is_activation(module)
    ]
    behind = list(takewhile(is_activation, reversed(leaves)))
    is_convolution = len(behind) < len(leaves) and isinstance(leaves[-1 - len(behind)], nn.Conv2d)
    return {id(module) for module in behind} if is_convolution else set()


def _is_inplace(activation: Any) -> bool:
    return bool(getattr(activation, "inplace", False))


def _channels_seen(network: nn.Module, what: str) -> dict[str, tuple[set[int], set[int]]]:
    """Run a copy without data: by path of each activation, the widths of maps and of values that reach it."""
    probe = copy.deepcopy(network).to("meta").train()
    seen: dict[str, tuple[set[int], set[int]]] = {}
    after_linear = [False]

    def note_kind(module: nn.Module, *_: Any) -> None:
        after_linear[0] = isinstance(module, nn.Linear)

    def note_width(path: str) -> Callable[[nn.Module, Any], None]:
        def hook(_: nn.Module, inputs: Any) -> None:
            maps, values = seen[path]
            if inputs[0].ndim == 4 and not after_linear[0]:
                maps.add(inputs[0].shape[1])
            else:
                values.add(inputs[0].shape[-1])

        return hook

    for path, module in probe.named_modules():
        if is_activation(module):
            seen[path] = (set(), set())
            module.register_forward_pre_hook(note_width(path))
        elif isinstance(module, nn.Linear | nn.Conv2d):
            module.register_forward_hook(note_kind)
    errors = []
    for side in PROBE_SIDES:
        try:
            with torch.no_grad():
                probe(torch.zeros(2, 3, side, side, device="meta"))
        except (AssertionError, ConfigError, NotImplementedError, RuntimeError, ValueError) as error:
            errors.append(str(error).splitlines()[0])
        else:
            return seen
    raise ConfigError(f"activation 'maxout' cannot be applied to {what}: its layers' widths are unknown ({errors[0]}).")
