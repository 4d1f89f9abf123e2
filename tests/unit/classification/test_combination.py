"""The rules that join classifiers, against scikit-learn and by hand."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from torch import Tensor

from classification.combination import (
    FOLDS,
    Combination,
    assign_folds,
    first_argmax,
    fit_combination,
    fit_stacking,
    mixture_weights,
    out_of_fold,
    stacking_features,
)


def answers(num_images: int, num_members: int, num_classes: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Members of rising skill: (N, M, K) probabilities and (N,) labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, num_classes, num_images)
    logits = rng.normal(0, 1.5, (num_images, num_members, num_classes))
    for member in range(num_members):
        logits[np.arange(num_images), member, labels] += 1 + member
    return torch.from_numpy(logits).softmax(dim=-1).float(), torch.from_numpy(labels)


class Stored(ClassifierMixin, BaseEstimator):
    """A fitted scikit-learn classifier whose input holds the members' answers: (N, M * K)."""

    def __init__(self, member: int, num_classes: int) -> None:
        self.member, self.num_classes = member, num_classes
        self.classes_ = np.arange(num_classes)

    def fit(self, x: np.ndarray, y: np.ndarray) -> "Stored":
        return self

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        return x[:, self.member * self.num_classes : (self.member + 1) * self.num_classes]

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self.predict_proba(x).argmax(axis=1)


def voting(probabilities: Tensor, labels: Tensor, kind: str, weights: np.ndarray | None = None) -> VotingClassifier:
    members = [(str(member), Stored(member, probabilities.shape[2])) for member in range(probabilities.shape[1])]
    return VotingClassifier(members, voting=kind, weights=weights).fit(probabilities.flatten(1).numpy(), labels.numpy())


@pytest.mark.parametrize("num_members", [2, 3, 4, 5])
def test_max_voting_answers_as_scikit_learn_does_ties_included(num_members: int) -> None:
    probabilities, labels = answers(400, num_members, 6)
    expected = voting(probabilities, labels, "hard").predict(probabilities.flatten(1).numpy())
    joined = Combination("max_voting", num_members, 6)(probabilities)
    assert (first_argmax(joined).numpy() == expected).all()
    assert (joined.numpy().argmax(axis=1) == expected).all()
    torch.testing.assert_close(joined.sum(dim=1), torch.ones(400))


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        pytest.param([[0.6, 0.4, 0.0], [0.6, 0.4, 0.0], [0.0, 0.1, 0.9]], [2 / 3, 0, 1 / 3], id="most votes win"),
        pytest.param([[0.0, 0.1, 0.9], [0.4, 0.6, 0.0]], [0, 1 / 2, 1 / 2], id="equal votes stay equal"),
        pytest.param([[0.4, 0.4, 0.2], [0.3, 0.3, 0.4]], [1 / 2, 0, 1 / 2], id="a member in doubt takes the lower"),
        pytest.param([[0.1, 0.2, 0.7]], [0, 0, 1], id="a single member"),
    ],
)
def test_shares_of_votes_by_hand(members: list[list[float]], expected: list[float]) -> None:
    joined = Combination("max_voting", len(members), 3)(torch.tensor([members]))
    assert joined[0].tolist() == pytest.approx(expected)


def test_averaging_is_soft_voting() -> None:
    probabilities, labels = answers(50, 3, 4)
    expected = voting(probabilities, labels, "soft").predict_proba(probabilities.flatten(1).numpy())
    np.testing.assert_allclose(Combination("averaging", 3, 4)(probabilities).numpy(), expected, atol=1e-6)


def test_weighted_averaging_is_soft_voting_with_the_fitted_weights() -> None:
    probabilities, labels = answers(200, 3, 4)
    fitted = fit_combination("weighted_averaging", probabilities, labels)
    soft = voting(probabilities, labels, "soft", fitted.weights.numpy())
    expected = soft.predict_proba(probabilities.flatten(1).numpy())
    np.testing.assert_allclose(fitted(probabilities).numpy(), expected, atol=1e-6)


def log_loss(weights: np.ndarray, probabilities: Tensor, labels: Tensor) -> float:
    mixed = np.einsum("nmk,m->nk", probabilities.double().numpy(), weights)
    return float(-np.log(mixed[np.arange(len(labels)), labels.numpy()]).mean())


@pytest.mark.parametrize("seed", range(4))
def test_the_fitted_weights_have_the_least_log_loss(seed: int) -> None:
    probabilities, labels = answers(300, 4, 5, seed)
    weights = mixture_weights(probabilities, labels).numpy()
    best = minimize(
        log_loss,
        np.full(4, 0.25),
        (probabilities, labels),
        method="SLSQP",
        bounds=[(0, 1)] * 4,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        options={"ftol": 1e-12},
    )
    assert weights.sum() == pytest.approx(1)
    assert (weights >= 0).all()
    assert log_loss(weights, probabilities, labels) <= best.fun + 2e-6


