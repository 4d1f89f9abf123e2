"""The exchange of a population: who copies from whom, who runs next, and which numbers PB2 gives it."""

from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.experiment import Trial as RayTrial

from orchestrator.pipeline.settings import TuneStage
from orchestrator.tune.goals import goals_of
from orchestrator.tune.population import Population
from orchestrator.tune.retelling import retell
from orchestrator.tune.schedulers import build_scheduler
from orchestrator.tune.trial import name_of

BASE: dict[str, Any] = {"kind": "train", "task": "classification", "data": "digits", "model": {"name": "lenet5"}}
SPACE: dict[str, Any] = {
    "loop.optimizer.lr": {"loguniform": [1e-4, 1e-1]},
    "augment.flip": {"choice": [False, True]},
}


class Crowd:
    """Trials that were evaluated, and nothing that would run them."""

    def __init__(self, search: str, scores: list[float], epoch: int = 1) -> None:
        stage = TuneStage.model_validate(
            {"kind": "tune", "base": BASE, "space": SPACE, "search": {"name": search, "quantile": 0.5}}
        )
        goals = goals_of(stage, stage.task)
        scheduler = build_scheduler(stage, goals, 9, 0)
        assert isinstance(scheduler, Population)
        self.stage, self.goals, self.scheduler = stage, goals, scheduler
        self.search_alg = None
        self.trials = [self._trial(number) for number in range(1, len(scores) + 1)]
        for trial, score in zip(self.trials, scores, strict=True):
            self.evaluate(trial, epoch, score)

    def _trial(self, number: int) -> RayTrial:
        trial = RayTrial("crowd", stub=True, trial_id=name_of(number))
        trial.custom_trial_name = name_of(number)
        trial.config = {"values": {"loop.optimizer.lr": 10.0**-number, "augment.flip": False}}
        self.scheduler.on_trial_add(self, trial)
        trial.status = RayTrial.PAUSED
        return trial

    def evaluate(self, trial: RayTrial, epoch: int, score: float) -> None:
        state = self.scheduler._trial_state[trial]
        self.scheduler._save_trial_state(state, epoch, {"epoch": epoch, "value": score}, trial)

    def get_trials(self) -> list[RayTrial]:
        return self.trials


@pytest.mark.parametrize(
    ("scores", "copying"),
    [
        pytest.param([0.1, 0.2, 0.8, 0.9], [1, 2], id="the worse half"),
        pytest.param([0.5, 0.5, 0.5, 0.5], [], id="all are equal"),
        pytest.param([0.1, 0.5, 0.5, 0.9], [1], id="nobody copies an equal"),
        pytest.param([0.4], [], id="one alone"),
    ],
)
def test_who_takes_over_others_weights(scores: list[float], copying: list[int]) -> None:
    crowd = Crowd("pbt", scores)
    lower, _ = crowd.scheduler._quantiles()
    assert [crowd.trials.index(trial) + 1 for trial in lower] == copying


def test_one_that_copies_again_and_again_lets_the_others_run() -> None:
    crowd = Crowd("pbt", [0.1, 0.2, 0.8, 0.9])
    first, second = crowd.trials[:2]
    assert crowd.scheduler.choose_trial_to_run(crowd) is first
    crowd.scheduler._get_new_config(first, crowd.trials[3])
    assert crowd.scheduler.choose_trial_to_run(crowd) is second
    crowd.evaluate(second, 2, 0.3)
    assert crowd.scheduler.choose_trial_to_run(crowd) is crowd.trials[2]


def bandit_crowd() -> Crowd:
    crowd = Crowd("pb2", [0.1, 0.2, 0.8, 0.9])
    for trial, score in zip(crowd.trials, [0.2, 0.6, 0.9, 0.91], strict=True):
        crowd.evaluate(trial, 2, score)
    return crowd


def test_pb2_chooses_numbers_within_their_range_and_the_same_again() -> None:
    configs = []
    for _ in range(2):
        crowd = bandit_crowd()
        config, _ = crowd.scheduler._get_new_config(crowd.trials[0], crowd.trials[3])
        configs.append(config["values"]["loop.optimizer.lr"])
    assert configs[0] == configs[1] and 1e-4 <= configs[0] <= 1e-1
    assert configs[0] not in (0.8e-4, 1.2e-4), "the bandit's, not multiplied"


def test_pb2_goes_on_with_what_the_ledger_says() -> None:
    crowd = bandit_crowd()
    events: list[dict[str, Any]] = []
    for number, (one, two) in enumerate([(0.1, 0.2), (0.2, 0.6), (0.8, 0.9), (0.9, 0.91)], start=1):
        values = crowd.trials[number - 1].config["values"]
        events.append({"event": "suggested", "trial": number, "values": values})
        events += [{"event": "result", "trial": number, "epoch": e, "values": [s]} for e, s in ((1, one), (2, two))]
    again = build_scheduler(crowd.stage, crowd.goals, 9, 0)
    ledger: Any = SimpleNamespace(events=events, trials={})
    steward: Any = SimpleNamespace(ledger=ledger, goals=crowd.goals, is_halted=False)
    retell(again, steward)
    assert isinstance(again, Population) and again.diary is not None and crowd.scheduler.diary is not None
    assert again.diary.steps == crowd.scheduler.diary.steps
