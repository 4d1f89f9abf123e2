"""Kullback-Leibler divergence and distillation: by hand, scipy and torch as oracles."""

import math

import pytest
import torch
from scipy.stats import entropy
from torch import nn

from vision.losses.classification import cross_entropy
from vision.losses.distillation import distillation_loss, kl_divergence


@pytest.fixture
def logits():
    generator = torch.Generator().manual_seed(4)
    return 3 * torch.randn(2, 8, 5, generator=generator)


def test_divergence_by_hand_is_not_symmetric():
    p, q = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.25, 0.75]]).log()
    assert kl_divergence(p, q).item() == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(2 / 3))
    assert kl_divergence(q, p).item() == pytest.approx(0.25 * math.log(1 / 2) + 0.75 * math.log(3 / 2))


def test_divergence_equals_scipys_relative_entropy(logits):
    p, q = logits.log_softmax(dim=2)
    assert kl_divergence(p, q).numpy() == pytest.approx(entropy(p.exp(), q.exp(), axis=1), rel=1e-4)
    assert (kl_divergence(p, q) > 0).all() and (kl_divergence(p, p) == 0).all()


def test_a_class_that_the_target_rules_out_costs_nothing():
    p, q = torch.tensor([[1.0, 0.0]]).log(), torch.tensor([[0.5, 0.5]]).log().requires_grad_()
    value = kl_divergence(p, q)
    value.sum().backward()
    assert value.item() == pytest.approx(math.log(2))
    assert q.grad.tolist() == [[-1.0, 0.0]]


def test_divergence_from_a_sure_target_is_cross_entropy(logits):
    labels = torch.arange(8) % 5
    target = nn.functional.one_hot(labels, 5).float().log()
    torch.testing.assert_close(kl_divergence(target, logits[0].log_softmax(dim=1)), cross_entropy(logits[0], labels))


def test_probabilities_and_logits_in_place_of_logarithms_are_refused(logits):
    p, q = logits.log_softmax(dim=2)
    with pytest.raises(ValueError, match="log_targets must be logarithms"):
        kl_divergence(p.exp(), q)
    with pytest.raises(ValueError, match="log_probabilities must be logarithms"):
        kl_divergence(p, logits[1])


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_distillation_equals_torchs_batchmean_with_the_teachers_logits(temperature, logits):
    student, teacher = logits
    expected = temperature**2 * nn.KLDivLoss(reduction="batchmean")(
        (student / temperature).log_softmax(dim=1), (teacher / temperature).softmax(dim=1)
    )
    value = distillation_loss(student, teacher.softmax(dim=1), temperature).mean()
    torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-6)


def test_the_students_gradient_is_the_difference_of_softened_probabilities(logits):
    student, teacher = logits[0].clone().requires_grad_(), logits[1]
    distillation_loss(student, teacher.softmax(dim=1), 4.0).sum().backward()
    expected = 4 * ((student / 4).softmax(dim=1) - (teacher / 4).softmax(dim=1))
    torch.testing.assert_close(student.grad, expected.detach(), rtol=1e-4, atol=1e-5)


def test_a_student_like_its_teacher_has_nothing_to_learn_and_the_teacher_never_has(logits):
    student = logits[0].clone().requires_grad_()
    loss = distillation_loss(student, student.softmax(dim=1), 2.0)
    loss.sum().backward()
    assert loss.abs().max().item() < 1e-5
    assert student.grad.abs().max().item() < 1e-5


def test_an_entirely_sure_teacher_has_finite_losses_and_gradients():
    student = torch.zeros(1, 3, requires_grad=True)
    loss = distillation_loss(student, torch.tensor([[1.0, 0.0, 0.0]]), 4.0)
    loss.sum().backward()
    assert loss.isfinite().all() and student.grad.isfinite().all()


@pytest.mark.parametrize("wrong", [[[3.0, -2.0]], [[0.9, 0.3]], [[-0.5, -0.7]]])
def test_a_teacher_that_does_not_give_probabilities_is_refused(wrong):
    with pytest.raises(ValueError, match="teacher_probabilities must be probabilities"):
        distillation_loss(torch.zeros(1, 2), torch.tensor(wrong), 1.0)


def test_sixteen_bit_inputs_give_float32_losses_and_no_images_none(logits):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = distillation_loss(logits[0].bfloat16(), logits[1].softmax(dim=1).bfloat16(), 4.0)
    assert loss.dtype == torch.float32
    assert distillation_loss(torch.zeros(0, 2), torch.zeros(0, 2), 4.0).shape == (0,)
