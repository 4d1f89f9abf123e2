"""One trial, in the process that Ray Tune gave it: an ordinary training whose evaluations go to the search.

The journal, the checkpoints and the bundle lie in the trial's own folder. A trial that starts again there continues
from its newest checkpoint, and tells the search first what it has not heard.
"""

import json
import tempfile
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from ray import tune

from engine.job import FAILURE_FILE, STOP_FILE, TrainJob
from engine.journal import JOURNAL_FILE, read_journal, read_records
from engine.loop import train
from engine.runtimes import InProcessRuntime
from foundation.errors import Interrupted
from orchestrator.pipeline.settings import TrainStage
from orchestrator.ray_train import run_on_ray
from orchestrator.tune.costs import costs_of
from orchestrator.tune.exchange import adopt, offer
from orchestrator.tune.goals import value_of
from orchestrator.tune.order import REPORTED_FILE, SweepOrder, is_nested, write_outcome
from orchestrator.tune.verdict import verdict

POLL_S = 0.2
STOP_TIMEOUT_S = 60.0
ERROR_FILE = "error.txt"


class TrialEnded(Exception):
    """Tells Ray Tune that a trial is over and has no result; the reason stands in its folder."""


def name_of(number: int) -> str:
    """Return a trial's name in Ray Tune. It stays, whereas a population copies whole configurations."""
    return f"trial-{number}"


def number_of(name: str) -> int:
    """Return the number in a name of Ray Tune's."""
    return int(name.rpartition("-")[2])


def run_trial(config: dict[str, Any]) -> None:
    """Train one trial to its end; Ray Tune calls it.

    Raises:
        TrialEnded: if it cannot have a result.
        SystemExit: if the search stopped it.
    """
    order = SweepOrder.loads(config["order"])
    number = number_of(tune.get_context().get_trial_name())
    folder = order.trial_folder(number)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stage = order.stage(config["values"], config.get("resources"))
        job = order.job(number, stage)
        adopted = adopt(job, number, tune.get_checkpoint())
        reporter = Reporter(order, number, adopted)
        if adopted is None:
            reporter.catch_up()
        _train(job, stage, reporter)
        values = value_of(reporter.known, order.goals, stage.loop.select)
        values = costs_of(order.goals, values, folder)
        write_outcome(folder, "done", values=values)
    except Interrupted:
        write_outcome(folder, "interrupted")
    except Exception as error:
        status, reason = verdict(error)
        if status == "failed":
            (folder / ERROR_FILE).write_text(traceback.format_exc())
        write_outcome(folder, status, reason)
        raise TrialEnded(reason) from None
    finally:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


class Reporter:
    """Tells the search of every evaluated epoch once, and waits for its decision."""

    def __init__(self, order: SweepOrder, number: int, adopted: int | None = None) -> None:
        self._goals, self._session, self._is_population = order.goals, order.session, order.is_population
        self._number, self._folder = number, order.trial_folder(number)
        self._reported = self._read() if adopted is None else adopted
        self.known: dict[int, list[float]] = {}

    def catch_up(self) -> None:
        """Tell what earlier attempts of this trial found; of a population only where it stands."""
        self.known = {
            record["epoch"] + 1: self._goals.of(record["metrics"])
            for record in read_journal(self._folder / JOURNAL_FILE)
            if record["kind"] == "epoch" and record["metrics"]
        }
        epochs = sorted(self.known)
        for epoch in epochs[-1:] if self._is_population else epochs:
            self.tell(epoch, self.known[epoch])

    def tell(self, epoch: int, values: list[float]) -> None:
        """Report an epoch that this run of the search has not heard of.

        Raises:
            SystemExit: if the search stops the trial here.
        """
        self.known[epoch] = values
        if epoch <= self._reported:
            return
        self._reported = epoch
        (self._folder / REPORTED_FILE).write_text(json.dumps({"session": self._session, "epoch": epoch}))
        report = {"trial": self._number, "epoch": epoch, "value": values[0], "values": values}
        if not self._is_population:
            tune.report(report)
            return
        with tempfile.TemporaryDirectory() as folder:
            offer(self._folder, self._number, epoch, Path(folder))
            tune.report(report, checkpoint=tune.Checkpoint.from_directory(folder))

    def observe(self, metrics: dict[str, float]) -> None:
        """Report an evaluation as the loop tells it."""
        self.tell(int(metrics["epoch"]), self._goals.of(metrics))

    def _read(self) -> int:
        try:
            content = json.loads((self._folder / REPORTED_FILE).read_text())
        except (OSError, ValueError):
            return 0
        return int(content["epoch"]) if content["session"] == self._session else 0


class TrialRuntime(InProcessRuntime):
    """This process, whose evaluations go to the search."""

    def __init__(self, use_gpu: bool, observe: Callable[[dict[str, float]], None]) -> None:
        super().__init__(use_gpu)
        self._observe = observe

    def report(self, metrics: dict[str, float]) -> None:
        """Tell the search, which may end the trial here."""
        self._observe(metrics)


def _train(job: TrainJob, stage: TrainStage, reporter: Reporter) -> None:
    (job.folder / FAILURE_FILE).unlink(missing_ok=True)
    if is_nested(stage.resources):
        _train_on_workers(job, stage, reporter)
        return
    torch.set_num_threads(max(1, int(stage.resources.resources_per_worker.get("CPU", 1))))
    has_gpu = torch.cuda.is_available() and bool(tune.get_context().get_trial_resources().required_resources.get("GPU"))
    train(job, TrialRuntime(has_gpu, reporter.observe))


def _train_on_workers(job: TrainJob, stage: TrainStage, reporter: Reporter) -> None:
    """Train on a group of Ray workers while their journal is read here; ends with the group, whatever happens."""
    failed: list[Exception] = []

    def work() -> None:
        try:
            run_on_ray("train", job, stage.resources, stage.failure)
        except Exception as error:
            failed.append(error)

    journal = job.folder / JOURNAL_FILE
    offset = journal.stat().st_size if journal.exists() else 0
    thread = threading.Thread(target=work, name="workers", daemon=True)
    thread.start()
    try:
        while True:
            thread.join(POLL_S)
            is_over = not thread.is_alive()
            records, offset = read_records(journal, offset)
            for record in records:
                if record["kind"] == "epoch" and record["metrics"]:
                    reporter.observe({"epoch": record["epoch"] + 1, **record["metrics"]})
            if is_over and not records:
                break
    except SystemExit:
        (job.folder / STOP_FILE).touch()
        thread.join(STOP_TIMEOUT_S)
        raise
    if failed:
        raise failed[0]
