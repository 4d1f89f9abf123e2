"""What MLflow hears of a trial: the searched keys by names that compare, its result, how it ended."""

from pathlib import Path
from typing import Any, cast

from orchestrator.tracking.runs import StageRun, Tracker
from orchestrator.tune.goals import Goals
from orchestrator.tune.ledger import Trial
from orchestrator.tune.order import SweepOrder
from orchestrator.tune.trial_runs import TrialRuns


class HeardRun:
    """Remembers what it was told; `start_trial` of the tracker gives it out."""

    def __init__(self) -> None:
        self.told: dict[str, Any] = {}

    def start_trial(self, name: str, parent: Any, folder: Path, tags: dict[str, str]) -> "HeardRun":
        self.told["name"] = name
        return self

    def log_params(self, params: dict[str, Any]) -> None:
        self.told["params"] = params

    def log_metrics(self, metrics: dict[str, float], step: int = 0) -> None:
        self.told["metrics"] = (metrics, step)

    def log_tags(self, tags: dict[str, str]) -> None:
        self.told["tags"] = tags

    def follow(self, journal: Path) -> None:
        self.told["journal"] = journal.name

    def finish(self, status: str) -> None:
        self.told["status"] = status


def test_a_trials_run_has_the_searched_keys_by_short_names_and_its_result(tmp_path: Path) -> None:
    heard = HeardRun()
    goals = Goals(("top1", "latency_ms"), ("max", "min"))
    order = SweepOrder(str(tmp_path), {}, {}, 0, goals, "now")
    keys = ["loop.optimizer.lr", "augment.scale", "model.backbone.scale"]
    runs = TrialRuns(cast(Tracker, heard), cast(StageRun, heard), "search", order, keys)
    trial = Trial(3, {"loop.optimizer.lr": 0.1, "augment.scale": [0.5, 1.0], "loop.epochs": 2})
    runs.opened(trial)
    trial.status, trial.result, trial.results = "pruned", [0.9, 4.0], {1: [0.8], 2: [0.9]}
    runs.closed(trial)
    assert heard.told["params"] == {"lr": 0.1, "augment.scale": [0.5, 1.0], "loop.epochs": 2}
    assert heard.told["metrics"] == ({"top1": 0.9, "latency_ms": 4.0}, 2)
    assert (heard.told["name"], heard.told["status"], heard.told["tags"]["orchestrator.status"]) == (
        "search-3",
        "FAILED",
        "pruned",
    )
