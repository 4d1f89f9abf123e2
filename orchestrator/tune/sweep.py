"""Ray Tune runs the trials: its controller, its processes, its schedulers; the steward says which and remembers."""

import logging
import os
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray import tune
from ray.tune import PlacementGroupFactory, TuneConfig, Tuner
from ray.tune.experiment import Trial as RayTrial
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import BasicVariantGenerator, Searcher

from engine.settings import ResourceSettings
from orchestrator.capacity import Node, per_worker, room_for, shortage
from orchestrator.execution.conduct import Work
from orchestrator.execution.signals import on_stop
from orchestrator.ray_train import wants_gpu
from orchestrator.tune.goals import Goals
from orchestrator.tune.ledger import Ledger
from orchestrator.tune.order import SweepOrder, is_nested
from orchestrator.tune.orphans import Orphans
from orchestrator.tune.retelling import retell
from orchestrator.tune.schedulers import build_scheduler
from orchestrator.tune.searchers import build_searcher
from orchestrator.tune.settings import PopulationSearch, SweepSettings
from orchestrator.tune.steward import Steward
from orchestrator.tune.trial import name_of, number_of, run_trial
from orchestrator.tune.unsaved import Unsaved

POLL_S = 0.25
TOKEN = 2**20
"""Bytes of memory that a trial of several workers reserves for itself: it must hold something, but no CPU, or its
workers would wait for it for ever."""
NEVER_S = "100000"
TUNE_ENVIRONMENT = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": NEVER_S,
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "30",
}
"""Ray Tune prints, logs and saves nothing of its own: the display, the journals and the ledger do."""


class SteeredSearch(Unsaved, Searcher):
    """Asks the steward, for Ray Tune."""

    def __init__(self, steward: Steward) -> None:
        super().__init__(metric="value", mode="max")
        self._steward = steward

    def set_search_properties(self, *_: Any, **__: Any) -> bool:
        """The space is ours."""
        return True

    def suggest(self, trial_id: str) -> Any:  # noqa: ARG002
        """The next trial's settings."""
        trial = self._steward.next_trial()
        if trial is None:
            return Searcher.FINISHED if self._steward.is_over else None
        return {"trial": trial.number, "values": trial.values, "resources": trial.resources}

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """The steward hears of it from `Messenger`."""

    def on_pause(self, trial_id: str) -> None:
        """HyperBand rests a trial until its bracket is decided; the steward counts what runs by itself."""

    def on_unpause(self, trial_id: str) -> None:
        """HyperBand lets a trial go on."""


class Messenger(Unsaved, TrialProgressCallback):
    """Tells the steward what happens. It stands in the place of Ray Tune's own, which prints."""

    def __init__(self, steward: Steward) -> None:
        self._steward = steward
        self._orphans = Orphans()

    def on_step_begin(self, *_: Any, trials: list[RayTrial], **__: Any) -> None:
        """Count what runs, and look for requests."""
        self._steward.active = sum(trial.status in (RayTrial.PENDING, RayTrial.RUNNING) for trial in trials)
        self._steward.unfinished = sum(not trial.is_finished() for trial in trials)
        self._steward.take_requests()
        self._orphans.remove()

    def on_trial_start(self, *_: Any, trial: RayTrial, **__: Any) -> None:
        """A process has the trial now; with other values than before where a population changed them."""
        number, values = number_of(str(trial)), trial.config["values"]
        known = self._steward.ledger.trials[number]
        if values != known.values:
            adopted = trial.latest_checkpoint_result.metrics  # as the other trial reported it
            self._steward.changed(number, adopted["epoch"], values, adopted["trial"])
        self._steward.began(number)

    def on_trial_result(self, *_: Any, trial: RayTrial, result: dict[str, Any], **__: Any) -> None:
        """An epoch was evaluated."""
        self._steward.evaluated(number_of(str(trial)), result["epoch"], list(result["values"]))

    def on_trial_complete(self, *_: Any, trial: RayTrial, **__: Any) -> None:
        """It is over, by its own end or the scheduler's will."""
        self._steward.ended(number_of(str(trial)), None)

    def on_trial_error(self, *_: Any, trial: RayTrial, **__: Any) -> None:
        """It is over without a result."""
        self._orphans.expect()
        path = Path(trial.error_file or "")  # here; `get_error` looks where Ray Tune copies it later
        self._steward.ended(number_of(str(trial)), path.read_text() if path.is_file() else "")


