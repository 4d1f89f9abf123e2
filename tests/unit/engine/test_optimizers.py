"""Every optimizer by name steps as its paper says, with the arguments of its own settings; groups and L1 as asked."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import pytorch_optimizer
import torch
from pydantic import TypeAdapter, ValidationError

from engine.adabound import AdaBound
from engine.optimizer_settings import OptimizerSettings
from engine.optimizers import OPTIMIZERS, add_l1, build_optimizer

SETTINGS: TypeAdapter = TypeAdapter(OptimizerSettings)
STEPS = 6


def _settings(name: str = "adamw", **options: Any) -> Any:
    return SETTINGS.validate_python({"name": name, **options})


def _model() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 1))


def _gradients(shape: tuple[int, ...]) -> Iterator[torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    for _ in range(STEPS):
        yield torch.randn(shape, generator=generator, dtype=torch.float64)


def _walk(make: Callable[[list[torch.nn.Parameter]], torch.optim.Optimizer]) -> torch.Tensor:
    """Where a 3 x 4 matrix stands after a few given gradients."""
    weight = torch.nn.Parameter(torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(3, 4))
    optimizer = make([weight])
    for gradient in _gradients((3, 4)):
        weight.grad = gradient.clone()
        optimizer.step()
    return weight.detach()


def _ours(**options: Any) -> torch.Tensor:
    def make(weights: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
        return build_optimizer(torch.nn.ParameterList(weights), _settings(**options))

    return _walk(make)


def test_the_table_knows_every_name_of_the_settings() -> None:
    names = {schema["properties"]["name"]["const"] for schema in SETTINGS.json_schema()["$defs"].values()}
    assert names == set(OPTIMIZERS)


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_each_optimizer_lowers_the_loss(name: str) -> None:
    model = _model()
    optimizer = build_optimizer(model, _settings(name))
    x = torch.randn(16, 3)
    losses = []
    for _ in range(40):
        loss = (model(x)[:, 0] - x.sum(1)).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_without_a_name_it_is_adamw() -> None:
    assert SETTINGS.validate_python({"lr": 0.5}) == _settings("adamw", lr=0.5)


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({"name": "sgd", "betas": [0.9, 0.99]}, id="an argument of another optimizer"),
        pytest.param({"name": "sgd", "momentum": 0.0, "nesterov": True}, id="nesterov without momentum"),
        pytest.param({"name": "adam", "betas": [0.9, 1.0]}, id="an average that never moves"),
    ],
)
def test_arguments_without_a_meaning_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SETTINGS.validate_python(wrong)


# One step of each rule on numpy arrays: (weight, gradient, memory, 1-based step) -> new weight.
Rule = Callable[[np.ndarray, np.ndarray, dict[str, Any], int], np.ndarray]


def _momentum(nesterov: bool) -> Rule:
    def rule(w: np.ndarray, g: np.ndarray, m: dict[str, Any], t: int) -> np.ndarray:
        g = g + 0.1 * w
        m["v"] = 0.8 * m["v"] + g if t > 1 else g
        return w - 0.05 * (g + 0.8 * m["v"] if nesterov else m["v"])

    return rule


def _adagrad(w: np.ndarray, g: np.ndarray, m: dict[str, Any], t: int) -> np.ndarray:
    m["s"] = m.get("s", 0) + g**2
    return w - 0.05 / (1 + 0.5 * (t - 1)) * g / (np.sqrt(m["s"]) + 1e-10)


def _adadelta(w: np.ndarray, g: np.ndarray, m: dict[str, Any], t: int) -> np.ndarray:
    m["s"] = 0.8 * m.get("s", 0) + 0.2 * g**2
    delta = np.sqrt(m.get("d", 0) + 1e-6) / np.sqrt(m["s"] + 1e-6) * g
    m["d"] = 0.8 * m.get("d", 0) + 0.2 * delta**2
    return w - 0.05 * delta


def _rmsprop(w: np.ndarray, g: np.ndarray, m: dict[str, Any], t: int) -> np.ndarray:
    m["s"], m["mean"] = 0.9 * m.get("s", 0) + 0.1 * g**2, 0.9 * m.get("mean", 0) + 0.1 * g
    m["v"] = 0.8 * m.get("v", 0) + g / (np.sqrt(m["s"] - m["mean"] ** 2) + 1e-8)
    return w - 0.05 * m["v"]


def _adam(decay: str = "", largest: bool = False) -> Rule:
    def rule(w: np.ndarray, g: np.ndarray, m: dict[str, Any], t: int) -> np.ndarray:
        g = g + 0.1 * w if decay == "coupled" else g
        w = w * (1 - 0.05 * 0.1) if decay == "decoupled" else w
        m["a"], m["s"] = 0.8 * m.get("a", 0) + 0.2 * g, 0.95 * m.get("s", 0) + 0.05 * g**2
        m["most"] = np.maximum(m.get("most", 0), m["s"])
        square = m["most"] if largest else m["s"]
        return w - 0.05 * m["a"] / (1 - 0.8**t) / (np.sqrt(square / (1 - 0.95**t)) + 1e-8)

    return rule


def _adamax(w: np.ndarray, g: np.ndarray, m: dict[str, Any], t: int) -> np.ndarray:
    m["a"], m["u"] = 0.8 * m.get("a", 0) + 0.2 * g, np.maximum(0.95 * m.get("u", 0), np.abs(g) + 1e-8)
    return w - 0.05 / (1 - 0.8**t) * m["a"] / m["u"]


def _nadam(w: np.ndarray, g: np.ndarray, m: dict[str, Any], t: int) -> np.ndarray:
    now, after = (0.8 * (1 - 0.5 * 0.96 ** (i * 0.01)) for i in (t, t + 1))
    m["product"] = m.get("product", 1.0) * now
    m["a"], m["s"] = 0.8 * m.get("a", 0) + 0.2 * g, 0.95 * m.get("s", 0) + 0.05 * g**2
    average = after * m["a"] / (1 - m["product"] * after) + (1 - now) * g / (1 - m["product"])
    return w - 0.05 * average / (np.sqrt(m["s"] / (1 - 0.95**t)) + 1e-8)


BETAS = {"lr": 0.05, "betas": [0.8, 0.95]}


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        pytest.param({"name": "sgd", "lr": 0.05, "momentum": 0.0}, lambda w, g, m, t: w - 0.05 * g, id="plain sgd"),
        pytest.param(
            {"name": "sgd", "lr": 0.05, "momentum": 0.8, "weight_decay": 0.1}, _momentum(False), id="momentum"
        ),
        pytest.param(
            {"name": "sgd", "lr": 0.05, "momentum": 0.8, "nesterov": True, "weight_decay": 0.1},
            _momentum(True),
            id="nesterov",
        ),
        pytest.param({"name": "adagrad", "lr": 0.05, "lr_decay": 0.5}, _adagrad, id="adagrad"),
        pytest.param({"name": "adadelta", "lr": 0.05, "rho": 0.8}, _adadelta, id="adadelta"),
        pytest.param(
            {"name": "rmsprop", "lr": 0.05, "alpha": 0.9, "momentum": 0.8, "centered": True}, _rmsprop, id="rmsprop"
        ),
        pytest.param({"name": "adam", **BETAS, "weight_decay": 0.1}, _adam("coupled"), id="adam"),
        pytest.param({"name": "adam", **BETAS, "amsgrad": True}, _adam(largest=True), id="adam with amsgrad"),
        pytest.param({"name": "amsgrad", **BETAS}, _adam(largest=True), id="amsgrad"),
        pytest.param({"name": "adamw", **BETAS, "weight_decay": 0.1}, _adam("decoupled"), id="adamw"),
        pytest.param({"name": "adamax", **BETAS}, _adamax, id="adamax"),
        pytest.param({"name": "nadam", **BETAS, "momentum_decay": 0.01}, _nadam, id="nadam"),
    ],
)
def test_steps_are_those_of_the_formula(options: dict[str, Any], rule: Rule) -> None:
    weight, memory = np.linspace(-1, 1, 12).reshape(3, 4), {}
    for t, gradient in enumerate(_gradients((3, 4)), start=1):
        weight = rule(weight, gradient.numpy(), memory, t)
    np.testing.assert_allclose(_ours(**options).numpy(), weight, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("amsbound", [False, True])
@pytest.mark.parametrize("gamma", [1e-3, 5.0])
def test_adabound_equals_another_implementation(amsbound: bool, gamma: float) -> None:
    options = {"lr": 0.05, "betas": (0.8, 0.95), "final_lr": 0.2, "gamma": gamma, "weight_decay": 0.1}
    theirs = _walk(lambda w: pytorch_optimizer.AdaBound(w, **options, weight_decouple=False, ams_bound=amsbound))
    ours = _ours(name="adabound", **options, amsbound=amsbound)
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


def test_adabound_is_sgd_once_the_bounds_have_met() -> None:
    # The bounds at gamma 1e12 are final_lr itself: a step of final_lr along the average of the gradients.
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = AdaBound([weight], lr=0.01, betas=(0.0, 0.9), final_lr=0.1, gamma=1e12)
    weight.grad = torch.tensor([1.0, -2.0, 4.0])
    optimizer.step()
    torch.testing.assert_close(weight.detach(), torch.tensor([0.9, 1.2, 0.6]))


def test_adabound_counts_the_steps_of_each_parameter() -> None:
    early, late, alone = (torch.nn.Parameter(torch.ones(2)) for _ in range(3))
    both, single = AdaBound([early, late], lr=0.1), AdaBound([alone], lr=0.1)
    early.grad = torch.ones(2)
    both.step()  # `late` rests
    late.grad, alone.grad = torch.full((2,), 3.0), torch.full((2,), 3.0)
    both.step()
    single.step()
    assert torch.equal(late, alone)
    assert both.state[early]["step"] == 2


def test_lion_equals_another_implementation() -> None:
    options = {"lr": 0.05, "betas": (0.8, 0.95), "weight_decay": 0.1}
    theirs = _walk(lambda w: pytorch_optimizer.Lion(w, **options))
    torch.testing.assert_close(_ours(name="lion", **options), theirs, rtol=1e-9, atol=1e-12)


def test_lars_steps_by_the_ratio_of_norms() -> None:
    # You et al. 2017, algorithm 1: local rate = trust |w| / (|g| + decay |w|).
    weight, velocity = np.linspace(-1, 1, 12).reshape(3, 4), np.zeros((3, 4))
    for gradient in _gradients((3, 4)):
        g, norm = gradient.numpy(), np.linalg.norm
        local = 0.02 * norm(weight) / (norm(g) + 0.1 * norm(weight))
        velocity = 0.8 * velocity + local * (g + 0.1 * weight)
        weight = weight - 0.5 * velocity
    ours = _ours(name="lars", lr=0.5, momentum=0.8, trust_coefficient=0.02, weight_decay=0.1)
    np.testing.assert_allclose(ours.numpy(), weight, rtol=1e-6)


def test_lamb_steps_by_the_ratio_of_norms() -> None:
    # You et al. 2020, algorithm 2: Adam's direction plus the decay, as long as the weights are.
    weight = np.linspace(-1, 1, 12).reshape(3, 4)
    average, square = np.zeros((3, 4)), np.zeros((3, 4))
    for t, gradient in enumerate(_gradients((3, 4)), start=1):
        g, norm = gradient.numpy(), np.linalg.norm
        average, square = 0.8 * average + 0.2 * g, 0.95 * square + 0.05 * g**2
        update = average / (1 - 0.8**t) / (np.sqrt(square / (1 - 0.95**t)) + 1e-6) + 0.1 * weight
        weight = weight - 0.05 * norm(weight) / norm(update) * update
    ours = _ours(name="lamb", **BETAS, weight_decay=0.1)
    np.testing.assert_allclose(ours.numpy(), weight, rtol=1e-6)


@pytest.mark.parametrize("name", ["lars", "lamb"])
def test_matrices_get_their_own_rate_without_weight_decay_too(name: str) -> None:
    def walk(scale: float) -> torch.Tensor:
        model = torch.nn.Linear(4, 3, bias=False)
        torch.nn.init.constant_(model.weight, 1.0)
        model.weight.grad = scale * torch.arange(1.0, 13.0).reshape(3, 4)
        build_optimizer(model, _settings(name)).step()
        return model.weight.detach()

    assert not torch.equal(walk(1.0), torch.ones(3, 4))
    torch.testing.assert_close(walk(1.0), walk(1000.0))


def _groups_by_name(model: torch.nn.Module, optimizer: torch.optim.Optimizer, key: str) -> dict[str, float]:
    value_of = {id(p): group[key] for group in optimizer.param_groups for p in group["params"]}
    return {name: value_of[id(p)] for name, p in model.named_parameters()}


@pytest.mark.parametrize("key", ["weight_decay", "l1"])
def test_decay_spares_norms_and_biases(key: str) -> None:
    model = _model()
    optimizer = build_optimizer(model, _settings(**{key: 0.1}))
    assert _groups_by_name(model, optimizer, key) == {
        "0.weight": 0.1,
        "0.bias": 0.0,
        "1.weight": 0.0,
        "1.bias": 0.0,
        "2.weight": 0.1,
        "2.bias": 0.0,
    }


def test_decay_touches_everything_when_asked() -> None:
    model = _model()
    optimizer = build_optimizer(model, _settings(weight_decay=0.1, no_decay_on_norm_and_bias=False))
    assert set(_groups_by_name(model, optimizer, "weight_decay").values()) == {0.1}


def test_rate_factors_make_groups_of_their_own() -> None:
    model = _model()
    factors = {id(p): 0.5 for p in model[0].parameters()}  # type: ignore[index]
    optimizer = build_optimizer(model, _settings(lr=0.2, weight_decay=0.1), factors)
    assert _groups_by_name(model, optimizer, "initial_lr") == {
        name: 0.1 if name.startswith("0.") else 0.2 for name, _ in model.named_parameters()
    }
    assert len(optimizer.param_groups) == 4


def test_frozen_parameters_are_left_out() -> None:
    model = _model()
    model[0].requires_grad_(False)  # type: ignore[index]
    optimizer = build_optimizer(model, _settings())
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 4


def test_l1_adds_the_sign_of_each_weight_to_its_gradient() -> None:
    model = torch.nn.Linear(3, 1)
    model.weight.data = torch.tensor([[2.0, -0.5, 0.0]])
    optimizer = build_optimizer(model, _settings("sgd", l1=0.25))
    model.weight.grad, model.bias.grad = torch.ones(1, 3), torch.ones(1)
    add_l1(optimizer)
    assert model.weight.grad.tolist() == [[1.25, 0.75, 1.0]]
    assert model.bias.grad.tolist() == [1.0]


def test_l1_finds_the_weights_that_soft_thresholding_would() -> None:
    # min over w of (w - 1)^2 / 2 + 0.4 |w| lies at 0.6, and for a target of 0.3 at 0.
    model = torch.nn.Linear(2, 1, bias=False)
    optimizer = build_optimizer(model, _settings("sgd", lr=0.01, momentum=0.0, l1=0.4))
    target = torch.tensor([[1.0, 0.3]])
    for _ in range(1500):
        model.weight.grad = (model.weight - target).detach()
        add_l1(optimizer)
        optimizer.step()
    assert model.weight[0, 0].item() == pytest.approx(0.6, abs=1e-3)
    assert math.fabs(model.weight[0, 1].item()) < 0.01
