"""Losses from logits and labels, one value per image; class weights and logit adjustment for unequal classes.

Shapes: B images, K classes. Logits are (B, K) of any floating dtype, labels (B,) int64 in 0 ... K-1; losses are (B,)
float32. Empty input gives empty output.
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

LEAST_DOUBT = 1e-12
"""Of a probability that is 1 in float32; the derivative of a root of 0 would be infinite."""


def cross_entropy(logits: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Compute minus the natural logarithm of the softmax probability of the true class.

    Args:
        label_smoothing: this share of the target is spread evenly over all classes (Szegedy et al. 2016,
            arXiv:1512.00567, section 7).
    """
    return F.cross_entropy(logits.float(), labels, reduction="none", label_smoothing=label_smoothing)


def focal(logits: Tensor, labels: Tensor, gamma: float) -> Tensor:
    """Compute (1 - p) ** gamma * -ln(p), where p is the softmax probability of the true class.

    Source: Lin et al. 2017, arXiv:1708.02002, eq. 4, with a softmax over K classes in place of the sigmoid.
    """
    loss_B = cross_entropy(logits, labels)
    doubt_B = -torch.expm1(-loss_B)
    return doubt_B.clamp(min=LEAST_DOUBT) ** gamma * loss_B


def squared_error(logits: Tensor, labels: Tensor, of: Literal["probabilities", "logits"] = "probabilities") -> Tensor:
    """Compute the squared distance to the one-hot target, summed over the classes.

    Args:
        of: `probabilities` = of the softmax (the Brier score, 0 to 2); `logits` = of the logits themselves.
    """
    outputs_BK = logits.float()
    if of == "probabilities":
        outputs_BK = outputs_BK.softmax(dim=1)
    targets_BK = F.one_hot(labels, outputs_BK.shape[1]).to(outputs_BK.dtype)
    return (outputs_BK - targets_BK).square().sum(dim=1)


def class_weights(
    counts: Sequence[int], how: Literal["balanced", "effective_number"] | Sequence[float], beta: float = 0.0
) -> Tensor:
    """Compute one weight per class; their mean over the training images is 1, so that no learning rate has to change.

    Args:
        counts: training images per class. A class without any is weighted as if it had one.
        how: `balanced` = proportional to 1 / n; `effective_number` = to (1 - beta) / (1 - beta ** n) (Cui et al. 2019,
            arXiv:1901.05555, eq. 2; there the weights' sum is K); or the weights, of which only the ratios count.
        beta: of the effective number; 0 = all alike, towards 1 = balanced.

    Returns:
        (K,) float32.

    Raises:
        ValueError: if the number of weights is not K, or the classes with images all have the weight 0.
    """
    counts_K = torch.tensor(counts, dtype=torch.float64)
    seen_K = counts_K.clamp(min=1)
    if how == "balanced":
        weights_K = 1 / seen_K
    elif how == "effective_number":
        weights_K = (1 - beta) / (1 - beta**seen_K)
    else:
        weights_K = torch.tensor(how, dtype=torch.float64)
    if len(weights_K) != len(counts_K):
        raise ValueError(f"{len(weights_K)} weights for {len(counts_K)} classes")
    total = (weights_K * counts_K).sum()
    if total <= 0:
        raise ValueError("the classes that have training images all have the weight 0")
    return (weights_K * counts_K.sum() / total).float()


def logit_adjustment(counts: Sequence[int], tau: float) -> Tensor:
    """Compute what is added to the logits in training: tau * ln(share of the class among the training images).

    Source: Menon et al. 2021, arXiv:2007.07314, eq. 10. A class without images counts as if it had one, so that its
    logit stays finite and is pushed down as a rare class's is.

    Returns:
        (K,) float32; zeros where tau is 0.
    """
    seen_K = torch.tensor(counts, dtype=torch.float64).clamp(min=1)
    return (tau * (seen_K / seen_K.sum()).log()).float()
