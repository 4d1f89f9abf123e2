"""Initial weights by name."""

import math
from collections.abc import Callable

from torch import Tensor, nn

from vision.layers.activations import is_activation

TRUNCATED_STD = 0.02
"""Of the vision transformers (Dosovitskiy et al. 2020, arXiv:2010.11929, and their kin), cut at two deviations."""
NORMAL_STD = 0.01
"""Krizhevsky et al. 2012, section 5."""
RELU_GAIN = math.sqrt(2.0)
GAINS = {
    # Glorot & Bengio 2010 and He et al. 2015, arXiv:1502.01852, section 2.2. Those not named count as ReLU.
    "sigmoid": 1.0,
    "tanh": 5.0 / 3.0,
    "leakyrelu": math.sqrt(2.0 / (1 + 0.01**2)),
    "prelu": math.sqrt(2.0 / (1 + 0.25**2)),
}
"""What keeps the variance from layer to layer, by class of the activation."""


def init_weights(network: nn.Module, how: str, activation: str | None = None) -> None:
    """Draw the weights of all convolutions and linear layers anew and set their biases to 0, in place.

    xavier: uniform, variance 2 / (fan in + fan out). kaiming: normal, variance gain² / fan in. orthogonal: times the
    gain. trunc_normal: deviation 0.02. normal: deviation 0.01. Norms keep their start.

    Args:
        activation: the one that will be exchanged in; None = the network's own.
    """
    gain = GAINS.get((activation or own_activation(network)).replace("_", ""), RELU_GAIN)
    fill: dict[str, Callable[[Tensor], object]] = {
        "xavier": nn.init.xavier_uniform_,
        "kaiming": lambda weight: _kaiming(weight, gain),
        "orthogonal": lambda weight: nn.init.orthogonal_(weight, gain),
        "trunc_normal": lambda weight: nn.init.trunc_normal_(
            weight, std=TRUNCATED_STD, a=-2 * TRUNCATED_STD, b=2 * TRUNCATED_STD
        ),
        "normal": lambda weight: nn.init.normal_(weight, std=NORMAL_STD),
    }
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            fill[how](module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _kaiming(weight: Tensor, gain: float) -> Tensor:
    return nn.init.normal_(weight, std=gain / math.sqrt(weight[0].numel()))


def own_activation(network: nn.Module) -> str:
    """Class of the network's first hidden activation, in small letters; `relu` where it has none."""
    return next((type(module).__name__.lower() for module in network.modules() if is_activation(module)), "relu")
