"""Per-image losses and class weights: by hand, against loops, torch, torchvision and scikit-learn."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import brier_score_loss, log_loss
from sklearn.utils.class_weight import compute_class_weight
from torch import nn
from torchvision.ops import sigmoid_focal_loss

from vision.losses.classification import class_weights, cross_entropy, focal, logit_adjustment, squared_error


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(16, 5, generator=generator)
    return logits, torch.randint(5, (16,), generator=generator)


LOSSES = {
    "cross_entropy": cross_entropy,
    "focal": lambda logits, labels: focal(logits, labels, 2.0),
    "focal of a root": lambda logits, labels: focal(logits, labels, 0.5),
    "mse": squared_error,
    "mse of logits": lambda logits, labels: squared_error(logits, labels, "logits"),
}


def test_two_equal_logits_cost_the_natural_logarithm_of_two():
    assert cross_entropy(torch.zeros(1, 2), torch.tensor([0])).item() == pytest.approx(math.log(2))


def test_cross_entropy_equals_scikit_learns_log_loss(batch):
    logits, labels = batch
    expected = log_loss(labels, logits.double().softmax(dim=1), labels=range(5))
    assert cross_entropy(logits, labels).mean().item() == pytest.approx(expected, rel=1e-5)


def test_smoothed_cross_entropy_equals_a_loop_over_images(batch):
    logits, labels = batch
    expected = []
    for row, label in zip(logits.double().numpy(), labels, strict=True):
        log_p = row - np.log(np.exp(row).sum())
        target = np.full(5, 0.1 / 5)
        target[label] += 0.9
        expected.append(-(target * log_p).sum())
    assert cross_entropy(logits, labels, 0.1).numpy() == pytest.approx(np.array(expected), rel=1e-5)


def test_focal_loss_of_a_half_sure_network_by_hand():
    # p = 1/2: (1/2)^2 * ln 2.
    assert focal(torch.zeros(1, 2), torch.tensor([1]), 2.0).item() == pytest.approx(math.log(2) / 4)


def test_focal_loss_without_gamma_is_cross_entropy(batch):
    assert focal(*batch, 0.0) == pytest.approx(cross_entropy(*batch))


def test_focal_loss_of_two_classes_equals_torchvisions_sigmoid_form():
    logits = torch.linspace(-6, 6, 13)
    labels = torch.arange(13) % 2
    expected = sigmoid_focal_loss(logits, labels.float(), alpha=-1, gamma=1.5)
    two = torch.stack([torch.zeros(13), logits], dim=1)
    torch.testing.assert_close(focal(two, labels, 1.5), expected, rtol=1e-4, atol=1e-7)


def test_squared_error_of_probabilities_is_the_brier_score():
    logits, labels = torch.tensor([[0.0, 1.0], [2.0, -1.0], [0.5, 0.5]]), torch.tensor([1, 1, 0])
    # scikit-learn's two-class score counts one of two equal halves.
    expected = 2 * brier_score_loss(labels, logits.softmax(dim=1)[:, 1])
    assert squared_error(logits, labels).mean().item() == pytest.approx(expected)


def test_squared_error_of_logits_is_torchs_summed_over_classes(batch):
    logits, labels = batch
    expected = nn.MSELoss(reduction="none")(logits, nn.functional.one_hot(labels, 5).float()).sum(dim=1)
    torch.testing.assert_close(squared_error(logits, labels, "logits"), expected)


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_agree_with_finite_differences(name, batch):
    logits, labels = batch
    # gradcheck asks for float64, the losses compute in float32: central differences with a wide step.
    logits = logits[:3].clone().requires_grad_()
    LOSSES[name](logits, labels[:3]).sum().backward()
    step = 1e-2
    for row, column in np.ndindex(3, 5):
        nudge = torch.zeros(3, 5)
        nudge[row, column] = step
        with torch.no_grad():
            above, below = (LOSSES[name](logits + sign * nudge, labels[:3]).sum() for sign in (1, -1))
        assert logits.grad[row, column].item() == pytest.approx((above - below).item() / (2 * step), abs=5e-3)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("logit", [0.0, 40.0, 1e4])
def test_sure_networks_have_finite_losses_and_gradients(name, logit):
    logits = torch.tensor([[logit, 0.0, 0.0], [logit, 0.0, 0.0]], requires_grad=True)
    loss = LOSSES[name](logits, torch.tensor([0, 1]))
    loss.sum().backward()
    assert loss.isfinite().all() and logits.grad.isfinite().all()


@pytest.mark.parametrize("name", LOSSES)
def test_sixteen_bit_logits_give_float32_losses(name, batch):
    logits, labels = batch
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = LOSSES[name](logits.bfloat16(), labels)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, LOSSES[name](logits.bfloat16().float(), labels))


@pytest.mark.parametrize("name", LOSSES)
def test_no_images_give_no_losses(name):
    assert LOSSES[name](torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64)).shape == (0,)


def test_balanced_weights_equal_scikit_learns():
    labels = np.repeat([0, 1, 2], [10, 30, 60])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    assert class_weights([10, 30, 60], "balanced").numpy() == pytest.approx(expected)


def test_effective_numbers_equal_the_sum_that_they_are_the_limit_of():
    # The n-th image of a class adds what the earlier ones left: 1 + beta + beta**2 + ... (Cui et al., appendix).
    counts = [5, 50, 500]
    expected = np.array([1 / sum(0.99**i for i in range(count)) for count in counts])
    weights = class_weights(counts, "effective_number", 0.99).numpy()
    assert weights / weights[0] == pytest.approx(expected / expected[0], rel=1e-5)


def test_effective_numbers_by_hand():
    # beta = 1/2: effective numbers of 1 and 2 images are 1 and 3/2, so the weights stand 3 : 2.
    weights = class_weights([1, 2], "effective_number", 0.5)
    assert weights.tolist() == pytest.approx([9 / 7, 6 / 7])


@pytest.mark.parametrize("how", ["balanced", "effective_number", [1.0, 2.0, 0.0, 5.0]])
def test_the_mean_weight_of_the_training_images_is_one(how):
    counts = np.array([3, 40, 0, 7])
    weights = class_weights(counts.tolist(), how, 0.9).numpy()
    assert (weights * counts).sum() / counts.sum() == pytest.approx(1, rel=1e-6)
    assert np.isfinite(weights).all()


def test_a_class_without_images_is_weighted_as_one_with_a_single_image():
    weights = class_weights([0, 1, 9], "balanced")
    assert weights[0] == weights[1]


@pytest.mark.parametrize(
    ("counts", "how", "message"),
    [
        ([1, 2, 3], [1.0, 2.0], "2 weights for 3 classes"),
        ([1, 0], [0.0, 1.0], "all have the weight 0"),
    ],
)
def test_weights_that_cannot_be_are_refused(counts, how, message):
    with pytest.raises(ValueError, match=message):
        class_weights(counts, how)


def test_adjusted_cross_entropy_by_hand():
    # Shares 1/4 and 3/4, equal logits: the adjusted softmax is the shares themselves.
    adjusted = torch.zeros(2, 2) + logit_adjustment([1, 3], 1.0)
    expected = [-math.log(1 / 4), -math.log(3 / 4)]
    assert cross_entropy(adjusted, torch.tensor([0, 1])).tolist() == pytest.approx(expected)


def test_the_adjusted_optimum_is_the_balanced_one():
    # One bin of the input in which both classes fall as often as in the training data tells nothing: once adjusted,
    # the logits that minimise the mean loss are equal, and plain cross-entropy's are not.
    counts, logits = [10, 90], torch.zeros(1, 2, requires_grad=True)
    labels = torch.tensor([0] * 10 + [1] * 90)
    cross_entropy(logits.expand(100, 2) + logit_adjustment(counts, 1.0), labels).mean().backward()
    assert logits.grad.abs().max().item() == pytest.approx(0, abs=1e-6)


def test_no_tau_is_plain_cross_entropy_and_a_class_without_images_stays_finite():
    assert logit_adjustment([5, 50], 0.0).tolist() == [0, 0]
    assert logit_adjustment([0, 50], 1.0).isfinite().all()
