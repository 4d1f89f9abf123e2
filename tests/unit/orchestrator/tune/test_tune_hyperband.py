"""HyperBand in miniature: a driver that dies after any event of its ledger has its brackets back."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray import cloudpickle
from ray.tune.experiment import Trial as RayTrial
from ray.tune.schedulers import TrialScheduler

from orchestrator.tune.hyperband import RememberedHyperband
from orchestrator.tune.trial import name_of, number_of

EPOCHS = 9
AT_ONCE = 2


def score(number: int, epoch: int) -> float:
    return (number * 7 % 11) / 11 + epoch / 100


class Miniature:
    """Ray Tune's controller without processes: trials take turns of one epoch, and the ledger is a list."""

    def __init__(self, count: int, events: list[dict[str, Any]] | None = None) -> None:
        self.count, self.events = count, list(events or [])
        self.scheduler = RememberedHyperband(
            time_attr="epoch", metric="value", mode="max", max_t=EPOCHS, reduction_factor=3.0, stop_last_trials=False
        )
        self.search_alg = SimpleNamespace(
            searcher=SimpleNamespace(on_pause=lambda _: None, on_unpause=lambda _: None),
        )
        self.trials: list[RayTrial] = []
        self.epochs: dict[RayTrial, int] = {}
        self.ended = {event["trial"] for event in self.events if event["event"] == "ended"}
        self.known = {(event["trial"], event["epoch"]) for event in self.events if event["event"] == "result"}
        self.suggested = {event["trial"] for event in self.events if event["event"] == "suggested"}
        self.trained = 0
        self.scheduler.retell(self.events, lambda number: number not in self.ended)
        self.coming = [number for number in range(1, count + 1) if number not in self.ended]

    def get_trials(self) -> list[RayTrial]:
        return self.trials

    def stop_trial(self, trial: RayTrial) -> None:
        self.scheduler.on_trial_remove(self, trial)
        self._end(trial, "stopped", f"by hyperband after epoch {self.epochs[trial]}")

    def run(self) -> list[Any]:
        """Run to the end; return what the brackets were after every event."""
        states: list[Any] = []
        while True:
            self._fill()
            running = [trial for trial in self.trials if trial.status == RayTrial.RUNNING]
            if not running:
                assert not self.coming and all(trial.status == RayTrial.TERMINATED for trial in self.trials)
                return states
            trial = min(running, key=lambda one: (self.epochs[one], number_of(str(one))))
            self._train(trial)
            states.append((len(self.events), brackets(self.scheduler)))

    def _fill(self) -> None:
        while sum(t.status in (RayTrial.RUNNING, RayTrial.PENDING) for t in self.trials) < AT_ONCE and self.coming:
            number = self.coming.pop(0)
            trial = RayTrial("miniature", stub=True, trial_id=name_of(number))
            trial.custom_trial_name = name_of(number)
            self.trials.append(trial)
            self.epochs[trial] = 0
            if number not in self.suggested:
                self.events.append({"event": "suggested", "trial": number})
            self.scheduler.on_trial_add(self, trial)
        while sum(t.status == RayTrial.RUNNING for t in self.trials) < AT_ONCE:
            chosen = self.scheduler.choose_trial_to_run(self)
            if chosen is None:
                return
            assert chosen in self.trials, "a stand-in must not run"
            chosen.status = RayTrial.RUNNING
            self.events.append({"event": "started", "trial": number_of(str(chosen))})

    def _train(self, trial: RayTrial) -> None:
        number = number_of(str(trial))
        self.epochs[trial] += 1
        epoch = self.epochs[trial]
        value = score(number, epoch)
        decision = self.scheduler.on_trial_result(self, trial, {"epoch": epoch, "value": value})
        if (number, epoch) not in self.known:
            self.trained += 1
            self.events.append({"event": "result", "trial": number, "epoch": epoch, "values": [value]})
        if epoch == EPOCHS:
            self.scheduler.on_trial_complete(self, trial, {})
            self._end(trial, "done", "")
        elif decision == TrialScheduler.STOP:
            self.scheduler.on_trial_complete(self, trial, {})
            self._end(trial, "stopped", f"by hyperband after epoch {epoch}")
        elif decision == TrialScheduler.PAUSE:
            trial.status = RayTrial.PAUSED

    def _end(self, trial: RayTrial, status: str, reason: str) -> None:
        trial.status = RayTrial.TERMINATED
        number = number_of(str(trial))
        assert number not in self.ended
        self.ended.add(number)
        self.events.append({"event": "ended", "trial": number, "status": status, "reason": reason})


def brackets(scheduler: RememberedHyperband) -> list[Any]:
    """(Halvings left, trials that stay, next rung, those alive) of each bracket."""
    return [
        (bracket._halves, bracket._n, bracket._cumul_r, sorted(number_of(str(trial)) for trial in bracket._live_trials))
        for band in scheduler._hyperbands
        for bracket in band
        if bracket is not None
    ]


def finals(events: list[dict[str, Any]]) -> dict[int, tuple[str, str]]:
    return {event["trial"]: (event["status"], event["reason"]) for event in events if event["event"] == "ended"}


@pytest.mark.parametrize("count", [pytest.param(14, id="full brackets"), pytest.param(7, id="a bracket never full")])
def test_a_driver_that_dies_anywhere_has_its_brackets_back(count: int) -> None:
    whole = Miniature(count)
    states = whole.run()
    assert {status for status, _ in finals(whole.events).values()} == {"done", "stopped"}
    for length, state in states:
        assert brackets(Miniature(count, whole.events[:length]).scheduler) == state, length


@pytest.mark.parametrize("count", [14, 7])
def test_a_search_goes_on_from_anywhere_and_repeats_nothing(count: int) -> None:
    whole = Miniature(count)
    whole.run()
    total = sum(event["event"] == "result" for event in whole.events)
    for length in range(len(whole.events)):
        again = Miniature(count, whole.events[:length])
        before = sum(event["event"] == "result" for event in again.events)
        again.run()
        results = [(event["trial"], event["epoch"]) for event in again.events if event["event"] == "result"]
        assert len(results) == len(set(results)) == before + again.trained
        assert finals(again.events).keys() == finals(whole.events).keys()
        assert len(results) <= total + 3 * EPOCHS, length


def test_ray_tune_may_pickle_it_whatever_the_driver_holds(tmp_path: Path) -> None:
    scheduler = Miniature(3).scheduler
    with (tmp_path / "ledger").open("a") as stream:
        scheduler.retell([], lambda _: stream.closed)
        assert cloudpickle.dumps(scheduler)


def test_brackets_do_not_wait_for_those_that_do_not_come_again() -> None:
    whole = Miniature(14)
    whole.run()
    cut = next(i for i, event in enumerate(whole.events) if event["event"] == "result" and event["epoch"] == 1) + 6
    again = Miniature(14, whole.events[:cut])
    gone = again.coming.pop(0)
    again.ended.add(gone)
    again.run()
    assert gone not in {event["trial"] for event in again.events[cut:]}
