"""Networks that call their activation in their code: known ones get it as a module, others are found out."""

import inspect
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.densenet import DenseNet
from torchvision.models.googlenet import BasicConv2d as GoogLeNetConv
from torchvision.models.googlenet import InceptionAux as GoogLeNetAux
from torchvision.models.inception import BasicConv2d as InceptionConv

ACTIVATION_CALLS = frozenset(
    ["relu", "relu_", "relu6", "gelu", "silu", "elu", "leaky_relu", "hardswish", "mish", "selu", "celu", "tanh"]
)
NAMESPACES = frozenset(["F", "functional", "torch"])


class ConvNormActivation(nn.Module):
    """torchvision's BasicConv2d with the activation as a module."""

    conv: nn.Module
    bn: nn.Module
    activation: nn.Module

    def forward(self, maps: Tensor) -> Tensor:
        return self.activation(self.bn(self.conv(maps)))


class AuxiliaryHead(nn.Module):
    """GoogLeNet's auxiliary classifier with the activation as a module."""

    conv: nn.Module
    fc1: nn.Module
    fc2: nn.Module
    dropout: nn.Module
    activation: nn.Module

    def forward(self, maps: Tensor) -> Tensor:
        pooled = torch.flatten(self.conv(functional.adaptive_avg_pool2d(maps, (4, 4))), 1)
        return self.fc2(self.dropout(self.activation(self.fc1(pooled))))


class ActivatedDenseNet(DenseNet):
    """torchvision's DenseNet with its last activation as a module."""

    def forward(self, images: Tensor) -> Tensor:
        features = functional.adaptive_avg_pool2d(self.activation(self.features(images)), (1, 1))
        return self.classifier(torch.flatten(features, 1))


WITH_MODULE: dict[type, type] = {
    GoogLeNetConv: ConvNormActivation,
    InceptionConv: ConvNormActivation,
    GoogLeNetAux: AuxiliaryHead,
    DenseNet: ActivatedDenseNet,
}


def expose_activations(network: nn.Module) -> None:
    """Turn the activations that known networks call in their code into modules, in place; nothing else changes."""
    for module in list(network.modules()):
        if type(module) in WITH_MODULE:
            module.__class__ = WITH_MODULE[type(module)]
            module.add_module("activation", nn.ReLU(inplace=True))


def hidden_calls(network: nn.Module) -> list[str]:
    """Classes of the network whose code calls an activation function that no module holds, each with the function."""
    found = set()
    for module in network.modules():
        kind: Any = type(module)
        if not kind.__module__.startswith(("torch.nn.", "timm.layers.activations")):
            found |= {f"{kind.__name__} ({call})" for call in _calls(kind) if not hasattr(module, call)}
    return sorted(found)


@cache
def _calls(kind: Any) -> frozenset[str]:
    calls: set[str] = set()
    for name in dir(kind):
        method = inspect.getattr_static(kind, name)
        if inspect.isfunction(method) and NAMESPACES & set(method.__code__.co_names):
            calls |= ACTIVATION_CALLS & set(method.__code__.co_names)
    return frozenset(calls)
