"""Put spatial pyramid pooling in the place of a network's last pooling layer."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized, remove_parametrizations

from foundation.errors import ConfigError
from vision.layers.pooling import SpatialPyramidPool

POOLING = ("AdaptiveAvgPool2d", "AdaptiveMaxPool2d", "SelectAdaptivePool2d")
"""Class names of torch's and timm's pooling of whole feature maps."""


def use_spatial_pyramid(
    network: nn.Module, levels: Sequence[int], image_size: tuple[int, int], what: str
) -> tuple[int, list[nn.Linear]]:
    """Exchange the last pooling layer of a network without head, in place; a linear layer behind it is made anew.

    Args:
        network: normalised images (B, 3, H, W) -> embeddings; see `split_head`.
        levels: rows and columns of each grid.
        image_size: (height, width) it is used with.
        what: the network in the user's words.

    Returns:
        The size of its embeddings from now on, and the layers made anew.

    Raises:
        ConfigError: if it has no such layer, or cannot do with another one.
    """
    path = _last_called(network, image_size)
    if path is None or str(getattr(network.get_submodule(path), "input_fmt", "NCHW")) == "NHWC":
        raise ConfigError(
            f"model.head spp: {what} has no pooling layer for feature maps that could be exchanged; leave `head` "
            "out, or take another network, such as resnet18 or vgg16."
        )
    parent, _, name = path.rpartition(".")
    setattr(network.get_submodule(parent), name, SpatialPyramidPool(levels))
    try:
        return _fit_linear_layers(network, image_size)
    except RuntimeError as error:
        raise ConfigError(
            f"model.head spp: what follows the pooling layer of {what} takes no longer vectors ({error}); leave `head` "
            "out, or take another network, such as resnet18 or vgg16."
        ) from error


def _last_called(network: nn.Module, image_size: tuple[int, int]) -> str | None:
    """Path of the pooling layer that runs last."""
    called: list[str] = []

    def record(path: str) -> Callable[[nn.Module, Any], None]:
        return lambda *_: called.append(path)

    handles = [
        module.register_forward_pre_hook(record(path))
        for path, module in network.named_modules()
        if type(module).__name__ in POOLING
    ]
    _run(network, image_size)
    for handle in handles:
        handle.remove()
    return called[-1] if called else None


def _fit_linear_layers(network: nn.Module, image_size: tuple[int, int]) -> tuple[int, list[nn.Linear]]:
    """Make linear layers anew whose input has another size now; return the size of the output, and these layers."""
    made: list[nn.Linear] = []

    def fit(linear: Any, inputs: Any) -> None:
        size = inputs[0].shape[-1]
        if size != linear.in_features:
            _resize(linear, size)
            made.append(linear)

    handles = [module.register_forward_pre_hook(fit) for module in network.modules() if isinstance(module, nn.Linear)]
    try:
        return _run(network, image_size).shape[1], made
    finally:
        for handle in handles:
            handle.remove()


def _resize(linear: nn.Linear, size: int) -> None:
    """Give a layer as many inputs, and new weights; it stays the same object, and loses a weight normalisation."""
    if is_parametrized(linear, "weight"):
        remove_parametrizations(linear, "weight")
    linear.in_features = size
    linear.weight = nn.Parameter(linear.weight.new_empty(linear.out_features, size))
    linear.reset_parameters()


def _run(network: nn.Module, image_size: tuple[int, int]) -> torch.Tensor:
    was_training = network.training
    try:
        with torch.no_grad():
            output: torch.Tensor = network.eval()(torch.zeros(1, 3, *image_size))
        return output
    finally:
        network.train(was_training)
