"""Learning-rate factors at hand-computed steps, and against torch's own schedulers."""

from typing import Any

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from engine.schedule_settings import ScheduleSettings
from engine.schedules import Schedule, schedule_warnings

SETTINGS: TypeAdapter = TypeAdapter(ScheduleSettings)


def _schedule(total: int = 101, per_epoch: int = 10, **settings: Any) -> Schedule:
    return Schedule(SETTINGS.validate_python(settings), total, per_epoch)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        pytest.param({"name": "constant"}, {0: 1, 50: 1, 100: 1}, id="constant"),
        pytest.param({"name": "linear", "final_factor": 0.0}, {0: 1, 50: 0.5, 100: 0}, id="linear to zero"),
        pytest.param({"name": "cosine", "final_factor": 0.0}, {0: 1, 50: 0.5, 100: 0}, id="cosine is symmetric"),
        pytest.param({"name": "cosine", "final_factor": 0.2}, {50: 0.6, 100: 0.2}, id="cosine to a floor"),
        pytest.param({"final_factor": 0.2}, {50: 0.6, 100: 0.2}, id="without a name it is cosine"),
        pytest.param({"name": "polynomial", "final_factor": 0.0}, {50: 0.25, 100: 0}, id="square"),
        pytest.param({"name": "step", "step_epochs": 3}, {29: 1, 30: 0.1, 60: 0.01}, id="every third epoch"),
        pytest.param({"name": "multistep", "milestones": [2, 5]}, {19: 1, 20: 0.1, 50: 0.01}, id="milestones"),
        pytest.param({"name": "exponential", "factor": 0.5}, {9: 1, 10: 0.5, 29: 0.25}, id="halved each epoch"),
        pytest.param({"name": "constant", "warmup_steps": 4}, {0: 0.25, 1: 0.5, 3: 1, 4: 1}, id="warm-up in steps"),
        pytest.param({"name": "constant", "warmup_epochs": 0.2}, {0: 0.5, 1: 1}, id="warm-up in epochs"),
        pytest.param(
            {"name": "linear", "warmup_steps": 20, "final_factor": 0.0},
            {19: 1, 60: 0.5, 100: 0},
            id="warm-up, then linear",
        ),
        pytest.param(
            {"name": "step", "step_epochs": 3, "warmup_steps": 4}, {0: 0.25, 4: 1, 30: 0.1}, id="warm-up, then steps"
        ),
        pytest.param({"name": "plateau", "warmup_steps": 4}, {0: 0.25, 3: 1, 100: 1}, id="warm-up before any plateau"),
        pytest.param(
            {"name": "one_cycle", "shape": "linear", "rise": 0.5, "start_divisor": 4.0, "warmup_steps": 21},
            # Over the 80 steps after the warm-up: a quarter at first, all at step 39 of them.
            {0: 0.25 / 21, 20: 0.25, 21: 0.25, 60: 1, 100: 0.25e-4},
            id="warm-up to the foot of the cycle",
        ),
    ],
)
def test_the_factor_at_a_step(settings: dict[str, Any], expected: dict[int, float]) -> None:
    schedule = _schedule(**settings)
    for step, factor in expected.items():
        assert schedule.factor(step) == pytest.approx(factor, abs=1e-9), step


