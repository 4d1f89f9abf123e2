"""Last layers that demand a margin between classes: they are trained with the model and hold its class vectors.

Each head is called with embeddings (B, D) and labels (B,), or None, and returns logits (B, K) in float32. With labels
the logit of the true class is made harder; without, they are the plain logits that evaluation uses. W (K, D) are the
class vectors, x the embeddings, theta the angle between them. There is no bias.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vision.losses.precision import without_autocast
from vision.losses.settings import Annealing

LEAST_SQUARED_SINE = 1e-7
"""One rounding error of a squared cosine near 1; the derivative of the root of 0 would be infinite."""


class Scores(NamedTuple):
    """What every margin is made from."""

    cosines: Tensor
    """(B, K) cos(theta), in [-1, 1]."""
    lengths: Tensor
    """(B, 1) of the embeddings."""


class MarginHead(nn.Module):
    """Class vectors, their angles to the embeddings, and an abstract margin.

    Args:
        embedding_size: D.
        num_classes: K.
    """

    def __init__(self, embedding_size: int, num_classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_classes, embedding_size))
        nn.init.xavier_uniform_(self.weight)

    def plain(self, scores: Scores) -> Tensor:
        """Return logits (B, K) without a margin."""
        raise NotImplementedError

    def with_margin(self, cosines: Tensor) -> Tensor:
        """Return what takes the place of cos(theta) for the true class; same shape."""
        raise NotImplementedError

    def forward(self, embeddings: Tensor, labels: Tensor | None = None) -> Tensor:
        """Compute logits (B, K), float32; with labels (B,) those of the true classes bear the margin."""
        with without_autocast(embeddings):
            scores = self._scores(embeddings.float())
            if labels is None:
                return self.plain(scores)
            true_B1 = labels[:, None]
            harder_B1 = self.with_margin(scores.cosines.gather(1, true_B1))
            return self.plain(Scores(scores.cosines.scatter(1, true_B1, harder_B1), scores.lengths))

    def _scores(self, embeddings_BD: Tensor) -> Scores:
        cosines_BK = F.linear(F.normalize(embeddings_BD), F.normalize(self.weight.float()))
        return Scores(cosines_BK.clamp(-1, 1), embeddings_BD.norm(dim=1, keepdim=True))


class AmSoftmax(MarginHead):
    """s * (cos(theta) - m) for the true class, s * cos(theta) for the others.

    Source: Wang et al. 2018, arXiv:1801.05599, eq. 6; the same as CosFace, arXiv:1801.09414, eq. 4.
    """

    def __init__(self, embedding_size: int, num_classes: int, *, scale: float, margin: float) -> None:
        super().__init__(embedding_size, num_classes)
        self.scale, self.margin = scale, margin

    def plain(self, scores: Scores) -> Tensor:
        return self.scale * scores.cosines

    def with_margin(self, cosines: Tensor) -> Tensor:
        return cosines - self.margin


class ArcFace(MarginHead):
    """s * cos(theta + m) for the true class, s * cos(theta) for the others; m in radians.

    Source: Deng et al. 2019, arXiv:1801.07698, eq. 3. Where theta + m is beyond half a turn, cos(theta) - m * sin(m)
    goes on downwards, as in the authors' code.
    """

    def __init__(self, embedding_size: int, num_classes: int, *, scale: float, margin: float) -> None:
        super().__init__(embedding_size, num_classes)
        self.scale, self.margin = scale, margin

    def plain(self, scores: Scores) -> Tensor:
        return self.scale * scores.cosines

    def with_margin(self, cosines: Tensor) -> Tensor:
        sines = (1 - cosines.square()).clamp(min=LEAST_SQUARED_SINE).sqrt()
        shifted = cosines * math.cos(self.margin) - sines * math.sin(self.margin)
        is_within_half_a_turn = cosines >= math.cos(math.pi - self.margin)
        return torch.where(is_within_half_a_turn, shifted, cosines - self.margin * math.sin(self.margin))


class MultipleAngleHead(MarginHead):
    """A head that multiplies the angle: psi(theta) = (-1)**k * cos(m * theta) - 2k on the k-th of m parts of [0, pi].

    With annealing (lambda * cos(theta) + psi(theta)) / (1 + lambda) takes psi's place. The step that lambda depends on
    is a buffer: it counts the calls with labels in training, and belongs in the checkpoint.
    """

    steps: Tensor

    def __init__(self, embedding_size: int, num_classes: int, *, margin: int, annealing: Annealing | None) -> None:
        super().__init__(embedding_size, num_classes)
        self.margin, self.annealing = margin, annealing
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def with_margin(self, cosines: Tensor) -> Tensor:
        part = (torch.acos(cosines.detach()) * self.margin / math.pi).floor().clamp(max=self.margin - 1)
        sign = 1 - 2 * (part % 2)
        psi = sign * cosine_of_multiple(cosines, self.margin) - 2 * part
        if self.annealing is None:
            return psi
        weight = annealing_weight(self.steps, self.annealing)
        if self.training:
            self.steps += 1
        return (weight * cosines + psi) / (1 + weight)


class LargeMarginSoftmax(MultipleAngleHead):
    """|W_y| |x| psi(theta) for the true class, W_j · x for the others.

    Source: Liu et al. 2016, arXiv:1612.02295, eqs. 4 to 7; lambda as in its section 5.1.
    """

    def plain(self, scores: Scores) -> Tensor:
        return scores.cosines * scores.lengths * self.weight.float().norm(dim=1)


class ASoftmax(MultipleAngleHead):
    """|x| psi(theta) for the true class, |x| cos(theta) for the others.

    Source: Liu et al. 2017, arXiv:1704.08063, eq. 7 (SphereFace).
    """

    def plain(self, scores: Scores) -> Tensor:
        return scores.cosines * scores.lengths


def annealing_weight(steps: Tensor, annealing: Annealing) -> Tensor:
    """Return lambda = max(end, start / (1 + rate * steps)), a scalar float32."""
    return (annealing.start / (1 + annealing.rate * steps.float())).clamp(min=annealing.end)


def cosine_of_multiple(cosines: Tensor, factor: int) -> Tensor:
    """Compute cos(factor * theta) from cos(theta) by the Chebyshev recurrence, which has no singular derivative.

    Raises:
        ValueError: if `factor` is less than 1.
    """
    if factor < 1:
        raise ValueError(f"the factor must be at least 1, got {factor}")
    previous, current = torch.ones_like(cosines), cosines
    for _ in range(factor - 1):
        previous, current = current, 2 * cosines * current - previous
    return current
