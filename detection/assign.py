"""Which predictions answer for which ground truth, for a whole batch at once. Dense one-stage detectors only.

Shapes: B images, A anchor points, G ground truths (padded to the batch's largest number), K classes.
Assigning needs no gradients; callers detach.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy
from torch.nn.utils.rnn import pad_sequence

from detection.box_losses import pairwise_iou

PADDING_LABEL = -1


@dataclass(frozen=True, slots=True)
class GroundTruths:
    """The targets of a batch, padded to the same number per image (at least 1)."""

    boxes_BG4: Tensor
    """xyxy pixels; zeros where padded."""
    labels_BG: Tensor
    """int64; 0 where padded, so that it can index."""
    is_real_BG: Tensor


@dataclass(frozen=True, slots=True)
class Assignment:
    """For every anchor point: does it answer for a ground truth, for which one, and how well does it fit."""

    is_positive_BA: Tensor
    gt_index_BA: Tensor
    """int64 in 0 … G-1; 0 for negatives."""
    quality_BA: Tensor
    """float32 in [0, 1], 0 for negatives: the IoU (SimOTA) or the normalised alignment (task-aligned)."""


def pad_targets(targets: Sequence[dict[str, Tensor]] | None, device: torch.device) -> GroundTruths:
    """Stack `boxes` (N, 4) and `labels` (N,) of each image; images without boxes are all padding.

    Raises:
        ValueError: if there are no targets at all; losses cannot do without.
    """
    if targets is None:
        raise ValueError("a model in train mode needs targets; give them, or call model.eval() to predict")
    one = torch.zeros(1, 4), torch.full((1,), PADDING_LABEL)
    boxes = [one[0].to(device), *(target["boxes"].float() for target in targets)]
    labels = [one[1].to(device), *(target["labels"] for target in targets)]
    # The extra first row guarantees G >= 1, which spares every consumer a special case.
    labels_BG = pad_sequence(labels, batch_first=True, padding_value=PADDING_LABEL)[1:]
    return GroundTruths(pad_sequence(boxes, batch_first=True)[1:], labels_BG.clamp(min=0), labels_BG != PADDING_LABEL)


@torch.no_grad()
def assign_task_aligned(
    logits_BAK: Tensor,
    boxes_BA4: Tensor,
    centers_A2: Tensor,
    truths: GroundTruths,
    *,
    top_k: int = 10,
    alpha: float = 1.0,
    beta: float = 6.0,
    min_half_size: float = 4.0,
) -> Assignment:
    """Give each ground truth the `top_k` points inside it whose score and IoU agree best.

    Alignment is score^alpha * IoU^beta; a point wanted by several ground truths goes to the one it overlaps most
    (the first on ties). The quality is the alignment, scaled so that each ground truth's best point gets its best IoU.

    Args:
        logits_BAK: (B, A, K) float32 class logits.
        boxes_BA4: (B, A, 4) float32 predicted boxes, pixels.
        centers_A2: (A, 2) float32 anchor points, pixels.
        min_half_size: boxes smaller than twice this are widened when points are gathered, so that with half the
            finest stride no box is left without a point. Pixels.

    Source: Feng et al. 2021 (TOOD), arXiv:2108.07755, section 3.3; alpha and beta as published.
    """
    iou_BGA = pairwise_iou(boxes_BA4, truths.boxes_BG4)
    labels_BGA = truths.labels_BG[..., None].expand(-1, -1, boxes_BA4.shape[1])
    score_BGA = logits_BAK.transpose(1, 2).sigmoid().gather(1, labels_BGA)
    is_candidate_BGA = _is_inside(centers_A2, truths, min_half_size)
    alignment_BGA = score_BGA.pow_(alpha).mul_(iou_BGA.pow(beta)).masked_fill_(~is_candidate_BGA, -1.0)
    top_k = min(top_k, boxes_BA4.shape[1])
    best = alignment_BGA.topk(top_k, dim=2).indices
    is_match_BGA = torch.zeros_like(is_candidate_BGA).scatter_(2, best, True).logical_and_(is_candidate_BGA)
    is_positive_BA, gt_index_BA = _resolve_conflicts(is_match_BGA, (-iou_BGA).masked_fill_(~is_match_BGA, torch.inf))
    is_match_BGA = torch.zeros_like(is_match_BGA).scatter_(1, gt_index_BA[:, None], is_positive_BA[:, None])
    alignment_BGA.masked_fill_(~is_match_BGA, 0.0)
    best_alignment_BG1 = alignment_BGA.amax(dim=2, keepdim=True)
    best_iou_BG1 = iou_BGA.masked_fill_(~is_match_BGA, 0.0).amax(dim=2, keepdim=True)
    # Smallest normal number: at the start of training IoU^6 is far below any customary epsilon.
    scale_BG1 = best_iou_BG1 / best_alignment_BG1.clamp_(min=torch.finfo(torch.float32).tiny)
    return Assignment(is_positive_BA, gt_index_BA, alignment_BGA.mul_(scale_BG1).amax(dim=1))


@torch.no_grad()
def assign_simota(
    probabilities_BAK: Tensor,
    boxes_BA4: Tensor,
    centers_A2: Tensor,
    strides_A1: Tensor,
    truths: GroundTruths,
    *,
    center_radius: float = 2.5,
    top_k: int = 10,
    iou_weight: float = 3.0,
) -> Assignment:
    """Give each ground truth its k cheapest points, k being the sum of its `top_k` best IoUs.

    Candidates are the points in any ground truth's box or within `center_radius` strides of its centre. The cost of a
    pair is BCE(class) + `iou_weight` * -log(IoU), and far higher unless the point lies in both regions of that
    ground truth. A point wanted by several ground truths goes to the one of all to which
    it is cheapest (the first on ties).

    Args:
        probabilities_BAK: (B, A, K) float32: sqrt(class probability x objectness).
        boxes_BA4: (B, A, 4) float32 predicted boxes, pixels.
        centers_A2: (A, 2) float32 anchor points, pixels; `strides_A1` (A, 1) their strides.

    Source: Ge et al. 2021, arXiv:2107.08430, section 2.1 (SimOTA); constants of the official release.
    """
    in_box_BGA = _is_inside(centers_A2, truths, 0.0)
    in_center_BGA = _is_near_center(centers_A2, strides_A1 * center_radius, truths)
    is_candidate_B1A = (in_box_BGA | in_center_BGA).any(dim=1, keepdim=True)
    is_pair_BGA = is_candidate_B1A & truths.is_real_BG[..., None]
    iou_BGA = pairwise_iou(boxes_BA4, truths.boxes_BG4).masked_fill_(~is_pair_BGA, 0.0)
    cost_BGA = _class_cost(probabilities_BAK, truths.labels_BG)
    cost_BGA -= iou_weight * (iou_BGA + _SIMOTA_EPS).log_()
    cost_BGA += _OUTSIDE_COST * ~(in_box_BGA & in_center_BGA)
    cost_BGA.masked_fill_(~is_pair_BGA, torch.inf)
    top_k = min(top_k, boxes_BA4.shape[1])
    num_matches_BG1 = iou_BGA.topk(top_k, dim=2).values.sum(dim=2, keepdim=True).int().clamp_(min=1)
    cheapest = cost_BGA.topk(top_k, dim=2, largest=False).indices
    is_within_k = torch.arange(top_k, device=cost_BGA.device) < num_matches_BG1
    is_match_BGA = torch.zeros_like(is_pair_BGA).scatter_(2, cheapest, is_within_k).logical_and_(is_pair_BGA)
    is_positive_BA, gt_index_BA = _resolve_conflicts(is_match_BGA, cost_BGA)
    quality_BA = iou_BGA.gather(1, gt_index_BA[:, None])[:, 0].masked_fill_(~is_positive_BA, 0.0)
    return Assignment(is_positive_BA, gt_index_BA, quality_BA)


_SIMOTA_EPS = 1e-8
_OUTSIDE_COST = 1e5


def _class_cost(probabilities_BAK: Tensor, labels_BG: Tensor) -> Tensor:
    """Sum over K of BCE(probabilities, one-hot of the label), (B, G, A), without a (B, G, A, K) tensor."""
    # binary_cross_entropy clamps its logarithms at -100, hence no infinities.
    if_absent_BAK = binary_cross_entropy(probabilities_BAK, torch.zeros_like(probabilities_BAK), reduction="none")
    if_present_BAK = binary_cross_entropy(probabilities_BAK, torch.ones_like(probabilities_BAK), reduction="none")
    all_absent_B1A = if_absent_BAK.sum(dim=2)[:, None]
    index_BGA = labels_BG[..., None].expand(-1, -1, probabilities_BAK.shape[1])
    return all_absent_B1A + (if_present_BAK - if_absent_BAK).transpose(1, 2).gather(1, index_BGA)


def _is_inside(centers_A2: Tensor, truths: GroundTruths, min_half_size: float) -> Tensor:
    """Whether each point lies strictly inside each real ground truth, (B, G, A)."""
    middle_BG2 = (truths.boxes_BG4[..., :2] + truths.boxes_BG4[..., 2:]) / 2
    half_BG2 = ((truths.boxes_BG4[..., 2:] - truths.boxes_BG4[..., :2]) / 2).clamp(min=min_half_size)
    return _is_within(centers_A2, middle_BG2, half_BG2[..., 0:1], half_BG2[..., 1:2], truths.is_real_BG)


def _is_near_center(centers_A2: Tensor, radius_A1: Tensor, truths: GroundTruths) -> Tensor:
    """Whether each point lies within its radius of each real ground truth's centre, along both axes, (B, G, A)."""
    middle_BG2 = (truths.boxes_BG4[..., :2] + truths.boxes_BG4[..., 2:]) / 2
    return _is_within(centers_A2, middle_BG2, radius_A1[:, 0], radius_A1[:, 0], truths.is_real_BG)


def _is_within(centers_A2: Tensor, middle_BG2: Tensor, reach_x: Tensor, reach_y: Tensor, is_real_BG: Tensor) -> Tensor:
    is_near_x = (centers_A2[:, 0] - middle_BG2[..., 0:1]).abs_() < reach_x
    is_near_y = (centers_A2[:, 1] - middle_BG2[..., 1:2]).abs_() < reach_y
    return is_near_x.logical_and_(is_near_y).logical_and_(is_real_BG[..., None])


def _resolve_conflicts(is_match_BGA: Tensor, cost_BGA: Tensor) -> tuple[Tensor, Tensor]:
    """Keep one ground truth per point: the matched one, or the cheapest of all where several match."""
    num_matches_BA = is_match_BGA.sum(dim=1)
    # Not argmin and argmax, which are several times slower on a CPU.
    only_match_BA = is_match_BGA.to(torch.uint8).max(dim=1).indices
    gt_index_BA = torch.where(num_matches_BA > 1, cost_BGA.min(dim=1).indices, only_match_BA)
    return num_matches_BA > 0, gt_index_BA
