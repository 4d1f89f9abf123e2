"""The tune stage: connect, search, and leave the best trial's bundle and values behind."""

import time
from collections import Counter
from pathlib import Path
from typing import Any

from engine.settings import ResourceSettings
from foundation.errors import Interrupted
from orchestrator.cluster import check_resources
from orchestrator.execution.folders import write_json
from orchestrator.execution.plan import PlannedStage
from orchestrator.execution.stages import BUNDLE, PICTURES, Context, StageResult, lineage_of, local_addresses
from orchestrator.pipeline.settings import TuneStage
from orchestrator.text_table import number
from orchestrator.tracking.runs import StageRun
from orchestrator.tune.board import Board
from orchestrator.tune.goals import goals_of
from orchestrator.tune.ledger import SETTINGS_FILE, Trial
from orchestrator.tune.settings import POPULATIONS
from orchestrator.tune.table import headline, table
from orchestrator.tune.words import described

RESULT_FILE = "trials.txt"


def run_tune(context: Context, planned: PlannedStage, stage: TuneStage, run: StageRun) -> StageResult:
    """Search, or go on with a search that was interrupted.

    Raises:
        Interrupted: the user stopped it.
        RunFailed: if no trial has a result.
    """
    base, pipeline = stage.base, context.loaded.pipeline
    resources = of_one_trial(base.resources)
    context.cluster.connect(base.failure.hang_timeout_s)
    check_resources(resources, f"{planned.name}.base")
    from orchestrator.tune.order import SweepOrder  # these import Ray, which reads its environment then
    from orchestrator.tune.result import settle
    from orchestrator.tune.sweep import run_sweep
    from orchestrator.tune.trial_runs import TrialRuns

    write_json(planned.folder / SETTINGS_FILE, stage.model_dump(mode="json", exclude_unset=True))
    goals = goals_of(stage, stage.task)
    written: dict[str, Any] = base.model_dump(mode="json", exclude_unset=True)
    order = SweepOrder(
        folder=str(planned.folder),
        base={**written, "resources": {**written.get("resources", {}), "num_workers": resources.num_workers}},
        data=pipeline.data[stage.data].model_dump(mode="json"),
        seed=pipeline.seed,
        goals=goals,
        session=str(time.time_ns()),
        lineage=lineage_of(context, planned, run.run_id),
        addresses=local_addresses([written, stage.model_dump(mode="json")], context),
        is_population=stage.search.name in POPULATIONS,
    )

    def tell(text: str, event: str = "tune") -> None:
        context.show({"kind": "event", "name": event, "message": text})

    board = Board()

    def prepare(steward: Any) -> None:
        runs.attach(steward)
        steward.note = lambda text: tell(text, "trial")

    runs = TrialRuns(context.tracker, run, planned.name, order, stage.space)
    steward = run_sweep(
        stage, goals, order, resources, base.loop.epochs, prepare, lambda s: _show(context, stage, board, s), tell
    )
    if steward.is_halted:
        raise Interrupted("stopped; every trial is kept where it was. `orchestrator resume` carries on.")
    trials = steward.ledger.trials
    result = settle(planned.folder, trials, goals)
    from orchestrator.tune.pictures import draw_sweep  # matplotlib

    pictures = draw_sweep(trials, goals, stage, planned.folder / PICTURES)
    run.log_metrics({f"best/{name}": value for name, value in result.metrics.items()})
    run.log_text(table(trials.values(), goals, base.loop.epochs), RESULT_FILE)
    best = result.trial
    found = f"{goals.names[0]} {number(result.metrics[goals.names[0]])}"
    outcome = f"the best of {len(trials)} trials is {best.number}: {found}, {described(best.values)}"
    outcome = "; ".join(part for part in (steward.finding(), outcome) if part)
    return StageResult(result.metrics, _outputs(planned.folder, trials, best, result.front), pictures, outcome)


def _outputs(folder: Path, trials: dict[int, Trial], best: Trial, front: list[int]) -> dict[str, Any]:
    """What later stages, and readers of `stage.json`, may want."""
    counts = Counter(trial.status for trial in trials.values())
    bundle = {"bundle": str(folder / BUNDLE)} if (folder / BUNDLE).is_dir() else {}
    return {"trial": best.number, "values": best.values, "trials": dict(counts), "front": front, **bundle}


def of_one_trial(resources: ResourceSettings) -> ResourceSettings:
    """What a trial gets: a stage that runs in the driver's process has a process of its own as a trial."""
    return resources.model_copy(update={"num_workers": 1}) if resources.num_workers == 0 else resources


def _show(context: Context, stage: TuneStage, board: Board, steward: Any) -> None:
    trials, goals, epochs = dict(steward.ledger.trials), steward.goals, stage.base.loop.epochs
    if trials:
        first = headline(stage, trials, goals, epochs, steward.max_concurrent, steward.budget_left_s)
        context.show({"kind": "board", "lines": [first, *board.lines(trials, goals, epochs)]})