def run_sweep(
    settings: SweepSettings,
    goals: Goals,
    order: SweepOrder,
    resources: ResourceSettings,
    epochs: int,
    prepare: Callable[[Steward], None],
    show: Callable[[Steward], None],
    tell: Callable[[str], None],
) -> Steward:
    """Run a sweep to its end, or go on with it; blocks the main thread, which keeps Ctrl-C. Ray must be connected.

    Args:
        prepare: called with the steward before anything runs.
        show: called with it again and again.
        tell: called with sentences for the user.
    """
    for name, value in TUNE_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    ledger = Ledger(Path(order.folder))
    steward = Steward(settings, goals, ledger, order, build_searcher(settings, goals, order.seed), tell)
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    steward.shortage = lambda wanted: shortage(wanted, nodes)
    steward.max_concurrent = concurrency(settings, resources, nodes)
    if settings.max_concurrent and settings.max_concurrent > steward.max_concurrent:
        tell(f"the cluster has room for {steward.max_concurrent} trials at a time, not {settings.max_concurrent}")
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(steward.max_concurrent)
    prepare(steward)
    scheduler = build_scheduler(settings, goals, epochs, order.seed)
    retell(scheduler, steward)
    work = Work(lambda: _fit(steward, scheduler, order, resources))
    try:
        with on_stop(lambda: _halt(steward)):
            work.start()
            while work.is_alive():
                work.join(POLL_S)
                show(steward)
        work.result()
    finally:
        steward.forget_ray()
        ledger.close()
    return steward


def _fit(steward: Steward, scheduler: TrialScheduler, order: SweepOrder, resources: ResourceSettings) -> dict[str, Any]:
    population = isinstance(steward.settings.search, PopulationSearch)
    space: dict[str, Any] = {"order": order.dumps()}
    if population:
        random.seed(order.seed)  # Ray's exchange draws from the global generators
        np.random.seed(order.seed % 2**32)
        chosen = _population(steward)
        space |= {"trial": tune.grid_search([trial["trial"] for trial in chosen])}
        space["values"] = tune.sample_from(lambda spec: _of(chosen, spec.config.trial)["values"])
    config = TuneConfig(
        scheduler=scheduler,
        search_alg=BasicVariantGenerator() if population else SteeredSearch(steward),
        num_samples=1 if population else -1,
        reuse_actors=True,
        trial_name_creator=lambda trial: name_of(trial.config["trial"]),
        trial_dirname_creator=lambda trial: trial.trial_id,
    )
    run_config = tune.RunConfig(
        name=f"sweep-{time.time_ns()}",
        storage_path=str(Path(order.folder) / "ray"),
        callbacks=[Messenger(steward)],
        verbose=0,
    )
    trainable = tune.with_resources(run_trial, lambda config: _reserved(order, resources, config))
    Tuner(trainable, param_space=space, tune_config=config, run_config=run_config).fit()
    return {}


def _population(steward: Steward) -> list[dict[str, Any]]:
    """The trials of a population that are still to be trained: all begin together, and an exchange needs them all."""
    steward.max_concurrent, most = 10**6, steward.max_concurrent
    chosen = []
    while (trial := steward.next_trial()) is not None:
        chosen.append({"trial": trial.number, "values": trial.values})
    steward.max_concurrent = most
    return chosen


def _of(chosen: list[dict[str, Any]], number: int) -> dict[str, Any]:
    return next(trial for trial in chosen if trial["trial"] == number)


def _halt(steward: Steward) -> None:
    if steward.is_halted:
        from foundation.errors import Interrupted

        raise Interrupted("stopped at once; `orchestrator resume` continues from the last checkpoints.")
    steward.halt()
    steward.tell("stopping all trials after this step, with checkpoints; press Ctrl-C again to stop at once")


def concurrency(settings: SweepSettings, resources: ResourceSettings, nodes: Sequence[Node]) -> int:
    """How many trials fit into the cluster at once, one at least, and no more than the settings allow."""
    workers = resources.num_workers
    count = max(1, workers[1] if isinstance(workers, tuple) else workers)
    room = room_for(per_worker(resources, wants_gpu(resources)), nodes) // count
    return max(1, min(room, settings.max_concurrent or room))


def _reserved(order: SweepOrder, resources: ResourceSettings, config: dict[str, Any]) -> PlacementGroupFactory:
    """What Ray reserves for a trial: one process with what a worker gets, or a token beside its group of workers."""
    if config.get("resources"):
        resources = order.stage(config["values"], config["resources"]).resources
    if is_nested(resources):
        return PlacementGroupFactory([{"memory": TOKEN}])
    return PlacementGroupFactory([per_worker(resources, wants_gpu(resources))])
