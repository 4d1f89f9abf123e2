"""From dense scores and boxes to the detections of each image: threshold, limit, class-wise NMS."""

import torch
from torch import Tensor
from torchvision.ops import batched_nms

CANDIDATES_PER_IMAGE = 1000
"""Only so many best (box, class) pairs enter NMS, whose time grows with the square; or as many as may be reported."""


def select_detections(
    boxes_BA4: Tensor,
    scores_BAK: Tensor,
    *,
    score_threshold: float,
    nms_threshold: float,
    max_detections: int,
) -> list[dict[str, Tensor]]:
    """Suppress duplicates class by class; one box may be reported for several classes.

    Args:
        boxes_BA4: (B, A, 4) float32 xyxy, pixels.
        scores_BAK: (B, A, K) float32 in [0, 1].

    Returns:
        Per image `boxes` (N, 4), `scores` (N,) falling, `labels` (N,) int64; N is at most `max_detections`, maybe 0.
    """
    num_classes = scores_BAK.shape[2]
    candidates = min(max(CANDIDATES_PER_IMAGE, max_detections), scores_BAK[0].numel())
    best_scores, best = scores_BAK.flatten(1).topk(candidates, dim=1)
    detections = []
    for boxes, scores, pairs in zip(boxes_BA4, best_scores, best, strict=True):
        num_above = int((scores > score_threshold).sum())
        scores, pairs = scores[:num_above], pairs[:num_above]
        boxes, labels = boxes[torch.div(pairs, num_classes, rounding_mode="floor")], pairs % num_classes
        kept = batched_nms(boxes, scores, labels, nms_threshold)[:max_detections]
        detections.append({"boxes": boxes[kept], "scores": scores[kept], "labels": labels[kept]})
    return detections
