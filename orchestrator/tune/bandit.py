"""Which values a population should go on with, learned from what its epochs with other values brought: PB2's bandit.

Source: Parker-Holder et al. 2020, arXiv:2002.02518. Knows numbers between 0 and 1 only, and neither Ray nor trials.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Hyperparameter, Kernel, WhiteKernel

from orchestrator.tune.diary import Step

FEWEST_STEPS = 4
"""With fewer steps there is nothing to fit."""
MOST_STEPS = 300
"""Older steps say little, and a fit takes the cube of their number."""
CANDIDATES = 512
"""Places that are compared, drawn from all of the space, and as many again around the best of them."""
NEARBY = 0.05
"""Standard deviation of those around the best."""
NOISE = 1e-8
"""Added to the diagonal, for the decomposition."""


class DriftingKernel(Kernel):
    """How much two points tell of each other: less, the farther their values and their times are apart.

    k((t, x), (t', x')) = (1 - epsilon)^(|t - t'| / 2) exp(-|x - x'|² / (2 length_scale²)); time is the first column.
    Source: Bogunovic et al. 2016, arXiv:1601.06650, eq. 4; Parker-Holder et al. 2020, section 3.
    """

    def __init__(
        self,
        epsilon: float = 0.1,
        length_scale: float = 0.3,
        epsilon_bounds: tuple[float, float] = (1e-3, 0.5),
        length_scale_bounds: tuple[float, float] = (0.05, 2.0),
    ) -> None:
        self.epsilon, self.length_scale = epsilon, length_scale
        self.epsilon_bounds, self.length_scale_bounds = epsilon_bounds, length_scale_bounds

    @property
    def hyperparameter_epsilon(self) -> Hyperparameter:
        """How fast the past is forgotten."""
        return Hyperparameter("epsilon", "numeric", self.epsilon_bounds)

    @property
    def hyperparameter_length_scale(self) -> Hyperparameter:
        """How far a value speaks for others."""
        return Hyperparameter("length_scale", "numeric", self.length_scale_bounds)

    def __call__(self, X: Any, Y: Any = None, eval_gradient: bool = False) -> Any:
        """Return the (N, M) similarities, and if asked for their derivatives by the logarithms of both parameters."""
        first = np.atleast_2d(X)
        second = first if Y is None else np.atleast_2d(Y)
        apart = np.abs(first[:, None, 0] - second[None, :, 0])
        square = ((first[:, None, 1:] - second[None, :, 1:]) ** 2).sum(axis=-1)
        kept = 1.0 - self.epsilon
        similar = kept ** (apart / 2) * np.exp(-square / (2 * self.length_scale**2))
        if not eval_gradient:
            return similar
        by_epsilon = similar * apart / 2 * (-self.epsilon / kept)
        by_length = similar * square / self.length_scale**2
        return similar, np.dstack([by_epsilon, by_length])

    def diag(self, X: Any) -> Any:
        """Every point tells all of itself."""
        return np.ones(len(np.atleast_2d(X)))

    def is_stationary(self) -> bool:
        """Only distances count."""
        return True


def choose(
    steps: Sequence[Step], pending: Sequence[tuple[float, ...]], time: float, before: float, rng: np.random.Generator
) -> tuple[float, ...] | None:
    """Return the position with the highest upper confidence bound on the gain of a step that ends at `time`.

    The process knows a step by its time, the score at its beginning (in [0, 1] over all steps) and its position.

    The bound is mean + sqrt(beta) deviation, with the authors' beta = 0.2 + max(0, ln(0.4 n)) of n steps. Gains are
    compared with the mean of the steps that end at the same time, since all gain less as the training goes on.

    Args:
        pending: positions that other trials are being trained with now. Their outcome is not known yet, but they are
            not worth a second look (Desautels et al. 2014, GP-BUCB).
        before: the score from which the step begins.

    Returns:
        None while there are too few steps to learn from, or all brought the same.
    """
    steps = sorted(steps, key=lambda step: step.time)[-MOST_STEPS:]
    gains_N = _relative_gains(steps)
    if len(steps) < FEWEST_STEPS or not gains_N.any():
        return None
    scores = [before, *(step.before for step in steps)]
    lowest, width = min(scores), max(scores) - min(scores)

    def point(at: float, score: float, position: Sequence[float]) -> tuple[float, ...]:
        return (at, (score - lowest) / width if width > 0 else 0.0, *position)

    points_ND = np.array([point(step.time, step.before, step.position) for step in steps])
    model = _fitted(points_ND, gains_N)
    doubtful = model
    if pending:
        seen_PD = np.array([point(time, before, position) for position in pending])
        doubtful = GaussianProcessRegressor(model.kernel_, alpha=NOISE, optimizer=None)
        doubtful.fit(np.vstack([points_ND, seen_PD]), np.append(gains_N, np.zeros(len(pending))))
    weight = np.sqrt(0.2 + max(0.0, np.log(0.4 * len(steps))))

    def bound(places: Any) -> Any:
        asked = np.column_stack([np.tile(point(time, before, ()), (len(places), 1)), places])
        return model.predict(asked) + weight * doubtful.predict(asked, return_std=True)[1]

    everywhere = rng.random((CANDIDATES, len(steps[0].position)))
    best = everywhere[bound(everywhere).argmax()]
    around = np.clip(best + NEARBY * rng.standard_normal(everywhere.shape), 0.0, 1.0)
    places = np.vstack([best, around])
    return tuple(float(value) for value in places[bound(places).argmax()])


def _relative_gains(steps: Sequence[Step]) -> Any:
    """Gains less the mean of their time, with a standard deviation of 1; (N,)."""
    gains, times = np.array([step.gain for step in steps], float), np.array([step.time for step in steps])
    for time in np.unique(times):
        gains[times == time] -= gains[times == time].mean()
    deviation = gains.std() if len(gains) else 0.0
    return gains / deviation if deviation > 0 else np.zeros(len(gains))


def _fitted(points_ND: Any, gains_N: Any) -> GaussianProcessRegressor:
    """Fit the process, its parameters by maximum likelihood from fixed beginnings, so that the result is one."""
    kernel = ConstantKernel(1.0, (0.1, 10.0)) * DriftingKernel() + WhiteKernel(0.1, (1e-3, 1.0))
    model = GaussianProcessRegressor(kernel, alpha=NOISE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a parameter at its bound is as good as there is
        return model.fit(points_ND, gains_N)
