"""The steward: which trial comes next, what other terminals ask, and a sweep that goes on after its driver was lost."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.job import STOP_FILE
from orchestrator.pipeline.settings import TuneStage
from orchestrator.tune.goals import goals_of
from orchestrator.tune.ledger import Ledger, Trial
from orchestrator.tune.order import SweepOrder, write_outcome
from orchestrator.tune.requests import Request, send
from orchestrator.tune.searchers import build_searcher
from orchestrator.tune.steward import Steward
from tests.unit.orchestrator.tune.lenet import LENET

BASE: dict[str, Any] = LENET | {"loop": {"epochs": 3}}
LR = {"loop.optimizer.lr": {"loguniform": [1e-4, 1e-1]}}


class Sweep:
    """A steward without Ray: trials end as the test says."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        stage = TuneStage.model_validate({"kind": "tune", "base": BASE, "space": LR, **settings})
        goals = goals_of(stage, stage.task)
        order = SweepOrder(str(folder), BASE, {"format": "digits"}, 0, goals, session="1")
        self.folder, self.said = folder, list[str]()
        self.ledger = Ledger(folder)
        self.steward = Steward(stage, goals, self.ledger, order, build_searcher(stage, goals, 0), self.said.append)
        self.steward.max_concurrent = 100

    def start(self) -> Trial:
        trial = self.steward.next_trial()
        assert trial is not None
        self.steward.began(trial.number)
        return trial

    def report(self, number: int, *values: float) -> None:
        for epoch, value in enumerate(values, start=1):
            self.steward.evaluated(number, epoch, [value])

    def end(self, number: int, status: str | None, *values: float, error: str | None = None) -> None:
        if status is not None:
            write_outcome(self.ledger.trial_folder(number), status, values=list(values) or None)
        self.steward.unfinished -= 1
        self.steward.active -= 1
        self.steward.ended(number, error)

    def finish(self, *values: float) -> Trial:
        trial = self.start()
        self.report(trial.number, *values)
        self.end(trial.number, "done", values[-1])
        return trial


@pytest.fixture
def sweeps(tmp_path: Path) -> Iterator[Any]:
    opened: list[Sweep] = []

    def make(**settings: Any) -> Sweep:
        for sweep in opened:
            sweep.ledger.close()
        opened.append(Sweep(tmp_path, **settings))
        return opened[-1]

    yield make
    for sweep in opened:
        sweep.ledger.close()


def test_the_search_ends_after_its_trials(sweeps: Any) -> None:
    sweep = sweeps(num_samples=2)
    first, second = sweep.finish(0.5), sweep.finish(0.6)
    assert first.values != second.values
    assert sweep.steward.next_trial() is None
    assert sweep.steward.is_over
    assert sweep.ledger.trials[2].result == [0.6]


@pytest.mark.parametrize("search", [{"name": "random"}, {"name": "bayes", "startup": 2}])
def test_a_sweep_that_goes_on_suggests_what_it_would_have(sweeps: Any, tmp_path: Path, search: dict[str, Any]) -> None:
    whole = sweeps(num_samples=6, search=search)
    values = [whole.finish(0.5 + number / 100).values for number in range(6)]
    (tmp_path / "trials.jsonl").unlink()
    sweep = sweeps(num_samples=6, search=search)
    for number in range(3):
        sweep.finish(0.5 + number / 100)
    lost = sweep.start()  # and here the driver dies
    again = sweeps(num_samples=6, search=search)
    continued = again.start()
    assert (continued.number, continued.values) == (lost.number, lost.values)
    again.report(4, 0.53)
    again.end(4, "done", 0.53)
    rest = [again.finish(0.5 + number / 100).values for number in (4, 5)]
    assert [*values[:4], *rest] == values
    assert again.steward.next_trial() is None and again.steward.is_over
    assert not again.said or all("other values" not in text for text in again.said)


def test_a_trial_that_cannot_work_is_passed_over(sweeps: Any) -> None:
    trials = [{"loop.batch_size": "many"}, {"loop.batch_size": 8}]
    sweep = sweeps(search={"name": "manual", "trials": trials}, space={})
    assert sweep.start().number == 2
    refused = sweep.ledger.trials[1]
    assert refused.status == "pruned" and refused.reason.startswith("these values do not fit together: loop.batch_size")


def test_a_process_that_dies_fails_its_trial_only(sweeps: Any) -> None:
    sweep = sweeps(num_samples=1)
    sweep.end(sweep.start().number, None, error="killed")
    assert sweep.ledger.trials[1].status == "failed"
    assert "its process died: killed" in sweep.ledger.trials[1].reason


def test_what_a_scheduler_stops_counts_as_it_stands(sweeps: Any) -> None:
    sweep = sweeps(num_samples=1, scheduler={"name": "asha"})
    number = sweep.start().number
    sweep.report(number, 0.3, 0.4)
    sweep.end(number, None)
    assert (sweep.ledger.trials[1].status, sweep.ledger.trials[1].result) == ("stopped", [0.4])
    assert sweep.ledger.trials[1].reason == "by asha after epoch 2"