@pytest.mark.parametrize(
    ("probabilities", "expected"),
    [
        pytest.param([[[0.9, 0.1], [0.2, 0.8]]] * 8, [1, 0], id="the one that is right has it all"),
        pytest.param([[[0.7, 0.3], [0.7, 0.3]]] * 8, [0.5, 0.5], id="equal members weigh the same"),
        pytest.param([[[0.0, 1.0], [0.0, 1.0]]] * 8, [0.5, 0.5], id="all are wrong with certainty"),
        pytest.param([], [0.5, 0.5], id="no image"),
    ],
)
def test_weights_by_hand(probabilities: list[list[list[float]]], expected: list[float]) -> None:
    given = torch.tensor(probabilities).reshape(-1, 2, 2)
    weights = mixture_weights(given, torch.zeros(len(given), dtype=torch.int64))
    assert weights.tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("num_classes", [3, 5])
def test_stacking_is_logistic_regression_on_log_probabilities(num_classes: int) -> None:
    probabilities, labels = answers(250, 3, num_classes)
    features = stacking_features(probabilities.double()).numpy()
    expected = LogisticRegression(C=1.0, tol=1e-9, max_iter=20_000).fit(features, labels.numpy())
    slope, intercept = fit_stacking(probabilities, labels)
    np.testing.assert_allclose(slope.numpy(), expected.coef_, atol=1e-3)
    np.testing.assert_allclose(intercept.numpy(), expected.intercept_ - expected.intercept_.mean(), atol=1e-3)
    joined = fit_combination("stacking", probabilities, labels)(probabilities)
    np.testing.assert_allclose(joined.numpy(), expected.predict_proba(features), atol=1e-4)


def test_a_class_without_images_is_never_answered() -> None:
    probabilities, labels = answers(200, 2, 4)
    labels = labels.clamp_max(2)
    joined = fit_combination("stacking", probabilities, labels)(probabilities)
    assert (joined.argmax(dim=1) < 3).all()


def test_out_of_fold_answers_are_those_of_cross_validation_with_the_same_folds() -> None:
    probabilities, labels = answers(200, 3, 3)
    features = stacking_features(probabilities.double()).numpy()
    model = LogisticRegression(C=1.0, tol=1e-9, max_iter=20_000)
    folds = PredefinedSplit(assign_folds(labels.numpy(), seed=7))
    expected = cross_val_predict(model, features, labels.numpy(), cv=folds, method="predict_proba")
    found = out_of_fold("stacking", probabilities, labels, seed=7)
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-4)


def test_an_images_own_label_does_not_leak_into_its_out_of_fold_answer() -> None:
    probabilities, labels = answers(60, 2, 3)
    folds = assign_folds(labels.numpy(), seed=0)
    twins = np.flatnonzero((folds == 0) & (labels.numpy() == 0))
    for method in ("weighted_averaging", "stacking"):
        before = out_of_fold(method, probabilities, labels, seed=0)
        changed = probabilities.clone()
        changed[twins] = changed[twins].flip(-1)
        after = out_of_fold(method, changed, labels, seed=0)
        same_fold = np.setdiff1d(np.flatnonzero(folds == 0), twins)
        torch.testing.assert_close(after[same_fold], before[same_fold], rtol=0, atol=0)


def test_one_image_has_no_out_of_fold_answer() -> None:
    assert out_of_fold("stacking", torch.full((1, 2, 2), 0.5), torch.zeros(1, dtype=torch.int64), seed=0).sum() == 0


def test_folds_are_even_in_all_and_within_each_class() -> None:
    labels = np.repeat(np.arange(3), (23, 8, 2))
    folds = assign_folds(labels, seed=3)
    assert np.ptp(np.bincount(folds, minlength=FOLDS)) <= 1
    assert all(np.ptp(np.bincount(folds[labels == label], minlength=FOLDS)) <= 1 for label in range(3))
    assert (assign_folds(labels, seed=3) == folds).all()
    assert (assign_folds(labels, seed=4) != folds).any()


def test_the_state_holds_what_was_fitted() -> None:
    probabilities, labels = answers(40, 2, 3)
    for method, names in (
        ("max_voting", set()),
        ("averaging", set()),
        ("weighted_averaging", {"weights"}),
        ("stacking", {"slope", "intercept"}),
    ):
        fitted = fit_combination(method, probabilities, labels)
        assert set(fitted.state_dict()) == names
        copy = Combination(method, 2, 3)
        copy.load_state_dict(fitted.state_dict())
        torch.testing.assert_close(copy(probabilities), fitted(probabilities), rtol=0, atol=0)
