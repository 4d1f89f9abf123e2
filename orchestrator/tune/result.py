"""What a sweep leaves behind: the best trial, its bundle, and its values laid over the base."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.bundle import load_manifest
from foundation.errors import RunFailed
from orchestrator.pipeline.settings import TrainStage, train_stage_class
from orchestrator.tune.goals import Goals, pareto, ranked
from orchestrator.tune.ledger import Trial, trial_folder
from orchestrator.tune.values import Values, with_values

BUNDLE = "bundle"


@dataclass(frozen=True)
class SweepResult:
    """The best trial."""

    trial: Trial
    metrics: dict[str, float]
    """All metrics of its bundle, or where it was stopped before its end those that the sweep goes by."""
    front: list[int]
    """Numbers of the trials that no other beats in all metrics, where there are several."""


def settle(folder: Path, trials: dict[int, Trial], goals: Goals) -> SweepResult:
    """Choose the best trial and put its bundle into the stage's folder.

    Raises:
        RunFailed: if no trial has a result, with the first one's reason.
    """
    best = next(iter(ranked(trials.values(), goals)), None)
    if best is None:
        reasons = [f"trial {trial.number}: {trial.reason}" for trial in trials.values() if trial.reason]
        raise RunFailed(
            f"none of {len(trials)} trials has a result. The first reason is of {reasons[0] if reasons else 'none'}. "
            "`orchestrator tune show` lists them all; mend `base` or narrow `space`."
        )
    shutil.rmtree(folder / BUNDLE, ignore_errors=True)
    bundle = trial_folder(folder, best.number) / BUNDLE
    metrics = dict(zip(goals.names, best.result or [], strict=False))
    if bundle.is_dir():
        shutil.copytree(bundle, folder / BUNDLE)
        metrics = {**load_manifest(bundle).metrics, **metrics}
    metrics = {name: float(metrics[name]) for name in dict.fromkeys([*goals.names, *metrics])}
    front = [trial.number for trial in pareto(trials.values(), goals)] if len(goals.names) > 1 else []
    return SweepResult(best, metrics, front)


def with_winner(stage: TrainStage, values: Values) -> TrainStage:
    """Return a train stage that builds on a sweep, with the best trial's values in it."""
    written: dict[str, Any] = stage.model_dump(mode="json", exclude_unset=True)
    return train_stage_class(stage.task).model_validate(with_values(written, values))
