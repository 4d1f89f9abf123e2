"""The driver's view of a sweep: which trial comes next, what became of the others, and what the user asks meanwhile.

Knows Ray Tune's searchers, and neither its trials nor its controller: `sweep.py` connects the two.
"""

import shutil
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from pydantic import ValidationError
from ray.tune.search import Searcher

from engine.job import STOP_FILE
from engine.settings import ResourceSettings
from orchestrator.tune.goals import Goals, is_known, value_of
from orchestrator.tune.ledger import OPEN, Ledger, Trial
from orchestrator.tune.order import OUTCOME_FILE, SweepOrder, read_outcome
from orchestrator.tune.requests import Request, take
from orchestrator.tune.searchers import EXHAUSTED, BisectionSearch, most_trials, tell_end, tell_result
from orchestrator.tune.settings import ManualSearch, SweepSettings
from orchestrator.tune.verdict import verdict, verdict_on_death
from orchestrator.tune.words import brief, described, short_names

Tell = Callable[[str], None]


class Steward:
    """One run of a sweep. Ray Tune's thread calls it; `halt` and `board` may be called from another one."""

    def __init__(
        self, settings: SweepSettings, goals: Goals, ledger: Ledger, order: SweepOrder, searcher: Searcher, tell: Tell
    ) -> None:
        self.settings, self.goals, self.ledger, self.order = settings, goals, ledger, order
        self.tell = tell
        self.is_halted = False
        """The user wants to stop now and resume later."""
        self.is_closing = False
        """The sweep ends with the trials there are."""
        self.max_concurrent = settings.max_concurrent or 1
        self.active = 0
        """Trials that Ray Tune runs, or has queued, now."""
        self.unfinished = 0
        """Trials of Ray Tune that have not ended, those it has paused included."""
        self.on_open: Callable[[Trial], None] = lambda _: None
        self.on_close: Callable[[Trial], None] = lambda _: None
        self.note: Tell = lambda _: None
        """Hears what a table of the trials shows by itself."""
        self.shortage: Callable[[ResourceSettings], str | None] = lambda _: None
        """Says what the cluster can never give."""
        self._alone: int | None = None
        self._searcher = searcher
        self._is_exhausted = False
        self._asked: dict[int, str] = {}
        self._told: set[int] = set()
        self._mutex = threading.RLock()
        self._started = time.monotonic()
        self._has_said_waiting = False
        self._replay()
        for trial in ledger.trials.values():
            if trial.status == "running":  # when the driver of an earlier run ended
                trial.status, trial.attempt_started = "waiting", None
        self._queue = deque(sorted(n for n, trial in ledger.trials.items() if trial.status in OPEN))

    # What Ray Tune asks and tells

    def next_trial(self) -> Trial | None:
        """The trial to run next; None while there is none now. `is_over` says whether there will be one."""
        with self._mutex:
            self.take_requests()
            if self.is_halted or self.is_closing or self.active >= self.max_concurrent or self._must_wait():
                return None
            trial = self._queued() or self._suggested()
            if trial is not None:
                self._alone = trial.number if has_own_resources(trial) else None
                folder = self.ledger.trial_folder(trial.number)
                for name in (OUTCOME_FILE, STOP_FILE):
                    (folder / name).unlink(missing_ok=True)
                self.active += 1
                self.unfinished += 1
            return trial

    @property
    def is_over(self) -> bool:
        """Whether nothing runs, and nothing will."""
        with self._mutex:
            if self.unfinished:
                return False
            if self.is_halted or self.is_closing:
                return True
            if self._queue or not self._is_exhausted:
                return False
            paused = [trial.number for trial in self.ledger.trials.values() if trial.status == "paused"]
            is_waiting = isinstance(self.settings.search, ManualSearch) and self.settings.search.wait
            if (paused or is_waiting) and not self._has_said_waiting:
                self._has_said_waiting = True
                what = (
                    f"trial {paused[0]} is paused: `orchestrator tune continue`"
                    if paused
                    else "`orchestrator tune add`"
                )
                self.tell(f"waiting; {what} goes on, and `orchestrator tune stop` ends the sweep")
            return not paused and not is_waiting

    @property
    def budget_left_s(self) -> float | None:
        """Seconds of search that are left; None without a time budget."""
        budget = self.settings.time_budget_s
        return None if budget is None else budget - (time.monotonic() - self._started)

    def began(self, number: int) -> None:
        """A trial's process is about to train."""
        with self._mutex:
            if self.ledger.trials[number].status != "running":
                trial = self.ledger.write("started", number)
                self.on_open(trial)
                self.note(f"trial {number} runs: {described(trial.values)}")

    def evaluated(self, number: int, epoch: int, values: list[float]) -> None:
        """A trial reported an epoch."""
        with self._mutex:
            trial = self.ledger.trials[number]
            if epoch in trial.results and trial.results[epoch] == values:
                return
            self.ledger.write("result", number, epoch=epoch, values=values)
            self._pass_on(number, epoch, values)

    def changed(self, number: int, epoch: int, values: dict[str, Any], source: int) -> None:
        """A population gave a trial the weights of another one, `source`, after an epoch, and new values."""
        with self._mutex:
            self.ledger.write("changed", number, epoch=epoch, values=values, source=source)
            self.tell(f"trial {number} takes over trial {source}'s weights at epoch {epoch}: {described(values)}")

    def ended(self, number: int, error: str | None) -> None:
        """A trial's process is done with it; `error` = it died, or ended without a result."""
        with self._mutex:
            trial = self.ledger.trials[number]
            self._alone = None if self._alone == number else self._alone
            if trial.status != "running" and not (trial.status == "waiting" and error):
                return
            status, reason, result = self._verdict(trial, error)
            trial = self.ledger.write("ended", number, status=status, reason=reason, result=result)
            if status not in ("waiting", "paused"):
                self._close(number, result)
            self.on_close(trial)
            self.tell(self._sentence(trial))

    def finding(self) -> str:
        """What the search found besides the best trial, as a clause; empty if nothing."""
        if not isinstance(self._searcher, BisectionSearch):
            return ""
        key = self._searcher.key
        return self._searcher.bisection.finding(short_names([key])[key], self.goals.names[0])

    # What the user asks

    def halt(self) -> None:
        """Let all trials write a checkpoint and stop; the sweep can be resumed."""
        self.is_halted = True
        self._ask_all()

    def close_down(self, reason: str) -> None:
        """End the sweep with the trials there are, as they stand."""
        if not self.is_closing:
            self.is_closing = True
            self.tell(f"{reason}: ending the sweep")
        with self._mutex:
            while self._queue:
                number = self._queue.popleft()
                self.ledger.write("ended", number, status="stopped", reason=reason, result=self._result(number))
        self._ask_all()

    def take_requests(self) -> None:
        """Do what other terminals ask, and end the sweep when its time is over."""
        with self._mutex:
            for request in take(self.ledger.folder):
                self._do(request)
            left_s = self.budget_left_s
            if left_s is not None and left_s < 0 and not self.is_closing:
                self.close_down(f"the time budget of {self.settings.time_budget_s:g} s is spent")

    # Inside

    def _replay(self) -> None:
        """Tell a new searcher what the old one lived through."""
        for record in self.ledger.events:
            number, event = record["trial"], record["event"]
            if event == "suggested" and record.get("origin", "search") == "search":
                if self._searcher.suggest(str(number)) != record["values"]:
                    self.tell(f"the search would now choose other values for trial {number}; those it had count")
            elif event == "result":
                self._pass_on(number, record["epoch"], record["values"])
            elif event == "ended" and record["status"] not in ("waiting", "paused"):
                self._close(number, record.get("result"))

    def _must_wait(self) -> bool:
        """Whether a trial runs alone, or waits to: beside others, one with other resources might wait for ever."""
        waits = bool(self._queue) and has_own_resources(self.ledger.trials[self._queue[0]])
        return self.active > 0 and (waits or self._alone is not None)

    def _queued(self) -> Trial | None:
        return self.ledger.trials[self._queue.popleft()] if self._queue else None

    def _suggested(self) -> Trial | None:
        """A new trial of the search's; values that do not fit together are noted and passed over."""
        most = most_trials(self.settings)
        while not self._is_exhausted:
            own = sum(trial.origin == "search" for trial in self.ledger.trials.values())
            number = self.ledger.new_number()
            values = EXHAUSTED if most is not None and own >= most else self._searcher.suggest(str(number))
            if values == EXHAUSTED:
                self._is_exhausted = True
                return None
            if values is None:
                return None
            trial = self.ledger.write("suggested", number, values=values)
            if not self._is_refused(trial):
                return trial
        return None

    def _is_refused(self, trial: Trial) -> bool:
        try:
            stage = self.order.stage(trial.values, trial.resources)
        except ValidationError as error:
            status, reason = verdict(error)
        else:
            lacking = self.shortage(stage.resources)
            if lacking is None:
                return False
            status, reason = "failed", f"it {lacking}".removesuffix(".")
        self.tell(self._sentence(self.ledger.write("ended", trial.number, status=status, reason=reason)))
        self._close(trial.number, None)
        return True

    def _pass_on(self, number: int, epoch: int, values: list[float]) -> None:
        if self.ledger.trials[number].origin == "search" and number not in self._told and is_known(values[:1]):
            tell_result(self._searcher, number, epoch, values)

    def _close(self, number: int, result: list[float] | None) -> None:
        """Tell the searcher of a trial's end, once."""
        if self.ledger.trials[number].origin == "search" and number not in self._told:
            self._told.add(number)
            tell_end(self._searcher, number, result if is_known(result) else None)

    def _result(self, number: int) -> list[float] | None:
        select = self.order.base.get("loop", {}).get("select", "last")
        return value_of(self.ledger.trials[number].results, self.goals, select)

    def _verdict(self, trial: Trial, error: str | None) -> tuple[str, str, list[float] | None]:
        outcome = read_outcome(self.ledger.trial_folder(trial.number))
        asked = self._asked.pop(trial.number, None)
        if outcome is None and error is not None:
            return *verdict_on_death(error), None
        if outcome is None:
            rule = self.settings.scheduler.name
            return "stopped", f"by {rule} after epoch {trial.epoch}", self._result(trial.number)
        if outcome["status"] != "interrupted":
            return outcome["status"], outcome["reason"], outcome["values"]
        if asked == "pause":
            return "paused", "by the user", self._result(trial.number)
        if asked == "stop" or self.is_closing:
            return "stopped", "by the user" if asked else "with the sweep", self._result(trial.number)
        return "waiting", "", None

    def _ask_all(self) -> None:
        for number, trial in self.ledger.trials.items():
            if trial.status in OPEN:
                self._ask(number)

    def _ask(self, number: int) -> None:
        folder = self.ledger.trial_folder(number)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / STOP_FILE).touch()

    def _do(self, request: Request) -> None:
        number = request.trial
        if request.action == "add":
            trial = self.ledger.write("suggested", self.ledger.new_number(), values=request.values, origin="user")
            self._queue.append(trial.number)
            self.tell(f"trial {trial.number} was added: {described(trial.values)}")
        elif number is None:
            self.close_down("the user ended it")
        elif number not in self.ledger.trials:
            self.tell(f"there is no trial {number} to {request.action}")
        elif request.action == "continue":
            self._continue(self.ledger.trials[number], request)
        else:
            self._interrupt(self.ledger.trials[number], request.action)

    def _interrupt(self, trial: Trial, action: str) -> None:
        if trial.status == "running":
            self._asked[trial.number] = action
            self._ask(trial.number)
        elif trial.number in self._queue or (trial.status == "paused" and action == "stop"):
            if trial.number in self._queue:
                self._queue.remove(trial.number)
            status = {"pause": "paused", "stop": "stopped"}[action]
            result = self._result(trial.number)
            self.ledger.write("ended", trial.number, status=status, reason="by the user", result=result)
            if status == "stopped":
                self._close(trial.number, result)
        else:
            self.tell(f"trial {trial.number} is {trial.status}; there is nothing to {action}")

    def _continue(self, trial: Trial, request: Request) -> None:
        if trial.status in (*OPEN, "done"):
            self.tell(f"trial {trial.number} is {trial.status}; only one that is not can be continued")
            return
        if request.values:
            values = trial.values | request.values
            self.ledger.write("changed", trial.number, epoch=trial.epoch, values=values)
        trial = self.ledger.write("again", trial.number, resources=request.overrides)
        if not self._is_refused(trial):
            self._queue.append(trial.number)
            self._has_said_waiting = False

    def _sentence(self, trial: Trial) -> str:
        found = ", ".join(
            f"{name} {value:.4g}" for name, value in zip(self.goals.names, trial.result or [], strict=False)
        )
        why = f" ({brief(trial.reason)})" if trial.reason else ""
        return f"trial {trial.number} {trial.status}{why}: {found or 'no result'}; {described(trial.values)}"

    def forget_ray(self) -> None:
        """Remove what Ray Tune kept of this run: the ledger and the trials' folders say everything."""
        shutil.rmtree(self.ledger.folder / "ray", ignore_errors=True)


def has_own_resources(trial: Trial) -> bool:
    """Whether a retry gave the trial other resources than the sweep's trials have."""
    return any(key.partition(".")[0] == "resources" for key in trial.resources)
