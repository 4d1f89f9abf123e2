"""Learning-rate factors at hand-computed steps."""

from typing import Any

import pytest

from engine.schedules import Schedule
from engine.settings import ScheduleSettings


def _schedule(total: int = 101, per_epoch: int = 10, **settings: Any) -> Schedule:
    return Schedule(ScheduleSettings.model_validate(settings), total, per_epoch)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        pytest.param({"name": "constant"}, {0: 1, 50: 1, 100: 1}, id="constant"),
        pytest.param({"name": "linear", "final_factor": 0.0}, {0: 1, 50: 0.5, 100: 0}, id="linear to zero"),
        pytest.param({"name": "cosine", "final_factor": 0.0}, {0: 1, 50: 0.5, 100: 0}, id="cosine is symmetric"),
        pytest.param({"name": "cosine", "final_factor": 0.2}, {50: 0.6, 100: 0.2}, id="cosine to a floor"),
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
    ],
)
def test_the_factor_at_a_step(settings: dict[str, Any], expected: dict[int, float]) -> None:
    schedule = _schedule(**settings)
    for step, factor in expected.items():
        assert schedule.factor(step) == pytest.approx(factor, abs=1e-9), step


def test_plateau_divides_after_its_patience_and_remembers() -> None:
    schedule = _schedule(name="plateau", patience=1)
    for value, factor in [(0.5, 1.0), (0.5, 1.0), (0.4, 0.1), (0.6, 0.1), (0.1, 0.1), (0.1, 0.01)]:
        schedule.observe(value)
        assert schedule.factor(0) == pytest.approx(factor)
    resumed = _schedule(name="plateau", patience=1)
    resumed.load_state(schedule.state())
    assert resumed.state() == schedule.state()
