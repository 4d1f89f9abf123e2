"""The table of a running sweep: what is worth a line, columns that stay, and how long it will take."""

import time
from typing import Any

import pytest

from orchestrator.pipeline.settings import TuneStage
from orchestrator.tune.board import MOST_ROWS, Board
from orchestrator.tune.goals import Goals
from orchestrator.tune.ledger import Trial
from orchestrator.tune.table import headline, table

GOALS = Goals(("top1",), ("max",))
EPOCHS = 4
BASE: dict[str, Any] = {"kind": "train", "task": "classification", "data": "digits", "loop": {"epochs": EPOCHS}}


def trial(number: int, status: str = "done", result: float | None = 0.5, **fields: Any) -> Trial:
    values = fields.pop("values", {"loop.optimizer.lr": 0.1})
    known = {"result": None if result is None else [result], "running_s": 10.0, **fields}
    return Trial(number, values, status=status, **known)


def trials(*given: Trial) -> dict[int, Trial]:
    return {item.number: item for item in given}


def first_cells(lines: list[str]) -> list[str]:
    return [line.split()[0] for line in lines]


def test_what_runs_stands_first_and_then_the_best() -> None:
    lines = Board().lines(
        trials(trial(1, result=0.3), trial(2, "pruned", None), trial(3, "running", None), trial(4, result=0.9)),
        GOALS,
        4,
    )
    assert first_cells(lines) == ["trial", "3", "4*", "1", "2"]


def test_many_trials_fit_and_the_rest_is_counted() -> None:
    lines = Board().lines(trials(*(trial(number) for number in range(1, 41))), GOALS, EPOCHS)
    assert len(lines) == 1 + MOST_ROWS + 1
    assert lines[-1] == "and 24 more: `orchestrator tune show`"


def test_columns_do_not_shrink_again() -> None:
    board = Board()
    wide = board.lines(trials(trial(1, "running", None, values={"loop.optimizer.lr": 1.23e-05})), GOALS, EPOCHS)
    narrow = board.lines(trials(trial(1, values={"loop.optimizer.lr": 0.1})), GOALS, EPOCHS)
    assert narrow[0] == wide[0]


def test_an_unequal_length_is_told() -> None:
    text = table([trial(1, values={"loop.epochs": 40}), trial(2, resources={"loop.epochs": 8})], GOALS, EPOCHS)
    assert "0/40" in text and "0/8" in text


def stage(**settings: Any) -> TuneStage:
    space = {"loop.optimizer.lr": {"loguniform": [1e-4, 0.1]}}
    return TuneStage.model_validate({"kind": "tune", "base": BASE, "space": space, "num_samples": 4, **settings})


@pytest.mark.parametrize(
    ("given", "budget_left_s", "expected"),
    [
        pytest.param([trial(1)], None, "1/4 trials  0 running  best top1 0.5000 (trial 1)  ETA 0:15", id="by the mean"),
        pytest.param(
            [trial(1)],
            5.0,
            "1/4 trials  0 running  best top1 0.5000 (trial 1)  ETA 0:05  0:05 left",
            id="budget",
        ),
        pytest.param(
            [trial(1, "running", None, attempt_started=0.0)], None, "0/4 trials  1 running", id="nothing known"
        ),
        pytest.param(
            [trial(number) for number in range(1, 5)],
            None,
            "4/4 trials  0 running  best top1 0.5000 (trial 1)",
            id="nothing left",
        ),
    ],
)
def test_the_headline_says_how_long(given: list[Trial], budget_left_s: float | None, expected: str) -> None:
    assert headline(stage(), trials(*given), GOALS, EPOCHS, 2, budget_left_s) == expected


def test_a_trial_that_runs_may_be_the_best_so_far() -> None:
    running = trial(2, "running", None, attempt_started=time.time(), results={1: [0.2], 2: [0.7]})
    assert "best top1 0.7000 (trial 2)" in headline(stage(), trials(trial(1), running), GOALS, EPOCHS)


def test_before_the_first_end_epochs_tell_how_long() -> None:
    running = trial(1, "running", None, attempt_started=time.time() - 10, results={1: [0.2], 2: [0.3]})
    assert headline(stage(), trials(running), GOALS, EPOCHS, 1).endswith("ETA 1:10")  # 14 epochs of 5 s
