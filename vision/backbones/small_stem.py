"""Stems for images of 28 to 64 px: the first two halvings of the resolution are left out of a finished network."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torchvision.models import VGG, SwinTransformer, VisionTransformer

from foundation.errors import ConfigError
from vision.backbones.classics.alexnet import AlexNet2012
from vision.backbones.classics.lenet import LeNet5
from vision.backbones.classics.preact_resnet import PreActResNet
from vision.backbones.classics.zfnet import ZFNet

PROBE_SIDE = 128
"""Side of the image with which the halvings are found, in pixels."""
STEM_STRIDE = 4
"""What the stems of ImageNet networks divide the resolution by, and small ones do not."""
VIT_PATCH = 4
SWIN_PATCH = 2
VGG_HIDDEN = 512
"""Liu & Deng 2015, "Very deep convolutional neural network based image classification using small training sample
size": a VGG for 32 px has full layers of 512."""

NATIVELY_SMALL = (LeNet5, PreActResNet, AlexNet2012, ZFNet)
"""Made for small images, or built for them already."""
WITHOUT = {"Inception3", "InceptionV4", "InceptionResnetV2", "MaxVit"}
"""Classes whose convolutions without padding, or windows, need large images."""


@dataclass(frozen=True, slots=True)
class Halving:
    """A layer of stride above 1."""

    path: str
    module: nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d
    side: int
    """Rows of its input."""


def use_small_stem(network: nn.Module, image_size: tuple[int, int] | None) -> bool:
    """Rebuild the stem of a network in place, if its family has one for small images.

    Convolutional networks: the layers that make strides 2 and 4 get stride 1, a first kernel wider than 3 becomes 3x3,
    and a pooling of the stem is left out, so that 32 px end in 4x4 cells instead of 1. VGG: its pools stay, and the
    full layers read the averaged last map. ViT of torchvision: patches of 4; Swin: of 2.

    Args:
        image_size: (height, width), for ViT.

    Returns:
        False where the family has none; then nothing was changed.

    Raises:
        ConfigError: if the images cannot be cut into ViT's patches.
    """
    if isinstance(network, NATIVELY_SMALL):
        return True
    if WITHOUT & {parent.__name__ for parent in type(network).__mro__}:
        return False
    if isinstance(network, VGG):
        _shrink_vgg(network)
    elif isinstance(network, VisionTransformer):
        return _shrink_vit(network, image_size)
    elif isinstance(network, SwinTransformer):
        _replace(network, "features.0.0", _patches(network.get_submodule("features.0.0"), SWIN_PATCH))
    else:
        return _shrink_convolutional(network)
    return True


def _shrink_vgg(network: VGG) -> None:
    network.avgpool = nn.AdaptiveAvgPool2d(1)
    old = network.classifier
    widths = [512, VGG_HIDDEN, VGG_HIDDEN, old[-1].out_features]
    for index, fan_in, fan_out in zip((0, 3, 6), widths[:-1], widths[1:], strict=True):
        old[index] = nn.Linear(fan_in, fan_out)
        nn.init.normal_(old[index].weight, 0, 0.01)  # as torchvision's
        nn.init.zeros_(old[index].bias)


def _shrink_vit(network: VisionTransformer, image_size: tuple[int, int] | None) -> bool:
    if image_size is None:
        return False
    if image_size[0] != image_size[1] or image_size[0] % VIT_PATCH:
        raise ConfigError(
            f"the vision transformers of torchvision cut small images into patches of {VIT_PATCH}x{VIT_PATCH}, and "
            f"{image_size[0]}x{image_size[1]} is not square or no multiple of it; change image_size."
        )
    network.patch_size, network.image_size = VIT_PATCH, image_size[0]
    network.conv_proj = _patches(network.conv_proj, VIT_PATCH)
    network.seq_length = (image_size[0] // VIT_PATCH) ** 2 + 1
    position = torch.empty(1, network.seq_length, network.hidden_dim).normal_(std=0.02)
    network.encoder.pos_embedding = nn.Parameter(position)
    return True


def _patches(old: Any, side: int) -> nn.Conv2d:
    new = nn.Conv2d(old.in_channels, old.out_channels, kernel_size=side, stride=side)
    nn.init.trunc_normal_(new.weight, std=(old.in_channels * side**2) ** -0.5)
    assert new.bias is not None
    nn.init.zeros_(new.bias)
    return new


def _shrink_convolutional(network: nn.Module) -> bool:
    """Take the strides out of the layers that make strides 2 and 4, all branches of a block together."""
    halvings = _halvings(network)
    if not halvings or halvings[0].side != PROBE_SIDE or not isinstance(halvings[0].module, nn.Conv2d):
        return False
    stem = halvings[0]
    for side in sorted({halving.side for halving in halvings}, reverse=True):
        if PROBE_SIDE / side > STEM_STRIDE / 2 * 1.25:  # convolutions without padding lose a few rows
            break
        together = [halving for halving in halvings if halving.side == side]
        for halving in together:
            if halving is stem:
                _replace(network, halving.path, _stem_convolution(stem.module))
            elif isinstance(halving.module, nn.Conv2d):
                halving.module.stride = (1, 1)
            elif len(together) == 1:
                _replace(network, halving.path, nn.Identity())
            else:
                halving.module.stride = 1
    return True


def _stem_convolution(old: Any) -> nn.Module:
    """The same convolution with stride 1, and 3x3 if it is larger or has the shape of patches."""
    if old.kernel_size == (3, 3):
        old.stride = (1, 1)
        return old
    new = nn.Conv2d(old.in_channels, old.out_channels, 3, padding=1, groups=old.groups, bias=old.bias is not None)
    nn.init.kaiming_normal_(new.weight, mode="fan_out", nonlinearity="relu")
    return new


def _halvings(network: nn.Module) -> list[Halving]:
    """Layers with strides in the order in which they run; empty if the network does not take the probing image."""
    found: list[Halving] = []

    def record(path: str, module: Any) -> Any:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            found.append(Halving(path, module, inputs[0].shape[-2]))

        return module.register_forward_pre_hook(hook)

    handles = [
        record(path, module)
        for path, module in network.named_modules()
        if isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d) and _stride(module) > 1
    ]
    was_training = network.training
    try:
        shape_check(network.eval(), (PROBE_SIDE, PROBE_SIDE))
    except (AssertionError, RuntimeError, ValueError, ConfigError):
        return []
    finally:
        network.train(was_training)
        for handle in handles:
            handle.remove()
    return found


def shape_check(network: nn.Module, image_size: tuple[int, int]) -> None:
    """Run the network on shapes only, without computing a number; raises what the network raises."""
    tensors = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    shapes = {name: torch.empty_like(tensor, device="meta") for name, tensor in tensors.items()}
    with torch.no_grad():
        functional_call(network, shapes, (torch.empty(1, 3, *image_size, device="meta"),))


def _stride(module: Any) -> int:
    return module.stride[0] if isinstance(module.stride, tuple) else module.stride


def _replace(network: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(network.get_submodule(parent), name, module)
