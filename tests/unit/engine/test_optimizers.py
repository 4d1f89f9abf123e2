"""Every optimizer by name steps like torch's own, and weight decay spares norms and biases."""

import pytest
import torch

from engine.optimizers import OPTIMIZERS, build_optimizer
from engine.settings import OptimizerSettings


def _model() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 1))


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_each_optimizer_lowers_the_loss(name: str) -> None:
    model = _model()
    optimizer = build_optimizer(model, OptimizerSettings.model_validate({"name": name, "lr": 0.01}))
    x = torch.randn(16, 3)
    losses = []
    for _ in range(40):
        loss = (model(x)[:, 0] - x.sum(1)).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_weight_decay_spares_norms_and_biases() -> None:
    model = _model()
    optimizer = build_optimizer(model, OptimizerSettings(weight_decay=0.1))
    decay_of = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert {name: decay_of[id(p)] for name, p in model.named_parameters()} == {
        "0.weight": 0.1,
        "0.bias": 0.0,
        "1.weight": 0.0,
        "1.bias": 0.0,
        "2.weight": 0.1,
        "2.bias": 0.0,
    }


def test_frozen_parameters_are_left_out() -> None:
    model = _model()
    model[0].requires_grad_(False)  # type: ignore[index]
    optimizer = build_optimizer(model, OptimizerSettings())
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 4
