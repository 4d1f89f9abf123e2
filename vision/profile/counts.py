"""Multiply-accumulates of one operation. Sums by layer are in `layers.py`."""

from collections.abc import Callable
from typing import Any

from torch.utils.flop_counter import flop_registry

from vision.profile.recorder import Operation

FLOPS_PER_MAC = 2


def macs_of(operation: Operation) -> int:
    """Count the multiply-accumulates of an operation.

    Convolutions, matrix products and attention count, by the formulas of `torch.utils.flop_counter` (which tells FLOPs
    = 2 x MACs); a bias, normalisation, activations, pooling and additions do not: published figures leave them out too.

    Args:
        operation: of any kind; its tensors may be of the `meta` device.

    Returns:
        MACs; 0 for an operation without products.
    """
    if operation.name in OWN_FORMULAS:
        return OWN_FORMULAS[operation.name](operation)
    formula = flop_registry.get(operation.function.overloadpacket)
    if formula is None:
        return 0
    flops = formula(*operation.args, **operation.kwargs, out_val=operation.result)
    return int(flops) // FLOPS_PER_MAC


def _deformable_convolution(operation: Operation) -> int:
    """One product per output and weight of its filter; the four-point interpolation is left out."""
    weight, result = operation.args[1], operation.result
    return int(result.numel() * weight[0].numel())


def _lstm(operation: Operation) -> int:
    """Both weight matrices of a layer and direction meet every step of every sequence."""
    weights: list[Any] = operation.args[2]
    steps: int = operation.args[0].shape[:-1].numel()
    return steps * sum(weight.numel() for weight in weights if weight.ndim == 2)


OWN_FORMULAS: dict[str, Callable[[Operation], int]] = {
    "torchvision.deform_conv2d": _deformable_convolution,
    "aten.lstm": _lstm,
    "aten.mkldnn_rnn_layer": lambda operation: (
        operation.args[0].shape[:-1].numel() * sum(weight.numel() for weight in operation.args[1:3])
    ),
}
"""What PyTorch's counter takes for nothing."""
