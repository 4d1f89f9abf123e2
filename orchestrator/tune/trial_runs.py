"""One MLflow run for each trial, below the stage's run, so that they stand side by side in its pages."""

from collections.abc import Iterable

from engine.journal import JOURNAL_FILE
from orchestrator.tracking.runs import StageRun, Status, Tracker
from orchestrator.tune.ledger import Trial
from orchestrator.tune.order import SweepOrder
from orchestrator.tune.steward import Steward
from orchestrator.tune.words import short_names

STATUSES: dict[str, Status] = {"failed": "FAILED", "pruned": "FAILED", "paused": "KILLED", "waiting": "KILLED"}
"""MLflow's last status of a trial's run; FINISHED where none is given."""


class TrialRuns:
    """Opens a trial's run when it starts, feeds it from the trial's journal, and closes it."""

    def __init__(
        self, tracker: Tracker, parent: StageRun, stage: str, order: SweepOrder, keys: Iterable[str] = ()
    ) -> None:
        self._tracker, self._parent, self._stage, self._order = tracker, parent, stage, order
        self._names = short_names(keys)
        self._open: dict[int, StageRun] = {}

    def attach(self, steward: Steward) -> None:
        """Listen to a sweep."""
        steward.on_open, steward.on_close = self.opened, self.closed

    def opened(self, trial: Trial) -> None:
        """A trial begins, or goes on."""
        folder = self._order.trial_folder(trial.number)
        tags = {"orchestrator.trial": str(trial.number), "orchestrator.origin": trial.origin}
        run = self._tracker.start_trial(f"{self._stage}-{trial.number}", self._parent, folder, tags)
        run.log_params({self._names.get(key, key): value for key, value in trial.values.items()})
        run.follow(folder / JOURNAL_FILE)
        self._open[trial.number] = run

    def closed(self, trial: Trial) -> None:
        """A trial is over, or rests."""
        run = self._open.pop(trial.number, None)
        if run is None:
            return
        if trial.result:
            run.log_metrics(dict(zip(self._order.goals.names, trial.result, strict=False)), step=trial.epoch)
        run.log_tags({"orchestrator.status": trial.status, "orchestrator.reason": trial.reason})
        run.finish(STATUSES.get(trial.status, "FINISHED"))
