"""The exchange of a population: Ray Tune's, made to move on, with new numbers as the bandit of PB2 says."""

from collections import Counter
from typing import Any

import numpy as np
from ray.tune.experiment import Trial as RayTrial
from ray.tune.schedulers import PopulationBasedTraining

from orchestrator.tune.diary import Diary
from orchestrator.tune.trial import number_of


class Population(PopulationBasedTraining):
    """Ray Tune's population based training, in which nobody takes over the weights of an equal.

    Ray's own could go round in circles where scores are equal: the same trial would copy, train an epoch and copy again
    while the others wait. Of trials that are equally far the one that has copied least runs first.

    Args:
        diary: makes it PB2: numbers go where the diary says, as soon as it has something to go by; choices change as
            ever. Ray's own PB2 knows no logarithmic keys and no whole numbers, and begins anew after a kill.
    """

    def __init__(self, diary: Diary | None, seed: int, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.diary = diary
        self._seed = seed
        self._copies: Counter[int] = Counter()

    def _quantiles(self) -> tuple[list[RayTrial], list[RayTrial]]:
        lower, upper = super()._quantiles()
        least = min((self._trial_state[trial].last_score for trial in upper), default=0.0)
        return [trial for trial in lower if self._trial_state[trial].last_score < least], upper

    def choose_trial_to_run(self, tune_controller: Any) -> RayTrial | None:
        """Return the trial that is least far; None if all run."""
        waiting = [
            trial for trial in tune_controller.get_trials() if trial.status in (RayTrial.PENDING, RayTrial.PAUSED)
        ]

        def turn(trial: RayTrial) -> tuple[int, int, int]:
            number = number_of(str(trial))
            return int(self._trial_state[trial].last_train_time), self._copies[number], number

        return min(waiting, key=turn, default=None)

    def _save_trial_state(self, state: Any, time: int, result: dict[str, Any], trial: RayTrial) -> float:
        score = float(super()._save_trial_state(state, time, result, trial))
        if self.diary is not None:
            self.diary.evaluated(number_of(str(trial)), int(time), score, trial.config["values"])
        return score

    def _get_new_config(self, trial: RayTrial, trial_to_clone: RayTrial) -> tuple[dict[str, Any], dict[str, Any]]:
        config, operations = super()._get_new_config(trial, trial_to_clone)
        number, source = number_of(str(trial)), self._trial_state[trial_to_clone]
        self._copies[number] += 1
        if self.diary is not None:
            rng = np.random.default_rng([self._seed, number, len(self.diary.steps), self._copies[number]])
            epoch, score = int(source.last_train_time), float(source.last_score)
            config["values"] |= self.diary.choose(number, epoch, score, rng) or {}
            self.diary.took_over(number, epoch, score, config["values"])
        return config, operations
