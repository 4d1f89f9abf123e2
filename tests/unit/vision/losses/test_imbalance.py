"""Focal, equalisation and seesaw losses of detection heads: by hand, against slow loops and torchvision."""

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from torchvision.ops import sigmoid_focal_loss

from vision.losses.imbalance import equalised, seesaw_factors, sigmoid_focal


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    return 3 * torch.randn(20, 4, generator=generator), torch.randint(4, (20,), generator=generator)


@pytest.mark.parametrize("alpha", [None, 0.25, 1.0])
@pytest.mark.parametrize("gamma", [0.0, 1.5, 2.0])
def test_focal_loss_of_hard_targets_is_torchvisions(batch, gamma, alpha):
    logits, labels = batch
    targets = torch.nn.functional.one_hot(labels, 4).float()
    expected = sigmoid_focal_loss(logits, targets, alpha=-1 if alpha is None else alpha, gamma=gamma)
    torch.testing.assert_close(sigmoid_focal(logits, targets, gamma, alpha), expected)


@pytest.mark.parametrize(
    ("logit", "target", "gamma", "alpha", "expected"),
    [
        pytest.param(0.0, 1.0, 2.0, None, math.log(2) / 4, id="half sure and right: (1/2)^2 ln 2"),
        pytest.param(0.0, 0.0, 2.0, 0.25, 0.75 * math.log(2) / 4, id="absent classes weigh 1 - alpha"),
        pytest.param(0.0, 0.5, 2.0, None, 0.0, id="a soft target that is met costs nothing"),
        pytest.param(math.log(3), 0.5, 1.0, None, 0.25 * (2 * math.log(4) - math.log(3)) / 2, id="a quarter off it"),
    ],
)
def test_focal_loss_by_hand(logit, target, gamma, alpha, expected):
    loss = sigmoid_focal(torch.tensor([logit]), torch.tensor([target]), gamma, alpha)
    assert loss.item() == pytest.approx(expected, rel=1e-5, abs=1e-9)


def test_focal_loss_of_a_root_has_a_gradient_where_the_target_is_met():
    logits = torch.zeros(1, requires_grad=True)
    sigmoid_focal(logits, torch.tensor([0.5]), 0.5).sum().backward()
    assert logits.grad.isfinite().all()


def test_equalisation_drops_what_objects_tell_rare_classes():
    # Class 2 is rare. Background, an object of class 0, an object of class 2.
    kept = equalised(torch.tensor([-1, 0, 2]), torch.tensor([False, False, True]))
    assert kept.tolist() == [[1, 1, 1], [1, 1, 0], [1, 1, 1]]


def test_equalisation_equals_a_loop(batch):
    _, labels = batch
    labels = labels - (torch.arange(20) % 3 == 0).long() * 5  # some background
    labels = labels.clamp(min=-1)
    is_rare = torch.tensor([True, False, True, False])
    expected = np.ones((20, 4))
    for row, label in enumerate(labels.tolist()):
        for column in range(4):
            if label >= 0 and is_rare[column] and column != label:
                expected[row, column] = 0
    assert equalised(labels, is_rare).numpy() == pytest.approx(expected)


def slow_seesaw(logits, labels, counts, p, q):
    """Loss of each row, by the paper's equations, in float64."""
    losses = []
    for row, i in zip(logits.double().numpy(), labels.tolist(), strict=True):
        sigma = np.exp(row) / np.exp(row).sum()
        below = np.exp(row[i])
        for j in range(len(row)):
            if j != i:
                n_i, n_j = max(counts[i], 1), max(counts[j], 1)
                mitigation = (n_j / n_i) ** p if n_j < n_i else 1.0
                least = max(sigma[i], 0.01)
                compensation = (sigma[j] / least) ** q if sigma[j] > least else 1.0
                below += mitigation * compensation * np.exp(row[j])
        losses.append(-np.log(np.exp(row[i]) / below))
    return np.array(losses)


@pytest.mark.parametrize(("p", "q"), [(0.8, 2.0), (0.0, 2.0), (0.8, 0.0), (0.0, 0.0)])
def test_seesaw_loss_equals_a_loop_over_the_papers_equations(batch, p, q):
    logits, labels = batch
    counts = [1000, 0, 30, 1]
    factors = seesaw_factors(logits, labels, torch.tensor(counts), p, q)
    loss = cross_entropy(logits + factors, labels, reduction="none")
    assert loss.numpy() == pytest.approx(slow_seesaw(logits, labels, counts, p, q), rel=1e-4, abs=1e-6)
    if p == q == 0:
        torch.testing.assert_close(loss, cross_entropy(logits, labels, reduction="none"))


def test_seesaw_factors_by_hand():
    # Equal probabilities, so no compensation: the frequent class tells the rare one (1/16)^0.5 = 1/4 of what it would.
    counts = torch.tensor([16, 1])
    factors = seesaw_factors(torch.zeros(2, 2), torch.tensor([0, 1]), counts, 0.5, 2.0).exp()
    torch.testing.assert_close(factors, torch.tensor([[1.0, 0.25], [1.0, 1.0]]))
    # Probabilities 1/4 and 3/4, equally frequent: the likelier wrong class is pushed (3/1)^2 = 9 times.
    logits = torch.tensor([[0.0, math.log(3)]])
    factors = seesaw_factors(logits, torch.tensor([0]), torch.tensor([5, 5]), 0.8, 2.0).exp()
    torch.testing.assert_close(factors, torch.tensor([[1.0, 9.0]]))


def test_empty_input_gives_empty_output():
    nothing, no_labels = torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64)
    assert sigmoid_focal(nothing, nothing, 2.0, 0.25).shape == (0, 3)
    assert equalised(no_labels, torch.tensor([True, False, False])).shape == (0, 3)
    assert seesaw_factors(nothing, no_labels, torch.tensor([1, 2, 3]), 0.8, 2.0).shape == (0, 3)
