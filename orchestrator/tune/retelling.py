"""What a new scheduler is told of an earlier run of the search, so that it decides as the old one would have."""

from ray.tune.experiment import Trial as RayTrial
from ray.tune.schedulers import AsyncHyperBandScheduler, MedianStoppingRule, TrialScheduler

from orchestrator.tune.hyperband import RememberedHyperband
from orchestrator.tune.ledger import COUNTED, OPEN, Ledger
from orchestrator.tune.population import Population
from orchestrator.tune.steward import Steward


def retell(scheduler: TrialScheduler, steward: Steward) -> None:
    """Tell it what the ledger knows.

    ASHA and median stopping hear the results of trials that ended; those that run again report theirs anew. HyperBand
    gets its brackets back, PB2 what its steps brought. Population based training needs no past: its trials report
    where they stand, and those that ended exchange nothing.
    """
    ledger = steward.ledger

    def is_expected(number: int) -> bool:
        return not steward.is_halted and ledger.trials[number].status in OPEN

    match scheduler:
        case RememberedHyperband():
            scheduler.retell(ledger.events, is_expected)
        case Population(diary=diary) if diary is not None:
            diary.read(ledger.events, steward.goals.score(1.0))
        case AsyncHyperBandScheduler() | MedianStoppingRule():
            _results_of_the_ended(scheduler, ledger)


def _results_of_the_ended(scheduler: TrialScheduler, ledger: Ledger) -> None:
    for trial in ledger.trials.values():
        if trial.status not in COUNTED or not trial.results:
            continue
        stub = RayTrial("ended", stub=True, trial_id=f"ended{trial.number}")
        scheduler.on_trial_add(None, stub)
        result = {}
        for epoch, values in sorted(trial.results.items()):
            result = {"epoch": epoch, "value": values[0]}
            scheduler.on_trial_result(None, stub, result)
        scheduler.on_trial_complete(None, stub, result)