@pytest.mark.parametrize(
    ("settings", "make"),
    [
        pytest.param(
            {"name": "one_cycle"},
            lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 1.0, total_steps=60, cycle_momentum=False),
            id="one_cycle",
        ),
        pytest.param(
            {"name": "one_cycle", "rise": 0.4, "start_divisor": 10.0, "final_divisor": 50.0, "shape": "linear"},
            lambda o: torch.optim.lr_scheduler.OneCycleLR(
                o,
                1.0,
                total_steps=60,
                pct_start=0.4,
                div_factor=10,
                final_div_factor=50,
                anneal_strategy="linear",
                cycle_momentum=False,
            ),
            id="one_cycle, linear",
        ),
        pytest.param(
            {"name": "polynomial", "final_factor": 0.0, "power": 0.9},
            lambda o: torch.optim.lr_scheduler.PolynomialLR(o, total_iters=59, power=0.9),
            id="polynomial",
        ),
        pytest.param(
            {"name": "cosine", "final_factor": 0.0},
            lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, T_max=59),
            id="cosine",
        ),
    ],
)
def test_schedules_per_step_equal_torchs(settings: dict[str, Any], make: Any) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    reference, schedule = make(optimizer), _schedule(60, 10, **settings)
    for step in range(60):
        assert schedule.factor(step) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-7), step
        optimizer.step()
        if step < 59:
            reference.step()


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(({"name": "step", "step_epochs": 4}, lambda o: torch.optim.lr_scheduler.StepLR(o, 4)), id="step"),
        pytest.param(
            (
                {"name": "multistep", "milestones": [3, 7], "factor": 0.2},
                lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [3, 7], 0.2),
            ),
            id="multistep",
        ),
        pytest.param(
            ({"name": "exponential", "factor": 0.8}, lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.8)),
            id="exponential",
        ),
    ],
)
def test_schedules_per_epoch_equal_torchs(make: Any) -> None:
    settings, build = make
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    reference, schedule = build(optimizer), _schedule(100, 10, **settings)
    for epoch in range(10):
        assert schedule.factor(10 * epoch + 5) == pytest.approx(optimizer.param_groups[0]["lr"]), epoch
        optimizer.step()
        reference.step()


def test_plateau_divides_after_its_patience_and_remembers() -> None:
    schedule = _schedule(name="plateau", patience=1)
    for value, factor in [(0.5, 1.0), (0.5, 1.0), (0.4, 0.1), (0.6, 0.1), (0.1, 0.1), (0.1, 0.01)]:
        schedule.observe(value)
        assert schedule.factor(0) == pytest.approx(factor)
    resumed = _schedule(name="plateau", patience=1)
    resumed.load_state(schedule.state())
    assert resumed.state() == schedule.state()


def test_plateau_equals_torchs() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    reference = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, mode="max", factor=0.1, patience=2, threshold=0.01, threshold_mode="abs", eps=0.0
    )
    schedule = _schedule(name="plateau", patience=2, min_delta=0.01)
    generator = torch.Generator().manual_seed(1)
    for value in (torch.rand(40, generator=generator) * torch.linspace(0.5, 1, 40)).tolist():
        reference.step(value)
        schedule.observe(value)
        assert schedule.factor(0) == pytest.approx(optimizer.param_groups[0]["lr"])


@pytest.mark.parametrize("length", [1, 2, 3])
def test_one_cycle_of_a_tiny_run_stays_within_its_bounds(length: int) -> None:
    schedule = _schedule(length, 1, name="one_cycle")
    assert all(0.0 < schedule.factor(step) <= 1.0 for step in range(length))


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({"name": "multistep"}, id="multistep without milestones"),
        pytest.param({"name": "multistep", "milestones": []}, id="no milestone"),
        pytest.param({"name": "cosine", "patience": 3}, id="a key of another schedule"),
        pytest.param({"name": "plateau", "factor": 1.0}, id="a plateau that divides by one"),
    ],
)
def test_keys_without_a_meaning_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SETTINGS.validate_python(wrong)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        pytest.param({"name": "cosine", "warmup_epochs": 1.0}, None, id="all of it counts"),
        pytest.param({"name": "cosine", "warmup_steps": 50}, "warm-up of 50 steps", id="warm-up to the end"),
        pytest.param({"name": "step", "step_epochs": 5}, "step_epochs is 5", id="step beyond the end"),
        pytest.param({"name": "multistep", "milestones": [3, 5, 9]}, "5, 9 lie beyond", id="late milestones"),
        pytest.param({"name": "plateau", "patience": 2}, "has 3 evaluations", id="too patient"),
        pytest.param({"name": "plateau", "patience": 1}, None, id="patient enough"),
    ],
)
def test_what_a_run_never_comes_to_is_said(settings: dict[str, Any], words: str | None) -> None:
    found = schedule_warnings(SETTINGS.validate_python(settings), epochs=5, steps_per_epoch=10, evaluations=3)
    assert len(found) == (words is not None)
    assert words is None or words in found[0]
