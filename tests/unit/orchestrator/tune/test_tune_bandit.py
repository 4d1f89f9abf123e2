"""PB2's bandit: the kernel against a loop, choices against a drifting goal, and a diary that is read again."""

import math
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from orchestrator.tune.bandit import FEWEST_STEPS, DriftingKernel, Step, choose
from orchestrator.tune.diary import Diary
from orchestrator.tune.settings import Domain

DOMAIN: TypeAdapter[Any] = TypeAdapter(Domain)


def space_of(**domains: Any) -> dict[str, Any]:
    return {key: DOMAIN.validate_python(value) for key, value in domains.items()}


SPACE = space_of(
    lr={"loguniform": [1e-4, 1e-1]}, momentum={"uniform": [0.5, 0.9]}, n={"integers": [1, 3]}, how={"choice": ["a"]}
)


def test_the_kernel_is_the_papers() -> None:
    points = np.random.default_rng(0).random((5, 3)) * [6, 1, 1]
    kernel = DriftingKernel(epsilon=0.2, length_scale=0.4)
    found = kernel(points)
    for i, (t, *x) in enumerate(points):
        for j, (s, *y) in enumerate(points):
            square = sum((a - b) ** 2 for a, b in zip(x, y, strict=True))
            expected = 0.8 ** (abs(t - s) / 2) * math.exp(-square / (2 * 0.4**2))
            assert found[i, j] == pytest.approx(expected)
    assert kernel(points[:2], points[2:]) == pytest.approx(found[:2, 2:])
    assert kernel.diag(points) == pytest.approx(np.diag(found))


def test_the_kernels_derivatives_are_those_of_its_values() -> None:
    points = np.random.default_rng(1).random((4, 3)) * [6, 1, 1]
    kernel, step = DriftingKernel(), 1e-6
    _, found = kernel(points, eval_gradient=True)
    for index in range(2):
        moved = [kernel.theta + sign * step * np.eye(2)[index] for sign in (1, -1)]
        above, below = (kernel.clone_with_theta(theta)(points) for theta in moved)
        assert found[:, :, index] == pytest.approx((above - below) / (2 * step), abs=1e-6)


def gain(time: float, position: tuple[float, ...]) -> float:
    """Best at a place that moves from 0.2 to 0.6 within 8 steps, in both directions; all gain less with time."""
    best = 0.2 + 0.05 * time
    return 2 / (1 + time) - sum((place - best) ** 2 for place in position)


def regret(seed: int, is_learning: bool) -> float:
    """How much is lost to the best place by four trials in eight steps."""
    rng = np.random.default_rng(seed)
    steps: list[Step] = []
    lost = 0.0
    for time in range(1, 9):
        pending: list[tuple[float, ...]] = []
        for _ in range(4):
            place = choose(steps, pending, time, 0.0, rng) if is_learning else None
            pending.append(place or (float(rng.random()), float(rng.random())))
        for position in pending:
            steps.append(Step(time, 0.0, position, gain(time, position)))
            lost += 2 / (1 + time) - gain(time, position)
    return lost


def test_chosen_values_beat_random_ones_where_the_best_drifts() -> None:
    learned = [regret(seed, is_learning=True) for seed in range(2)]
    drawn = [regret(seed, is_learning=False) for seed in range(2)]
    assert sum(learned) < 0.6 * sum(drawn)


def test_a_choice_is_a_function_of_its_seed() -> None:
    rng = np.random.default_rng(3)
    steps = [Step(time, float(rng.random()), tuple(rng.random(2)), float(rng.random())) for time in (1, 1, 2, 2, 3)]
    first, second = (choose(steps, [(0.5, 0.5)], 4, 0.5, np.random.default_rng(7)) for _ in range(2))
    assert first == second and first is not None and all(0 <= place <= 1 for place in first)


