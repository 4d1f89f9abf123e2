"""Joining what several looks at one image found: class-wise NMS, non-maximum merging and weighted box fusion.

Shapes: N boxes that come in, M <= N that go out; N may be 0. Boxes are xyxy in any one unit. Boxes of different
classes never meet. Boxes go by falling score, equal scores in the order in which they came; two boxes overlap if their
measure is greater than the threshold, so a threshold of 1 joins nothing.
"""

from typing import Literal, NamedTuple

import numpy as np

Measure = Literal["iou", "ios"]
"""Intersection over union, or over the smaller box: 1 for the cut half of an object on the whole of it."""


class ScoredBoxes(NamedTuple):
    """Boxes with their scores and classes."""

    boxes: np.ndarray
    """(N, 4) float32 xyxy."""
    scores: np.ndarray
    """(N,) float32."""
    labels: np.ndarray
    """(N,) int64."""

    def at(self, indices: np.ndarray | slice) -> "ScoredBoxes":
        """Return those at some positions, in that order."""
        return ScoredBoxes(self.boxes[indices], self.scores[indices], self.labels[indices])

    def by_score(self) -> "ScoredBoxes":
        """Return them by falling score; equal scores keep their order."""
        return self.at(np.argsort(-self.scores, kind="stable"))


def concatenate(parts: list[ScoredBoxes]) -> ScoredBoxes:
    """Join lists of boxes into one."""
    return ScoredBoxes(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def suppress(
    found: ScoredBoxes, threshold: float, measure: Measure = "iou", priority: np.ndarray | None = None
) -> ScoredBoxes:
    """Keep the best box, drop those that overlap it, go on with the next best that is left (NMS).

    Args:
        found: N boxes.
        threshold: boxes that overlap a better one by more are dropped.
        measure: of overlap.
        priority: (N,) says which is better; None = the scores.

    Returns:
        M boxes by falling score.
    """
    ranked = _ranked(found, priority)
    keepers = _keepers(ranked, threshold, measure)
    return ranked.at(np.flatnonzero(keepers == np.arange(len(keepers)))).by_score()


def merge_greedily(
    found: ScoredBoxes,
    threshold: float,
    measure: Measure = "iou",
    priority: np.ndarray | None = None,
    least_share: float = 0.0,
) -> ScoredBoxes:
    """Do as NMS does, but let each box that stays grow until it holds those that are dropped for it (NMM).

    Source: greedy non-maximum merging as in SAHI (Akyon et al. 2022, arXiv:2202.06934). Where we differ: members
    belong to the box that they overlapped before it grew, in whatever order they come.

    Args:
        found: N boxes.
        threshold: boxes that overlap a better one by more become part of it.
        measure: of overlap.
        priority: (N,) says which is better; None = the scores.
        least_share: members with less than this share of the score of the box that stays are dropped without a trace.

    Returns:
        M boxes by falling score, each with the highest score of its members.
    """
    ranked = _ranked(found, priority)
    keepers = _keepers(ranked, threshold, measure)
    members = np.flatnonzero(ranked.scores >= least_share * ranked.scores[keepers])
    grown, scores = ranked.boxes.copy(), ranked.scores.copy()
    np.minimum.at(grown[:, :2], keepers[members], ranked.boxes[members, :2])
    np.maximum.at(grown[:, 2:], keepers[members], ranked.boxes[members, 2:])
    np.maximum.at(scores, keepers[members], ranked.scores[members])
    stay = np.flatnonzero(keepers == np.arange(len(keepers)))
    return ScoredBoxes(grown, scores, ranked.labels).at(stay).by_score()


def fuse_weighted(found: ScoredBoxes, threshold: float, num_passes: int = 1) -> ScoredBoxes:
    """Average overlapping boxes, each weighted by its score (weighted box fusion).

    Source: Solovyev et al. 2019, arXiv:1910.13302, section 3, eqs. 1 to 5 with equal models: the score of a cluster is
    the mean of its members', times min(members, passes) / passes.

    Args:
        found: N boxes.
        threshold: a box joins the cluster whose average it overlaps most (the older one if equal), if by more IoU.
        num_passes: how often the image was looked at; what fewer looks found counts less. 1 = leave the mean as it is.

    Returns:
        M boxes by falling score.
    """
    ranked = found.by_score()
    classes = [ranked.at(np.flatnonzero(ranked.labels == label)) for label in np.unique(ranked.labels)]
    if not classes:
        return ranked
    return concatenate([_fuse_class(of_class, threshold, num_passes) for of_class in classes]).by_score()


def _ranked(found: ScoredBoxes, priority: np.ndarray | None) -> ScoredBoxes:
    return found.by_score() if priority is None else found.at(np.argsort(-priority, kind="stable"))


def _fuse_class(ranked: ScoredBoxes, threshold: float, num_passes: int) -> ScoredBoxes:
    """Fuse boxes of one class, given by falling score; at least one."""
    boxes = ranked.boxes.astype(np.float64)
    # A score of exactly zero weighs nothing; a cluster of such boxes is still where they are.
    weights = np.maximum(ranked.scores.astype(np.float64), np.finfo(np.float64).tiny)
    averages, sums = np.empty_like(boxes), np.empty_like(boxes)
    total, count = np.zeros(len(boxes)), np.zeros(len(boxes), np.int64)
    num_clusters = 0
    for box, weight in zip(boxes, weights, strict=True):
        overlaps = _overlap(averages[:num_clusters], box, "iou")
        chosen = int(overlaps.argmax()) if num_clusters else 0
        if num_clusters == 0 or overlaps[chosen] <= threshold:
            chosen, num_clusters = num_clusters, num_clusters + 1
            sums[chosen] = 0.0
        sums[chosen] += weight * box
        total[chosen] += weight
        count[chosen] += 1
        averages[chosen] = sums[chosen] / total[chosen]
    total, count = total[:num_clusters], count[:num_clusters]
    scores = total / count * np.minimum(count, num_passes) / num_passes
    labels = ranked.labels[:num_clusters]
    return ScoredBoxes(averages[:num_clusters].astype(np.float32), scores.astype(np.float32), labels)


def _keepers(ranked: ScoredBoxes, threshold: float, measure: Measure) -> np.ndarray:
    """For each box the position of the one that it is dropped for, (N,) int64; a box that stays has its own."""
    keepers = list(range(len(ranked.scores)))
    better, worse = _overlapping_pairs(ranked, threshold, measure)
    for one, other in zip(better.tolist(), worse.tolist(), strict=True):
        if keepers[one] == one and keepers[other] == other:
            keepers[other] = one
    return np.array(keepers, np.int64)


def _overlapping_pairs(ranked: ScoredBoxes, threshold: float, measure: Measure) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions of all pairs of one class that overlap, the better first; sorted by better, then worse.

    Only boxes whose spans along x meet are compared, which for many small boxes spares most of the N² pairs.
    """
    boxes = ranked.boxes.astype(np.float64)
    pairs = []
    for label in np.unique(ranked.labels):
        of_class = np.flatnonzero(ranked.labels == label)
        by_left = of_class[np.argsort(boxes[of_class, 0], kind="stable")]
        number = np.arange(len(by_left))
        # Those that begin to the right of a box's left edge and to the left of its right edge meet it.
        ends = np.maximum(np.searchsorted(boxes[by_left, 0], boxes[by_left, 2], side="left"), number + 1)
        lengths = ends - number - 1
        first = np.repeat(number, lengths)
        second = np.arange(len(first)) - np.repeat(np.cumsum(lengths) - lengths, lengths) + first + 1
        pairs.append(np.sort(by_left[np.stack([first, second])], axis=0))
    better, worse = np.concatenate([np.zeros((2, 0), np.int64), *pairs], axis=1)
    meet = _overlap(boxes[better], boxes[worse], measure) > threshold
    better, worse = better[meet], worse[meet]
    order = np.lexsort((worse, better))
    return better[order], worse[order]


def _overlap(boxes: np.ndarray, others: np.ndarray, measure: Measure) -> np.ndarray:
    """Overlap of boxes (P, 4) with others (P, 4) or with one (4,), (P,) in [0, 1]; 0 where there is no area."""
    x1, y1, x2, y2 = boxes.T
    left, top, right, bottom = others.T
    sides_x = np.minimum(x2, right) - np.maximum(x1, left)
    sides_y = np.minimum(y2, bottom) - np.maximum(y1, top)
    intersection = np.maximum(sides_x, 0) * np.maximum(sides_y, 0)
    area, other_area = (x2 - x1) * (y2 - y1), (right - left) * (bottom - top)
    whole = np.minimum(area, other_area) if measure == "ios" else area + other_area - intersection
    return np.divide(intersection, whole, out=np.zeros_like(intersection), where=intersection > 0)
