"""A sweep's memory: one JSON line for everything that happened to its trials, appended by the driver.

What is known of the trials follows from the lines alone, so a sweep whose driver was killed goes on from there.
"""

import json
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from engine.journal import append_lines, read_lines
from orchestrator.tune.values import Values

LEDGER_FILE = "trials.jsonl"
SETTINGS_FILE = "sweep.json"
"""The stage as it was written, for those who look at the sweep or steer it."""
TRIALS = "trials"
OPEN = ("waiting", "running")
"""Trials that a sweep still has to run."""
COUNTED = ("done", "stopped")
"""Trials whose result may win."""


@dataclass
class Trial:
    """What is known of one trial."""

    number: int
    values: Values
    origin: str = "search"
    """`search`, or `user` for one that was added by hand."""
    status: str = "waiting"
    """waiting, running, paused (by the user), done, stopped (by the scheduler or the user), pruned (its values cannot
    work), failed."""
    reason: str = ""
    results: dict[int, list[float]] = field(default_factory=dict)
    """Values of the metrics by 1-based epoch."""
    result: list[float] | None = None
    """What counts at the end, costs included."""
    started: float | None = None
    """Of its first attempt, in seconds since 1970."""
    running_s: float = 0.0
    """Of all attempts."""
    resources: dict[str, Any] = field(default_factory=dict)
    """Keys of `resources` that a retry changed."""
    history: list[tuple[int, Values]] = field(default_factory=list)
    """(epoch, values) from which it went on with other values: after an exchange of pbt, or continued by the user."""
    attempt_started: float | None = None

    @property
    def epoch(self) -> int:
        """The last evaluated epoch, 0 before the first."""
        return max(self.results, default=0)

    def to_json(self) -> dict[str, Any]:
        """Plain data for `--json`."""
        content = asdict(self)
        del content["attempt_started"]
        return {**content, "epoch": self.epoch, "results": {str(key): value for key, value in self.results.items()}}


class Ledger:
    """The trials of one sweep; every change goes to disk first. Safe to use from several threads."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.events = list(read_lines(folder / LEDGER_FILE))
        self.trials = trials_of(self.events)
        self._stream = append_lines(folder / LEDGER_FILE)
        self._mutex = threading.RLock()

    def write(self, event: str, number: int, **fields: Any) -> Trial:
        """Append an event of a trial and return what is known of it then."""
        with self._mutex:
            record = {"event": event, "trial": number, "time": time.time(), **fields}
            self._stream.write(json.dumps(record) + "\n")
            self._stream.flush()
            self.events.append(record)
            apply_event(self.trials, record)
            return self.trials[number]

    def new_number(self) -> int:
        """The number of the next trial, from 1 on."""
        return max(self.trials, default=0) + 1

    def trial_folder(self, number: int) -> Path:
        """Where a trial keeps its journal, checkpoints and bundle."""
        return trial_folder(self.folder, number)

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


def trial_folder(folder: Path, number: int) -> Path:
    """Where a sweep's trial keeps its journal, checkpoints and bundle."""
    return folder / TRIALS / f"{number:04d}"


def read_trials(folder: Path) -> dict[int, Trial]:
    """Return the trials of the sweep in `folder`, by number, while it runs or afterwards."""
    return trials_of(read_lines(folder / LEDGER_FILE))


def trials_of(events: Iterator[dict[str, Any]] | list[dict[str, Any]]) -> dict[int, Trial]:
    """Return what the events say of the trials. One that was running when they end is `running`."""
    trials: dict[int, Trial] = {}
    for record in events:
        apply_event(trials, record)
    return trials


def apply_event(trials: dict[int, Trial], record: Mapping[str, Any]) -> None:
    """Change what is known by one event: suggested, started, result, changed, again or ended."""
    number, event = record["trial"], record["event"]
    if event == "suggested":
        trials[number] = Trial(number, record["values"], record.get("origin", "search"))
        return
    trial = trials[number]
    if event == "started":
        trial.status, trial.reason, trial.attempt_started = "running", "", record["time"]
        trial.started = trial.started or record["time"]
    elif event == "result":
        trial.results[record["epoch"]] = record["values"]
    elif event == "changed":
        trial.history.append((record["epoch"], trial.values))
        trial.values = record["values"]
        trial.results = {epoch: value for epoch, value in trial.results.items() if epoch <= record["epoch"]}
    elif event == "again":
        trial.status, trial.reason, trial.result = "waiting", "", None
        trial.resources |= record.get("resources", {})
    elif event == "ended":
        trial.status, trial.reason, trial.result = record["status"], record.get("reason", ""), record.get("result")
        if trial.attempt_started is not None:
            trial.running_s += record["time"] - trial.attempt_started
            trial.attempt_started = None