def test_nothing_is_chosen_from_too_little() -> None:
    steps = [Step(1, 0.0, (0.1 * number,), number) for number in range(FEWEST_STEPS)]
    rng = np.random.default_rng(0)
    assert choose([], [], 1, 0.0, rng) is None
    assert choose(steps[1:], [], 2, 0.0, rng) is None
    assert choose([Step(1, 0.0, (0.1 * n,), 0.5) for n in range(9)], [], 2, 0.0, rng) is None, "all brought the same"
    assert choose(steps, [], 2, 0.0, rng) is not None


def test_who_stands_low_rises_easily_and_is_no_example() -> None:
    low = [Step(time, 0.1, (0.1,), 0.5) for time in (1, 2, 3)]
    high = [Step(time, 0.9, (place,), 0.1 - abs(place - 0.8)) for time in (1, 2, 3) for place in (0.1, 0.5, 0.8)]
    chosen = choose([*low, *high], [], 4, 0.95, np.random.default_rng(0))
    assert chosen is not None and abs(chosen[0] - 0.8) < 0.2


EVENTS: list[dict[str, Any]] = [
    {"event": "suggested", "trial": 1, "values": {"lr": 1e-4, "momentum": 0.5, "n": 1, "how": "a"}},
    {"event": "suggested", "trial": 2, "values": {"lr": 1e-1, "momentum": 0.9, "n": 3, "how": "a"}},
    {"event": "result", "trial": 1, "epoch": 1, "values": [0.5]},
    {"event": "result", "trial": 2, "epoch": 1, "values": [0.3]},
    {"event": "result", "trial": 2, "epoch": 2, "values": [0.7]},
    {
        "event": "changed",
        "trial": 1,
        "epoch": 2,
        "source": 2,
        "values": {"lr": 1e-2, "momentum": 0.7, "n": 2, "how": "a"},
    },
    {"event": "result", "trial": 1, "epoch": 3, "values": [0.6]},
    {"event": "result", "trial": 2, "epoch": 3, "values": [math.nan]},
]


def test_a_diary_knows_what_every_step_brought() -> None:
    diary = Diary(SPACE, every_epochs=1)
    diary.read(EVENTS, sign=1.0)
    assert [number for step in diary.steps for number in (step.time, step.gain)] == pytest.approx([2, 0.4, 3, -0.1])
    assert diary.steps[1].position == pytest.approx((2 / 3, 0.5, 0.5))
    lower = Diary(SPACE, every_epochs=1)
    lower.read(EVENTS, sign=-1.0)
    assert [step.gain for step in lower.steps] == pytest.approx([-0.4, 0.1])


def test_steps_are_as_long_as_the_exchange_is_far() -> None:
    diary = Diary(SPACE, every_epochs=2)
    for epoch, score in ((1, 0.1), (2, 0.2), (3, 0.5), (4, 0.9), (5, 0.7)):
        diary.evaluated(1, epoch, score, EVENTS[0]["values"])
    assert [number for step in diary.steps for number in (step.time, step.gain)] == pytest.approx([1.5, 0.2, 2.5, 0.1])


def test_chosen_values_stay_in_their_ranges_and_kinds() -> None:
    diary = Diary(SPACE, every_epochs=1)
    rng = np.random.default_rng(0)
    for number in range(1, 7):
        values = {"lr": 10 ** rng.uniform(-4, -1), "momentum": rng.uniform(0.5, 0.9), "n": int(rng.integers(1, 4))}
        for epoch in (1, 2):
            diary.evaluated(number, epoch, float(rng.random()), values)
    for seed in range(8):
        chosen = diary.choose(1, 2, 0.5, np.random.default_rng(seed))
        assert chosen is not None and chosen.keys() == {"lr", "momentum", "n"}
        assert 1e-4 <= chosen["lr"] <= 1e-1 and 0.5 <= chosen["momentum"] <= 0.9
        assert chosen["n"] in (1, 2, 3) and isinstance(chosen["n"], int)
