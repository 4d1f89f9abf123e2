"""IoU and its generalisations in torch, with gradients, safe on degenerate boxes. numpy's are in `vision.boxes`.

All functions take boxes (..., 4) float32 xyxy in pixels whose leading shapes broadcast, and return one value per pair
in that broadcast shape. Empty input gives empty output.
"""

import math

import torch
from torch import Tensor

EPS = 1e-7
"""Keeps divisions finite; the unit is square pixels, so it is far below any visible box."""


def iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Intersection over union in [0, 1]; 0 where both boxes have no area."""
    intersection, union = _intersection_and_union(boxes, others)
    return intersection / (union + EPS)


def giou(boxes: Tensor, others: Tensor) -> Tensor:
    """Generalised IoU in [-1, 1].

    Source: Rezatofighi et al. 2019, arXiv:1902.09630, eq. 3.
    """
    intersection, union = _intersection_and_union(boxes, others)
    hull_size = _hull_size(boxes, others)
    hull = hull_size[..., 0] * hull_size[..., 1]
    return intersection / (union + EPS) - (hull - union) / (hull + EPS)


def ciou(boxes: Tensor, others: Tensor) -> Tensor:
    """Complete IoU: IoU less the distance of the centres and the difference of the aspect ratios.

    Source: Zheng et al. 2019, arXiv:1911.08287, eq. 9-11; the trade-off weight alpha gets no gradient.
    """
    overlap = iou(boxes, others)
    hull_size = _hull_size(boxes, others)
    diagonal = hull_size.square().sum(-1)
    # The centres' distance is half the distance of the corner sums.
    distance = (boxes[..., :2] + boxes[..., 2:] - others[..., :2] - others[..., 2:]).square().sum(-1) / 4
    angle_gap = _aspect_angle(boxes) - _aspect_angle(others)
    aspect = (4 / math.pi**2) * angle_gap.square()
    with torch.no_grad():
        alpha = aspect / (1 - overlap + aspect + EPS)
    return overlap - distance / (diagonal + EPS) - alpha * aspect


def pairwise_iou(boxes_BA4: Tensor, gt_boxes_BG4: Tensor) -> Tensor:
    """IoU of every ground truth with every prediction of the same image, (B, G, A)."""
    # Coordinates first and contiguous: the broadcast then runs over whole rows of A.
    left, top, right, bottom = boxes_BA4.movedim(-1, 0).contiguous().unsqueeze(2).unbind(0)
    gt_left, gt_top, gt_right, gt_bottom = gt_boxes_BG4.movedim(-1, 0).unsqueeze(-1).unbind(0)
    width = (torch.minimum(right, gt_right) - torch.maximum(left, gt_left)).clamp_(min=0)
    height = (torch.minimum(bottom, gt_bottom) - torch.maximum(top, gt_top)).clamp_(min=0)
    intersection = width.mul_(height)
    area = (right - left) * (bottom - top)
    gt_area = (gt_right - gt_left) * (gt_bottom - gt_top)
    return intersection / (area + gt_area - intersection).add_(EPS)


def _intersection_and_union(boxes: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    top_left = torch.maximum(boxes[..., :2], others[..., :2])
    bottom_right = torch.minimum(boxes[..., 2:], others[..., 2:])
    intersection = (bottom_right - top_left).clamp(min=0).prod(-1)
    return intersection, _area(boxes) + _area(others) - intersection


def _area(boxes: Tensor) -> Tensor:
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def _hull_size(boxes: Tensor, others: Tensor) -> Tensor:
    return torch.maximum(boxes[..., 2:], others[..., 2:]) - torch.minimum(boxes[..., :2], others[..., :2])


def _aspect_angle(boxes: Tensor) -> Tensor:
    width, height = (boxes[..., 2:] - boxes[..., :2]).unbind(-1)
    return torch.atan(width / (height + EPS))
