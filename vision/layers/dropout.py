"""Kinds of dropout that torch has not, and where each of them belongs in a finished network."""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.ops import DropBlock2d, StochasticDepth
from torchvision.ops.drop_block import drop_block2d

from foundation.errors import ConfigError
from vision.layers.activations import is_activation
from vision.layers.follow import follow, precede
from vision.layers.functional import expose_activations
from vision.layers.residual import is_gate, residual_branches
from vision.layers.settings import DropBlockSettings, DropoutSettings


class VanillaDropout(nn.Module):
    """Dropout as first published: values are dropped in training and scaled by 1 - rate in evaluation.

    Source: Srivastava et al. 2014, JMLR 15, section 4; torch's own scales by 1 / (1 - rate) in training instead.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, values: Tensor) -> Tensor:
        """Drop or scale values of any shape."""
        if not self.training:
            return values * (1.0 - self.rate)
        return values * torch.empty_like(values).bernoulli_(1.0 - self.rate)

    def extra_repr(self) -> str:
        return f"rate={self.rate}"


class DropBlock(DropBlock2d):
    """torchvision's, which refuses even sides, with the largest odd side that the map has room for."""

    def forward(self, input: Tensor) -> Tensor:
        """Drop squares of (B, C, H, W)."""
        side = min(self.block_size, *input.shape[-2:])
        return drop_block2d(input, self.p, side - 1 + side % 2, training=self.training)


def apply_dropout(network: nn.Module, settings: DropoutSettings | DropBlockSettings, what: str, has_head: bool) -> None:
    """Give the network this kind of dropout, in place; see `DropoutSettings`.

    Args:
        has_head: False for a trunk, which has no classifier to drop the inputs of.

    Raises:
        ConfigError: if the network has no place for it, or the rate is 0 and there is nothing to switch off.
    """
    if settings.name in ("inverted", "vanilla"):
        _before_linear(network, settings, what, has_head)
    elif settings.name == "stochastic_depth":
        _on_branches(network, settings, what)
    else:
        _on_maps(network, settings, what)


def _before_linear(network: nn.Module, settings: Any, what: str, has_head: bool) -> None:
    """Exchange the network's own dropout layers; where it has none, drop inputs of the layer that gives the classes."""
    own = [
        (parent, name)
        for parent in network.modules()
        for name, child in parent.named_children()
        if isinstance(child, nn.Dropout) and child.p > 0
    ]
    for parent, name in own:
        setattr(parent, name, _layer(settings))
    if own:
        return
    weighted = [module for module in network.modules() if _is_weighted(module)]
    if not (has_head and weighted):
        raise ConfigError(
            f"dropout {settings.name!r} has no place: {what} has no classifier here. Take stochastic_depth, spatial or "
            "dropblock, or leave it out."
        )
    _refuse_zero(settings, what)
    precede(weighted[-1], "dropout", _layer(settings))


def _on_branches(network: nn.Module, settings: Any, what: str) -> None:
    """Drop branches, with rates that rise linearly to the last block's. Huang et al. 2016, arXiv:1603.09382, eq. 4."""
    branches = residual_branches(network)
    if not branches:
        raise ConfigError(f"dropout 'stochastic_depth' has no place: {what} has no residual blocks. Take another kind.")
    for index, branch in enumerate(branches, start=1):
        rate = settings.rate * index / len(branches)
        for name in branch.places:
            setattr(branch.block, name, StochasticDepth(rate, "row"))
        if branch.end is not None:
            follow(branch.end, "dropout", StochasticDepth(rate, "row"))


def _on_maps(network: nn.Module, settings: Any, what: str) -> None:
    """Drop after those activations of convolutions that lie in the deeper half, counted in convolutions."""
    _refuse_zero(settings, what)
    expose_activations(network)
    leaves = [module for module in network.modules() if _is_weighted(module) or is_activation(module)]
    num_convs = sum(isinstance(leaf, nn.Conv2d) for leaf in leaves)
    gates = {id(child) for parent in network.modules() if is_gate(parent) for child in parent.modules()}
    places: list[nn.Module] = []
    passed = 0
    for before, leaf in pairwise([nn.Identity(), *leaves]):
        passed += isinstance(leaf, nn.Conv2d)
        is_after_linear = isinstance(before, nn.Linear)
        if is_activation(leaf) and 2 * passed >= num_convs > 0 and not is_after_linear and id(leaf) not in gates:
            places.append(leaf)
    if not places:
        raise ConfigError(
            f"dropout {settings.name!r} has no place: {what} has no activations after its convolutions. Take "
            "stochastic_depth or inverted."
        )
    for place in places:
        follow(place, "dropout", _layer(settings))


def _layer(settings: Any) -> nn.Module:
    if settings.name == "dropblock":
        return DropBlock(settings.rate, settings.block_size)
    return {"inverted": nn.Dropout, "vanilla": VanillaDropout, "spatial": nn.Dropout2d}[settings.name](settings.rate)


def _is_weighted(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d | nn.Linear)


def _refuse_zero(settings: Any, what: str) -> None:
    if settings.rate == 0:
        raise ConfigError(
            f"dropout {settings.name!r} with rate 0 has no effect: {what} has none of its own to switch off."
        )
