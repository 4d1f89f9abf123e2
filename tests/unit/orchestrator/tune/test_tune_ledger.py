"""The sweep's memory: what follows from its lines, and which trial is the best."""

from pathlib import Path

import pytest

from orchestrator.tune.goals import Goals, pareto, ranked, value_of
from orchestrator.tune.ledger import LEDGER_FILE, Ledger, Trial, read_trials
from orchestrator.tune.requests import Request, send, take

TOP1 = Goals(("top1",), ("max",))
BOTH = Goals(("top1", "latency_ms"), ("max", "min"))


def done(number: int, *result: float, status: str = "done") -> Trial:
    return Trial(number, {}, status=status, result=list(result))


def test_trials_follow_from_the_lines(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.write("suggested", 1, values={"lr": 0.1})
    ledger.write("started", 1)
    ledger.write("result", 1, epoch=1, values=[0.5])
    ledger.write("result", 1, epoch=2, values=[0.7])
    ledger.write("changed", 1, epoch=1, values={"lr": 0.2})
    ledger.write("ended", 1, status="failed", reason="lost")
    ledger.write("again", 1, resources={"resources.num_workers": 2})
    ledger.close()
    with (tmp_path / LEDGER_FILE).open("a") as stream:
        stream.write('{"event": "sugg')  # killed in the middle of a line
    trial = read_trials(tmp_path)[1]
    assert (trial.status, trial.reason, trial.values) == ("waiting", "", {"lr": 0.2})
    assert trial.results == {1: [0.5]}  # what came after the change belongs to other weights
    assert trial.history == [(1, {"lr": 0.1})]
    assert trial.resources == {"resources.num_workers": 2}
    again = Ledger(tmp_path)
    assert again.new_number() == 2
    again.close()


def test_a_reopened_ledger_ends_the_half_written_line(tmp_path: Path) -> None:
    (tmp_path / LEDGER_FILE).write_text('{"event": "sugg')
    ledger = Ledger(tmp_path)
    ledger.write("suggested", 1, values={})
    ledger.close()
    assert list(read_trials(tmp_path)) == [1]


def test_finished_trials_come_before_stopped_ones_and_equals_in_their_order() -> None:
    trials = [done(1, 0.9, status="stopped"), done(2, 0.5), done(3, 0.7), done(4, 0.7), done(5, 1.0, status="pruned")]
    assert [trial.number for trial in ranked(trials, TOP1)] == [3, 4, 2, 1]
    assert ranked([done(1, float("nan"))], TOP1) == []


def test_pareto_keeps_what_nothing_beats() -> None:
    trials = [done(1, 0.9, 10.0), done(2, 0.8, 5.0), done(3, 0.7, 6.0), done(4, 0.9, 12.0)]
    assert [trial.number for trial in pareto(trials, BOTH)] == [1, 2]


@pytest.mark.parametrize(("select", "expected"), [("last", [0.6]), ("best", [0.8])])
def test_a_trial_counts_by_its_last_or_best_epoch(select: str, expected: list[float]) -> None:
    assert value_of({1: [0.5], 2: [0.8], 3: [0.6], 4: [float("nan")]}, TOP1, select) == expected
    assert value_of({}, TOP1, select) is None


def test_requests_come_in_order_and_once(tmp_path: Path) -> None:
    send(tmp_path, Request("pause", 3))
    send(tmp_path, Request("add", values={"lr": 0.1}))
    assert [request.action for request in take(tmp_path)] == ["pause", "add"]
    assert list(take(tmp_path)) == []