def test_a_paused_trial_waits_and_goes_on_with_new_values(sweeps: Any) -> None:
    sweep = sweeps(num_samples=1)
    number = sweep.start().number
    sweep.report(number, 0.3)
    send(sweep.folder, Request("pause", number))
    sweep.steward.take_requests()
    assert (sweep.ledger.trial_folder(number) / STOP_FILE).exists()
    sweep.end(number, "interrupted")
    assert sweep.ledger.trials[number].status == "paused"
    assert sweep.steward.next_trial() is None
    assert not sweep.steward.is_over and "trial 1 is paused" in sweep.said[-1]
    send(sweep.folder, Request("continue", number, {"loop.optimizer.lr": 0.5}, {"loop.micro_batch": 4}))
    trial = sweep.start()
    assert not (sweep.ledger.trial_folder(number) / STOP_FILE).exists()
    assert (trial.number, trial.values["loop.optimizer.lr"], trial.resources) == (1, 0.5, {"loop.micro_batch": 4})
    assert trial.history[0][0] == 1


def test_trials_are_added_and_the_sweep_is_ended_by_hand(sweeps: Any) -> None:
    sweep = sweeps(search={"name": "manual", "wait": True}, space={})
    assert sweep.steward.next_trial() is None and not sweep.steward.is_over
    send(sweep.folder, Request("add", None, {"loop.optimizer.lr": 0.1}))
    number = sweep.start().number
    assert sweep.ledger.trials[number].origin == "user"
    sweep.report(number, 0.7)
    send(sweep.folder, Request("stop"))
    sweep.steward.take_requests()
    sweep.end(number, "interrupted")
    assert sweep.steward.is_over
    assert (sweep.ledger.trials[1].status, sweep.ledger.trials[1].result) == ("stopped", [0.7])


def test_ctrl_c_leaves_trials_to_be_resumed(sweeps: Any) -> None:
    sweep = sweeps(num_samples=3)
    number = sweep.start().number
    sweep.steward.halt()
    sweep.end(number, "interrupted")
    assert sweep.steward.next_trial() is None and sweep.steward.is_over
    assert sweeps(num_samples=3).start().number == number


def test_the_time_budget_ends_the_sweep(sweeps: Any) -> None:
    sweep = sweeps(num_samples=3, time_budget_s=1e-9)
    assert sweep.steward.next_trial() is None
    assert sweep.steward.is_over and "time budget" in sweep.said[0]


def test_a_failed_trial_is_retried_with_other_resources(sweeps: Any) -> None:
    sweep = sweeps(num_samples=1)
    sweep.end(sweep.start().number, "failed")
    send(sweep.folder, Request("continue", 1, {}, {"resources.num_workers": 2}))
    trial = sweep.start()
    stage = sweep.steward.order.stage(trial.values, trial.resources)
    assert stage.resources.num_workers == 2


def test_a_trial_with_resources_of_its_own_runs_alone(sweeps: Any) -> None:
    sweep = sweeps(num_samples=4)
    failed, other = sweep.start(), sweep.start()
    sweep.end(failed.number, "failed")
    send(sweep.folder, Request("continue", failed.number, {}, {"resources.num_workers": 2}))
    assert sweep.steward.next_trial() is None, "it waits for the other one, and nothing passes it"
    sweep.end(other.number, "failed")
    assert sweep.start().number == failed.number
    assert sweep.steward.next_trial() is None, "nothing starts beside it"
    sweep.end(failed.number, "done", 0.5)
    assert sweep.start().number == 3


def test_a_retry_with_more_than_the_cluster_has_is_refused(sweeps: Any) -> None:
    sweep = sweeps(num_samples=1)
    sweep.steward.shortage = lambda wanted: "asks for too much." if wanted.num_workers == 64 else None
    sweep.end(sweep.start().number, "failed")
    send(sweep.folder, Request("continue", 1, {}, {"resources.num_workers": 64}))
    assert sweep.steward.next_trial() is None and sweep.steward.is_over
    assert (sweep.ledger.trials[1].status, sweep.ledger.trials[1].reason) == ("failed", "it asks for too much")


def test_a_trial_that_runs_is_noted_for_those_without_a_table(sweeps: Any) -> None:
    sweep, noted = sweeps(num_samples=1), list[str]()
    sweep.steward.note = noted.append
    sweep.start()
    assert noted[0].startswith("trial 1 runs: lr=")


def test_the_ledger_holds_every_trial_once(sweeps: Any) -> None:
    sweep = sweeps(num_samples=3)
    for _ in range(3):
        sweep.finish(0.5)
    lines = [json.loads(line) for line in (sweep.folder / "trials.jsonl").read_text().splitlines()]
    assert [line["trial"] for line in lines if line["event"] == "started"] == [1, 2, 3]
