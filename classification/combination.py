"""How the answers of several classifiers become one: the four rules, and how two of them are fitted.

Shapes: B or N images, M members, K classes.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.settings import EnsembleMethod

LEAST_PROBABILITY = 1e-6
"""Probabilities below it count as this where their logarithm is taken."""
FOLDS = 5
"""Parts of the images that the accuracy on images not fitted on is estimated with."""
TOLERANCE = 1e-6
MAX_ITERATIONS = 10_000
LBFGS_HISTORY = 50


class Combination(nn.Module):
    """Joins the members' probabilities by one rule; what is fitted is in its state.

    - max_voting: each member votes for its likeliest class; the answer is each class's share of the votes. Of equally
      likely classes, and of equally many votes, the lowest label wins, as in scikit-learn's `VotingClassifier`.
    - averaging: the mean of the probabilities.
    - weighted_averaging: their mean with the fitted `weights`, which are 0 or more with sum 1.
    - stacking: multinomial logistic regression on all members' log-probabilities (Wolpert 1992).
    """

    weights: Tensor
    slope: Tensor
    intercept: Tensor

    def __init__(self, method: EnsembleMethod, num_members: int, num_classes: int) -> None:
        super().__init__()
        self.method = method
        if method == "weighted_averaging":
            self.register_buffer("weights", torch.full((num_members,), 1 / num_members))
        if method == "stacking":
            self.register_buffer("slope", torch.zeros(num_classes, num_members * num_classes))
            self.register_buffer("intercept", torch.zeros(num_classes))

    def forward(self, probabilities_BMK: Tensor) -> Tensor:
        """Turn (B, M, K) float probabilities of the members into those (B, K) of the ensemble."""
        match self.method:
            case "max_voting":
                return F.one_hot(first_argmax(probabilities_BMK), probabilities_BMK.shape[-1]).float().mean(dim=1)
            case "averaging":
                return probabilities_BMK.mean(dim=1)
            case "weighted_averaging":
                return torch.einsum("bmk,m->bk", probabilities_BMK, self.weights)
            case "stacking":
                return F.linear(stacking_features(probabilities_BMK), self.slope, self.intercept).softmax(dim=1)


def fit_combination(method: EnsembleMethod, probabilities_NMK: Tensor, labels_N: Tensor) -> Combination:
    """Fit a rule to what the members say of labelled images; the first two rules have nothing to fit."""
    _, num_members, num_classes = probabilities_NMK.shape
    combination = Combination(method, num_members, num_classes)
    if method == "weighted_averaging":
        combination.weights.copy_(mixture_weights(probabilities_NMK, labels_N))
    if method == "stacking":
        slope, intercept = fit_stacking(probabilities_NMK, labels_N)
        combination.slope.copy_(slope)
        combination.intercept.copy_(intercept)
    return combination


def first_argmax(values: Tensor) -> Tensor:
    """Return the place of the largest value along the last axis; of equal ones the first, which torch leaves open."""
    size = values.shape[-1]
    places = torch.arange(size, device=values.device)
    is_largest = values == values.amax(dim=-1, keepdim=True)
    return torch.where(is_largest, places, size).amin(dim=-1).clamp_max(size - 1)


def stacking_features(probabilities_BMK: Tensor) -> Tensor:
    """Return the members' log-probabilities side by side, (B, M * K)."""
    return probabilities_BMK.clamp_min(LEAST_PROBABILITY).log().flatten(1)


def mixture_weights(probabilities_NMK: Tensor, labels_N: Tensor) -> Tensor:
    """Find the weights on the simplex whose mean of the members' probabilities has the least log-loss.

    A convex problem, solved by expectation maximisation from equal weights (mixing proportions: Dempster, Laird and
    Rubin 1977), until no weights can be better by more than `TOLERANCE` in mean log-loss.

    Returns:
        (M,) float64 with sum 1; equal ones where there is no image, or all members say the same.
    """
    chosen = probabilities_NMK.double().gather(2, labels_N.view(-1, 1, 1).expand(-1, probabilities_NMK.shape[1], 1))
    likelihood_NM = chosen.squeeze(2).clamp_min(LEAST_PROBABILITY)
    num_images, num_members = likelihood_NM.shape
    weights = torch.full((num_members,), 1 / num_members, dtype=torch.float64)
    for _ in range(MAX_ITERATIONS if num_images else 0):
        gain_M = (likelihood_NM / (likelihood_NM @ weights)[:, None]).mean(dim=0)
        if gain_M.max().log() <= TOLERANCE:  # bounds how far the loss lies above the least one, by Jensen's inequality
            break
        weights = weights * gain_M
    return weights / weights.sum()


def fit_stacking(probabilities_NMK: Tensor, labels_N: Tensor) -> tuple[Tensor, Tensor]:
    """Fit multinomial logistic regression to the members' log-probabilities.

    Minimises scikit-learn's objective for `LogisticRegression(C=1)`: the sum of the log-losses and half the squared
    slopes; the intercepts are free. Float64 and full batches, so that the same input gives the same numbers.

    Returns:
        slope (K, M * K) and intercept (K,), float64.
    """
    features = stacking_features(probabilities_NMK.double())
    centre = features.mean(dim=0) if len(features) else torch.zeros_like(features.sum(dim=0))
    features = features - centre  # the same problem, as the intercepts are free, and found in a tenth of the steps
    num_classes = probabilities_NMK.shape[2]
    slope = torch.zeros(num_classes, features.shape[1], dtype=torch.float64, requires_grad=True)
    intercept = torch.zeros(num_classes, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [slope, intercept],
        max_iter=MAX_ITERATIONS,
        tolerance_grad=TOLERANCE,
        tolerance_change=0.0,
        history_size=LBFGS_HISTORY,
        line_search_fn="strong_wolfe",
    )

    def objective() -> Tensor:
        optimizer.zero_grad()
        losses = F.cross_entropy(F.linear(features, slope, intercept), labels_N, reduction="sum")
        loss = (losses + slope.square().sum() / 2) / max(1, len(labels_N))
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(objective)  # type: ignore[no-untyped-call]
    slope, intercept = slope.detach(), intercept.detach() - slope.detach() @ centre
    return slope, intercept - intercept.mean()


def out_of_fold(method: EnsembleMethod, probabilities_NMK: Tensor, labels_N: Tensor, seed: int) -> Tensor:
    """Say of every image what a combination answers that was fitted without it.

    Returns:
        (N, K) probabilities. Fewer than two images give zeros: nothing is left to fit on.
    """
    answers = torch.zeros_like(probabilities_NMK[:, 0])
    folds = torch.from_numpy(assign_folds(labels_N.numpy(), seed))
    for fold in range(FOLDS if len(labels_N) > 1 else 0):
        is_held_out = folds == fold
        combination = fit_combination(method, probabilities_NMK[~is_held_out], labels_N[~is_held_out])
        answers[is_held_out] = combination(probabilities_NMK[is_held_out])
    return answers


def assign_folds(labels_N: np.ndarray, seed: int, count: int = FOLDS) -> np.ndarray:
    """Deal the images of each class out to `count` folds in turn, in an order drawn from `seed`.

    Returns:
        (N,) int64 in 0 … count - 1; folds differ by one image at most, in all and within each class.
    """
    shuffled = np.random.default_rng(seed).permutation(len(labels_N))
    by_class = shuffled[np.argsort(labels_N[shuffled], kind="stable")]
    folds = np.empty(len(labels_N), np.int64)
    folds[by_class] = np.arange(len(labels_N)) % count
    return folds
