"""How much each searched key has to do with a sweep's results."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from orchestrator.tune.goals import Goals, is_known
from orchestrator.tune.ledger import Trial
from orchestrator.tune.settings import LOGARITHMIC, domain_kind
from orchestrator.tune.space import Space

LEAST_TRIALS = 5
TREES = 100


def importance(trials: Sequence[Trial], goals: Goals, space: Space) -> dict[str, float]:
    """Return each key's share of what a random forest learns of the results from the values; they add up to 1.

    The impurity decrease of Breiman 2001, the first of Optuna's evaluators too; numbers enter by their order, choices
    by one column each. Empty where fewer than five trials have a result, or all have the same.
    """
    known = [trial for trial in trials if is_known(trial.result)]
    scores = np.array([goals.score((trial.result or [0.0])[0]) for trial in known])
    if len(known) < LEAST_TRIALS or not space or np.ptp(scores) == 0:
        return {}
    columns, owners = _columns(known, space)
    from sklearn.ensemble import RandomForestRegressor  # slow to import

    forest = RandomForestRegressor(n_estimators=TREES, random_state=0, n_jobs=1).fit(columns, scores)
    shares = dict.fromkeys(space, 0.0)
    for owner, share in zip(owners, forest.feature_importances_, strict=True):
        shares[owner] += float(share)
    return shares if sum(shares.values()) > 0 else {}


def _columns(trials: Sequence[Trial], space: Space) -> tuple[np.ndarray, list[str]]:
    """Return (trials, columns) float64 and the key that each column belongs to."""
    columns: list[list[float]] = []
    owners: list[str] = []
    for key, domain in space.items():
        values = [trial.values.get(key) for trial in trials]
        kind = domain_kind(domain)
        if kind == "choice":
            for choice in getattr(domain, kind):
                columns.append([float(value == choice) for value in values])
                owners.append(key)
        else:
            columns.append([_number(value, kind in LOGARITHMIC) for value in values])
            owners.append(key)
    return np.array(columns).T, owners


def _number(value: Any, is_log: bool) -> float:
    if value is None:
        return -1e6  # a key that does not count in a trial: apart from all values
    return math.log(value) if is_log else float(value)
