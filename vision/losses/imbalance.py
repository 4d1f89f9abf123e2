"""Losses of detection heads whose classes are not equally frequent: focal, equalisation, seesaw. Pure formulas.

Shapes: N points or proposals, K classes without background. Results are float32; empty input gives empty output.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from vision.losses.classification import LEAST_DOUBT

SEESAW_LEAST_PROBABILITY = 0.01
"""A true class is taken for no less likely when others are compared with it, as in the authors' code: without it the
first steps would push rivals that are all but equally unlikely."""


def sigmoid_focal(logits: Tensor, targets: Tensor, gamma: float, alpha: float | None = None) -> Tensor:
    """Compute the focal loss of independent classes, elementwise.

    Binary cross-entropy times |target - p| ** gamma, and times alpha for targets of 1, 1 - alpha for targets of 0.
    Source: Lin et al. 2017, arXiv:1708.02002, eq. 5; the form for targets between 0 and 1 is that of Li et al. 2020,
    arXiv:2006.04388, eq. 5, the same where they are 0 or 1. Its least is at p = target.

    Args:
        logits: (..., K) of any floating dtype.
        targets: (..., K) in [0, 1].
        gamma: 0 = plain cross-entropy.
        alpha: None = both alike.
    """
    logits, targets = logits.float(), targets.float()
    loss = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    if gamma:
        loss = loss * (targets - logits.sigmoid()).abs().clamp(min=LEAST_DOUBT) ** gamma
    return loss if alpha is None else loss * (alpha * targets + (1 - alpha) * (1 - targets))


def equalised(labels: Tensor, is_rare: Tensor) -> Tensor:
    """Say which terms the equalisation loss keeps: all but those by which an object tells rare classes that it is none.

    Source: Tan et al. 2020, arXiv:2003.05176, eqs. 3 and 4: 1 - E(r) * T(f) * (1 - y).

    Args:
        labels: (N,) int64; -1 = background, which discourages every class.
        is_rare: (K,) bool, T(f) of the paper.

    Returns:
        (N, K) float32, 0 or 1.
    """
    is_object_N1 = (labels >= 0)[:, None]
    is_own_NK = labels[:, None] == torch.arange(len(is_rare), device=labels.device)
    return 1.0 - (is_object_N1 & is_rare & ~is_own_NK).float()


def seesaw_factors(logits: Tensor, labels: Tensor, counts: Tensor, p: float, q: float) -> Tensor:
    """Compute the logarithms of seesaw loss's factors on the other classes' exponentials, without gradient.

    Of an object of class i, class j is discouraged by M * C: M = (N_j / N_i) ** p where j is rarer than i (mitigation),
    C = (p_j / p_i) ** q where the network holds j for likelier (compensation), 1 otherwise. The loss is the
    cross-entropy of logits + factors.
    Source: Wang et al. 2021, arXiv:2008.10032, eqs. 2 to 6.

    Args:
        logits: (N, K).
        labels: (N,) int64 in 0 … K-1.
        counts: (K,) objects of each class so far; one without any counts as if it had one.
        p: of the mitigation; 0 = none.
        q: of the compensation; 0 = none.

    Returns:
        (N, K) float32; 0 for the own class.
    """
    with torch.no_grad():
        log_counts_K = counts.clamp(min=1).double().log().float()
        log_mitigation_NK = p * (log_counts_K - log_counts_K[labels, None]).clamp(max=0)
        log_p_NK = logits.float().log_softmax(dim=1)
        own_N1 = log_p_NK.gather(1, labels[:, None])
        own_N1 = own_N1.clamp(min=math.log(SEESAW_LEAST_PROBABILITY))
        log_compensation_NK = q * (log_p_NK - own_N1).clamp(min=0)
        return (log_mitigation_NK + log_compensation_NK).scatter(1, labels[:, None], 0.0)
