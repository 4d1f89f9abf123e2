"""Terms on embeddings: near to their class's centre, near to their own class, far from the others.

Shapes: N embeddings (N, D) with labels (N,) int64; each term is a float32 scalar. Where a step holds no pair of the
kind in question it is 0, with gradients of 0. What ranks must agree on goes through `reduce` and `gather`; see
`vision.losses.build.build_loss` for what they do.
"""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vision.losses.precision import without_autocast

Collective = Callable[[Tensor], Tensor]


class CenterLoss(nn.Module):
    """Half the squared distance between an embedding and its class's centre, mean over the images.

    In training every call then moves the centre of each class c by
    alpha * sum(x_i - centre_c) / (1 + n_c), over the n_c images of the class on all ranks. Centres start at 0; they
    are a buffer, not a parameter: no optimizer touches them, and they belong in the checkpoint.
    Source: Wen et al. 2016, eqs. 2 and 4; we take the mean over the images where eq. 2 has the sum.
    """

    centres: Tensor

    def __init__(self, embedding_size: int, num_classes: int, *, weight: float, alpha: float, reduce: Collective):
        super().__init__()
        self.weight, self.alpha, self.reduce = weight, alpha, reduce
        self.register_buffer("centres", torch.zeros(num_classes, embedding_size))

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Compute the weighted term; in training also move the centres, after their use.

        Every rank must call it equally often.
        """
        with without_autocast(embeddings):
            offsets_ND = embeddings.float() - self.centres[labels]
            distances_N = offsets_ND.square().sum(dim=1)
            if self.training:
                self._move_centres(offsets_ND.detach(), labels)
            return self.weight * distances_N.sum() / (2 * max(len(labels), 1))

    @torch.no_grad()
    def _move_centres(self, offsets_ND: Tensor, labels: Tensor) -> None:
        num_classes, embedding_size = self.centres.shape
        # Sums and counts side by side: one collective instead of two.
        sums = offsets_ND.new_zeros(num_classes, embedding_size + 1)
        ones_N1 = torch.ones_like(offsets_ND[:, :1])
        sums.index_add_(0, labels, torch.cat([offsets_ND, ones_N1], dim=1))
        sums = self.reduce(sums)
        self.centres += self.alpha * sums[:, :-1] / (1 + sums[:, -1:])


class PairTerm(nn.Module):
    """A term on the distances among all embeddings of a step, of all ranks; the same value on each."""

    def __init__(self, *, weight: float, margin: float, normalize_embeddings: bool, gather: Collective) -> None:
        super().__init__()
        self.weight, self.margin, self.gather = weight, margin, gather
        self.normalize_embeddings = normalize_embeddings

    def term(self, distances: Tensor, is_same: Tensor) -> Tensor:
        """Return the unweighted scalar from (N, N) distances and whether labels are equal."""
        raise NotImplementedError

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Compute the weighted term. Every rank must call it equally often."""
        with without_autocast(embeddings):
            embeddings_ND = self.gather(embeddings.float())
            labels_N = self.gather(labels)
            distances_NN = euclidean_distances(embeddings_ND, normalize=self.normalize_embeddings)
            return self.weight * self.term(distances_NN, labels_N[:, None] == labels_N)


class ContrastiveLoss(PairTerm):
    """Pairs of one class are drawn together, others pushed apart until the margin.

    squared: mean of d**2 / 2 over the pairs of one class, plus mean of max(0, margin - d)**2 / 2 over the others
    (Hadsell et al. 2006, eq. 4; we average the two kinds apart, as pairs of one class are rare in a batch).
    linear: d and max(0, margin - d), each averaged over the pairs where it is above 0.
    """

    def __init__(
        self,
        *,
        weight: float,
        margin: float,
        mode: Literal["squared", "linear"],
        normalize_embeddings: bool,
        gather: Collective,
    ) -> None:
        super().__init__(weight=weight, margin=margin, normalize_embeddings=normalize_embeddings, gather=gather)
        self.mode = mode

    def term(self, distances: Tensor, is_same: Tensor) -> Tensor:
        is_pair = torch.ones_like(is_same).triu(diagonal=1)
        pull = distances
        push = (self.margin - distances).clamp(min=0)
        if self.mode == "linear":
            return _mean_where(pull, is_pair & is_same & (pull > 0)) + _mean_where(
                push, is_pair & ~is_same & (push > 0)
            )
        pull, push = pull.square() / 2, push.square() / 2
        return _mean_where(pull, is_pair & is_same) + _mean_where(push, is_pair & ~is_same)


class TripletLoss(PairTerm):
    """max(0, margin + d(anchor, same class) - d(anchor, other class)).

    hard: per anchor its furthest of the class and its nearest of another, mean over the anchors that have both
    (Hermans et al. 2017, arXiv:1703.07737, eq. 5). all: mean over all triplets that are above 0 (there "batch all,
    non-zero"). An equal distance goes to the first of them.
    """

    def __init__(
        self,
        *,
        weight: float,
        margin: float,
        mining: Literal["hard", "all"],
        normalize_embeddings: bool,
        gather: Collective,
    ) -> None:
        super().__init__(weight=weight, margin=margin, normalize_embeddings=normalize_embeddings, gather=gather)
        self.mining = mining

    def term(self, distances: Tensor, is_same: Tensor) -> Tensor:
        is_positive = is_same & ~torch.eye(len(is_same), dtype=torch.bool, device=is_same.device)
        if self.mining == "hard":
            return self._hard(distances, is_positive, ~is_same)
        return self._all(distances, is_positive, ~is_same)

    def _hard(self, distances: Tensor, is_positive: Tensor, is_negative: Tensor) -> Tensor:
        if not len(distances):
            return distances.sum()
        furthest_N = distances.masked_fill(~is_positive, -torch.inf).max(dim=1).values
        nearest_N = distances.masked_fill(~is_negative, torch.inf).min(dim=1).values
        has_both_N = is_positive.any(dim=1) & is_negative.any(dim=1)
        violation_N = (self.margin + furthest_N - nearest_N).clamp(min=0)
        return _mean_where(violation_N, has_both_N)

    def _all(self, distances: Tensor, is_positive: Tensor, is_negative: Tensor) -> Tensor:
        # P pairs of one class instead of N * N: memory P * N.
        anchors_P, positives_P = is_positive.nonzero(as_tuple=True)
        violation_PN = self.margin + distances[anchors_P, positives_P][:, None] - distances[anchors_P]
        return _mean_where(violation_PN, is_negative[anchors_P] & (violation_PN > 0))


def euclidean_distances(embeddings: Tensor, *, normalize: bool) -> Tensor:
    """Compute the distance of every pair of rows.

    Args:
        embeddings: (N, D).
        normalize: scale rows to length 1 first; a row of zeros stays one.

    Returns:
        (N, N), 0 on the diagonal; the gradient of a distance of 0 is 0, not nan.
    """
    if normalize:
        embeddings = F.normalize(embeddings)
    # Not by way of the product of the rows: that loses half of the digits of small distances.
    return torch.cdist(embeddings, embeddings, compute_mode="donot_use_mm_for_euclid_dist")


def _mean_where(values: Tensor, is_counted: Tensor) -> Tensor:
    """Average the values that count; 0 where none does. The others may be infinite."""
    total = values.masked_fill(~is_counted, 0).sum()
    return total / is_counted.sum().clamp(min=1)
