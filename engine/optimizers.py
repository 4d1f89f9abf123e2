"""Optimizers by name, and the parameter groups they get."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import nn

from engine.adabound import AdaBound
from engine.optimizer_settings import OptimizerBase, OptimizerSettings

ParamGroups = list[dict[str, Any]]


def _lars(groups: ParamGroups, trust_coefficient: float, **options: Any) -> torch.optim.Optimizer:
    from timm.optim.lars import Lars  # slow: imports timm

    return Lars(_adapting(groups), trust_coeff=trust_coefficient, **options)


def _lamb(groups: ParamGroups, **options: Any) -> torch.optim.Optimizer:
    from timm.optim.lamb import Lamb  # slow: imports timm

    return Lamb(_adapting(groups), max_grad_norm=None, decoupled_decay=False, **options)


def _lion(groups: ParamGroups, **options: Any) -> torch.optim.Optimizer:
    from timm.optim.lion import Lion  # slow: imports timm

    return Lion(groups, **options)


def _adapting(groups: ParamGroups) -> ParamGroups:
    """Give every matrix and kernel its own rate; timm would do so only for those with weight decay."""
    return [{**group, "always_adapt": any(p.ndim > 1 for p in group["params"])} for group in groups]


OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "adagrad": torch.optim.Adagrad,
    "adadelta": torch.optim.Adadelta,
    "rmsprop": torch.optim.RMSprop,
    "adam": torch.optim.Adam,
    "amsgrad": partial(torch.optim.Adam, amsgrad=True),
    "adamw": torch.optim.AdamW,
    "adamax": torch.optim.Adamax,
    "nadam": torch.optim.NAdam,
    "adabound": AdaBound,
    "lars": _lars,
    "lamb": _lamb,
    "lion": _lion,
}
"""Called with groups, `lr` and the settings' own arguments, which bear torch's names."""
FUSED = ("sgd", "adagrad", "adam", "amsgrad", "adamw")
"""Those of which torch has one kernel for everything; the others work on lists of tensors."""


def parameter_groups(
    model: nn.Module, settings: OptimizerBase, rate_factors: Mapping[int, float] | None = None
) -> ParamGroups:
    """Trainable parameters by learning rate, and of each rate those with weight decay before those without.

    Without decay are norms, biases and other vectors, unless the settings say otherwise.

    Args:
        rate_factors: factor on the learning rate by a parameter's `id`; 1 for those that are not named.
    """
    members: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for parameter in model.parameters():
        if parameter.requires_grad:
            factor = (rate_factors or {}).get(id(parameter), 1.0)
            is_free = parameter.ndim <= 1 and settings.no_decay_on_norm_and_bias
            members.setdefault((factor, False), [])
            members.setdefault((factor, True), [])
            members[factor, is_free].append(parameter)
    return [
        {
            "params": parameters,
            "lr": settings.lr * factor,
            "initial_lr": settings.lr * factor,
            "weight_decay": 0.0 if is_free else settings.weight_decay,
            "l1": 0.0 if is_free else settings.l1,
        }
        for (factor, is_free), parameters in members.items()
        if parameters
    ]


def build_optimizer(
    model: nn.Module, settings: OptimizerSettings, rate_factors: Mapping[int, float] | None = None
) -> torch.optim.Optimizer:
    """Build the optimizer over the model's trainable parameters, in its fastest form.

    Args:
        rate_factors: as in `parameter_groups`.
    """
    own = settings.model_dump(exclude={"name", *OptimizerBase.model_fields} - {"lr"})
    if settings.name in FUSED:
        own["fused"] = all(p.is_floating_point() for p in model.parameters())
    elif settings.name != "adabound":
        own["foreach"] = True
    return OPTIMIZERS[settings.name](parameter_groups(model, settings, rate_factors), **own)


@torch.no_grad()
def add_l1(optimizer: torch.optim.Optimizer) -> None:
    """Add the L1 term's subgradient, l1 x sign(weight), to the gradients; a weight of 0 is left where it is."""
    for group in optimizer.param_groups:
        weights = [weight for weight in group["params"] if weight.grad is not None]
        if group["l1"] and weights:
            gradients = [weight.grad for weight in weights]
            torch._foreach_add_(gradients, torch._foreach_sign(weights), alpha=group["l1"])
