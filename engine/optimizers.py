"""Optimizers by name, and the parameter groups they get."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from engine.settings import OptimizerSettings

ParamGroups = list[dict[str, Any]]


def _sgd(groups: ParamGroups, settings: OptimizerSettings, fused: bool) -> torch.optim.Optimizer:
    return torch.optim.SGD(groups, lr=settings.lr, momentum=settings.momentum, nesterov=settings.nesterov, fused=fused)


def _adam(groups: ParamGroups, settings: OptimizerSettings, fused: bool) -> torch.optim.Optimizer:
    return torch.optim.Adam(groups, lr=settings.lr, betas=settings.betas, fused=fused)


def _adamw(groups: ParamGroups, settings: OptimizerSettings, fused: bool) -> torch.optim.Optimizer:
    return torch.optim.AdamW(groups, lr=settings.lr, betas=settings.betas, fused=fused)


def _nadam(groups: ParamGroups, settings: OptimizerSettings, fused: bool) -> torch.optim.Optimizer:  # noqa: ARG001
    return torch.optim.NAdam(groups, lr=settings.lr, betas=settings.betas, foreach=True)


def _rmsprop(groups: ParamGroups, settings: OptimizerSettings, fused: bool) -> torch.optim.Optimizer:  # noqa: ARG001
    return torch.optim.RMSprop(groups, lr=settings.lr, momentum=settings.momentum, foreach=True)


def _adagrad(groups: ParamGroups, settings: OptimizerSettings, fused: bool) -> torch.optim.Optimizer:
    return torch.optim.Adagrad(groups, lr=settings.lr, fused=fused)


OPTIMIZERS: dict[str, Callable[[ParamGroups, OptimizerSettings, bool], torch.optim.Optimizer]] = {
    "sgd": _sgd,
    "adam": _adam,
    "adamw": _adamw,
    "nadam": _nadam,
    "rmsprop": _rmsprop,
    "adagrad": _adagrad,
}


def parameter_groups(model: nn.Module, settings: OptimizerSettings) -> ParamGroups:
    """Trainable parameters in two groups: with weight decay, and (norms, biases, other vectors) without."""
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for parameter in model.parameters():
        if parameter.requires_grad:
            is_vector = parameter.ndim <= 1
            (free if is_vector and settings.no_decay_on_norm_and_bias else decayed).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def build_optimizer(model: nn.Module, settings: OptimizerSettings) -> torch.optim.Optimizer:
    """Build the optimizer over the model's trainable parameters, fused where torch offers it."""
    is_dense_float = all(p.is_floating_point() for p in model.parameters())
    return OPTIMIZERS[settings.name](parameter_groups(model, settings), settings, is_dense_float)
