"""The rules that stop trials early, and the exchange of a population: Ray Tune's own schedulers."""

from functools import partial
from typing import Any

from ray import tune
from ray.tune.schedulers import (
    AsyncHyperBandScheduler,
    FIFOScheduler,
    MedianStoppingRule,
    PopulationBasedTraining,
    TrialScheduler,
)

from orchestrator.tune.diary import Diary
from orchestrator.tune.goals import Goals
from orchestrator.tune.hyperband import RememberedHyperband
from orchestrator.tune.population import Population
from orchestrator.tune.searchers import EPOCH, VALUE
from orchestrator.tune.settings import (
    AshaScheduler,
    HyperbandScheduler,
    MedianScheduler,
    Pb2Search,
    PbtSearch,
    SweepSettings,
    domain_kind,
)
from orchestrator.tune.space import Space


def build_scheduler(settings: SweepSettings, goals: Goals, epochs: int, seed: int) -> TrialScheduler:
    """Build what `scheduler` names, or the exchange of a population; it leaves trials alone after their last epoch.

    Args:
        epochs: of a full trial.
    """
    scheduler = _build(settings, goals, epochs, seed)
    decide = scheduler.on_trial_result

    def decide_before_the_end(controller: Any, trial: Any, result: dict[str, Any]) -> str:
        is_last = result.get(EPOCH, 0) >= epochs
        if is_last and isinstance(scheduler, PopulationBasedTraining):
            return TrialScheduler.CONTINUE  # no use in other weights now
        decision = str(decide(controller, trial, result))
        return TrialScheduler.CONTINUE if is_last and decision == TrialScheduler.STOP else decision

    scheduler.on_trial_result = decide_before_the_end
    return scheduler


def _build(settings: SweepSettings, goals: Goals, epochs: int, seed: int) -> TrialScheduler:
    watched = {"time_attr": EPOCH, "metric": VALUE, "mode": goals.modes[0]}
    match settings.scheduler:
        case AshaScheduler() as asha:
            grace = min(asha.grace_epochs, epochs)
            return AsyncHyperBandScheduler(
                **watched,
                max_t=epochs,
                grace_period=grace,
                reduction_factor=asha.reduction_factor,
                stop_last_trials=False,
            )
        case MedianScheduler() as median:
            return MedianStoppingRule(
                **watched, grace_period=median.grace_epochs, min_samples_required=median.min_trials
            )
        case HyperbandScheduler() as hyperband:
            # Ray's other HyperBand fills brackets with trials that live at the same time only; few CPUs never do.
            return RememberedHyperband(
                **watched, max_t=epochs, reduction_factor=hyperband.reduction_factor, stop_last_trials=False
            )
    exchange = {
        **watched,
        "hyperparam_mutations": {"values": ray_space(settings.space)},
        "custom_explore_fn": partial(_kept_inside, settings.space),
        "log_config": False,
        "require_attrs": False,
    }
    match settings.search:
        case PbtSearch() as pbt:
            return Population(
                None,
                seed,
                **exchange,
                perturbation_interval=pbt.every_epochs,
                quantile_fraction=pbt.quantile,
                resample_probability=pbt.resample,
            )
        case Pb2Search() as pb2:
            return Population(
                Diary(settings.space, pb2.every_epochs),
                seed,
                **exchange,
                perturbation_interval=pb2.every_epochs,
                quantile_fraction=pb2.quantile,
            )
    return FIFOScheduler()


def _kept_inside(space: Space, config: dict[str, Any]) -> dict[str, Any]:
    """Bring values that were multiplied back into their ranges."""
    for key, domain in space.items():
        kind = domain_kind(domain)
        if kind != "choice" and key in config["values"]:
            low, high = getattr(domain, kind)
            config["values"][key] = min(max(config["values"][key], low), high)
    return config


def ray_space(space: Space) -> dict[str, Any]:
    """Return the space in Ray Tune's own words, as the exchange draws from it."""
    return {key: _ray_domain(domain) for key, domain in space.items()}


def _ray_domain(domain: Any) -> Any:
    kind = domain_kind(domain)
    content = getattr(domain, kind)
    match kind:
        case "uniform":
            return tune.uniform(*content)
        case "loguniform":
            return tune.loguniform(*content)
        case "integers":
            return tune.randint(content[0], content[1] + 1)
        case "logintegers":
            return tune.lograndint(content[0], content[1] + 1)
    return list(content)
