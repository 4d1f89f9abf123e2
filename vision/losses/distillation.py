"""Kullback-Leibler divergence, and learning from a teacher's probabilities by it.

Shapes: B images, K classes; results are (B,) float32. Empty input gives empty output.
"""

import torch
from torch import Tensor

SUM_TOLERANCE = 1e-2
"""Probabilities that were computed in 16 bits add up to 1 only so far."""


def kl_divergence(log_targets: Tensor, log_probabilities: Tensor) -> Tensor:
    """Compute sum p * (ln p - ln q) over the classes; 0 where p and q agree, never below, not symmetric.

    Args:
        log_targets: (B, K) ln p; -inf where p is 0.
        log_probabilities: (B, K) ln q.

    Raises:
        ValueError: if an argument is not made of logarithms of probabilities, which probabilities and logits are not.
    """
    for name, logs in (("log_targets", log_targets), ("log_probabilities", log_probabilities)):
        if not _adds_up_to_one(logs.float().exp()):
            raise ValueError(f"{name} must be logarithms of probabilities: the sum of exp(value) is not 1 in each row")
    return _kl(log_targets.float(), log_probabilities.float())


def distillation_loss(logits: Tensor, teacher_probabilities: Tensor, temperature: float) -> Tensor:
    """Compute T**2 * KL(teacher || student), both softened by the temperature T.

    The factor keeps the gradients' size independent of T, so that the share of this term need not change with it.
    Source: Hinton et al. 2015, arXiv:1503.02531, section 2. No gradient reaches the teacher.

    Args:
        logits: (B, K) of the student.
        teacher_probabilities: (B, K) at temperature 1, as a classifier gives them; p ** (1/T), scaled to the sum 1, is
            the same as the softmax of its logits / T.

    Raises:
        ValueError: if the teacher's rows are not probabilities.
    """
    teacher_BK = teacher_probabilities.detach().float()
    # It waits for the device once per step; the teacher's forward pass costs far more.
    if not _adds_up_to_one(teacher_BK) or bool((teacher_BK < 0).any()):
        raise ValueError("teacher_probabilities must be probabilities: 0 or more, with the sum 1 in each row")
    teacher_logits_BK = teacher_BK.clamp(min=torch.finfo(torch.float32).tiny).log()
    log_targets = (teacher_logits_BK / temperature).log_softmax(dim=1)
    return temperature**2 * _kl(log_targets, (logits.float() / temperature).log_softmax(dim=1))


def _kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    p = log_p.exp()
    # Where p is 0 the limit of p ln p is 0; computed as it stands it would be 0 * inf.
    return (p * (log_p - log_q).masked_fill(p == 0, 0)).sum(dim=1)


def _adds_up_to_one(probabilities_BK: Tensor) -> bool:
    return bool(((probabilities_BK.sum(dim=1) - 1).abs() <= SUM_TOLERANCE).all())
