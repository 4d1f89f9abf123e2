"""Pictures of sweeps: which are made, that odd sweeps make no trouble, and names that stay apart."""

from pathlib import Path
from typing import Any

import cv2
import pytest

from orchestrator.tune.goals import Goals
from orchestrator.tune.ledger import Trial
from orchestrator.tune.pictures import draw_sweep
from orchestrator.tune.settings import SweepSettings
from orchestrator.tune.words import short_names

SETTINGS = SweepSettings.model_validate(
    {
        "scheduler": {"name": "asha", "grace_epochs": 1, "reduction_factor": 2.0},
        "space": {
            "loop.optimizer.lr": {"loguniform": [1e-4, 0.1]},
            "loop.optimizer.name": {"choice": ["adamw", "sgd"]},
            "loop.optimizer.momentum": {"uniform": [0.5, 0.9], "when": {"loop.optimizer.name": "sgd"}},
            "image_size": {"choice": [[32, 32], [64, 64]]},
        },
    }
)
ONE, TWO = Goals(("top1",), ("max",)), Goals(("nll", "parameters"), ("min", "min"))
BASIC = ["history.png", "rungs.png", "parallel.png"]


def trial(number: int, result: list[float] | None, status: str = "done") -> Trial:
    values: dict[str, Any] = {"loop.optimizer.lr": 10.0 ** -(1 + number % 4), "image_size": [32, 32]}
    values["loop.optimizer.name"] = "sgd" if number % 2 else "adamw"
    if number % 2:
        values["loop.optimizer.momentum"] = 0.5 + number / 100
    results = {epoch: [value / epoch for value in result] for epoch in (1, 2, 4)} if result else {}
    return Trial(number, values, status=status, results=results, result=result)


def sweep(count: int, costs: int = 0) -> list[Trial]:
    return [trial(number, [0.001 * number**3, *[1e5 * number] * costs]) for number in range(1, count + 1)]


@pytest.mark.parametrize(
    ("trials", "goals", "expected"),
    [
        pytest.param([], ONE, [], id="none"),
        pytest.param([trial(1, None, "pruned")], ONE, [], id="no result"),
        pytest.param([trial(1, [0.5])], ONE, BASIC[:2], id="a single one"),
        pytest.param([trial(1, [0.5]), trial(2, [0.5])], ONE, BASIC, id="equal ones"),
        pytest.param([*sweep(6), trial(7, None, "failed")], ONE, [*BASIC, "importance.png"], id="one without result"),
        pytest.param(sweep(6, 1), TWO, [*BASIC, "importance.png", "pareto.png"], id="two metrics"),
        pytest.param(
            sweep(6, 2),
            Goals(("top1", "latency_ms", "parameters"), ("max", "min", "min")),
            [*BASIC, "importance.png", "pareto.png"],
            id="three metrics",
        ),
    ],
)
def test_pictures_that_are_made(trials: list[Trial], goals: Goals, expected: list[str], tmp_path: Path) -> None:
    written = draw_sweep({one.number: one for one in trials}, goals, SETTINGS, tmp_path)
    assert [path.name for path in written] == expected
    assert all(cv2.imread(str(path)).std() > 1 for path in written)


@pytest.mark.parametrize(
    ("keys", "names"),
    [
        pytest.param(["loop.optimizer.lr", "augment.preset"], ["lr", "preset"], id="the last part"),
        pytest.param(["model.name", "loop.optimizer.name"], ["model.name", "optimizer.name"], id="of a name two"),
        pytest.param(["augment.scale", "model.backbone.scale"], ["augment.scale", "backbone.scale"], id="alike"),
        pytest.param(["a.b.rate", "c.b.rate", "rate"], ["a.b.rate", "c.b.rate", "rate"], id="alike twice"),
        pytest.param(["epochs", "loop.epochs"], ["epochs", "loop.epochs"], id="one is part of the other"),
        pytest.param([], [], id="none"),
    ],
)
def test_short_names_stay_apart(keys: list[str], names: list[str]) -> None:
    assert list(short_names(keys).values()) == names
