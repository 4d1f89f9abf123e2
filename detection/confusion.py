"""Which detection belongs to which object, and what follows from it: the confusion matrix and the best threshold."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from detection.detections import Detections
from vision.boxes import box_area, box_iou
from vision.record import Dataset, Record

MATCH_IOU = 0.5
"""A detection and an object belong together from this overlap on."""


@dataclass(frozen=True, slots=True)
class Matches:
    """How the detections of one image meet its objects.

    Shapes: P pairs, F detections without an object, M objects without a detection. All are int64 positions, of
    detections in the `Detections` and of objects in the `Record`.
    """

    pairs: np.ndarray
    """(P, 2): detection, object; their classes may differ."""
    false_detections: np.ndarray
    """(F,); those on a crowd are left out."""
    missed_objects: np.ndarray
    """(M,); crowds are left out."""

    def count_errors(self, record: Record, detections: Detections) -> int:
        """Count wrong classes, false detections and missed objects."""
        wrong = detections.labels[self.pairs[:, 0]] != record.labels[self.pairs[:, 1]]
        return int(wrong.sum()) + len(self.false_detections) + len(self.missed_objects)


@dataclass(frozen=True, slots=True)
class ThresholdCurves:
    """Precision, recall and F1 of all classes together over the score threshold, (T,) float64 each."""

    thresholds: np.ndarray
    precision: np.ndarray
    recall: np.ndarray

    @property
    def f1(self) -> np.ndarray:
        """(T,) harmonic mean of precision and recall; 0 where both are."""
        total = self.precision + self.recall
        return np.divide(2 * self.precision * self.recall, total, out=np.zeros_like(total), where=total > 0)

    @property
    def best(self) -> float:
        """The threshold of the highest F1; in a tie the middle of those that reach it."""
        tied = self.thresholds[self.f1 >= self.f1.max() - 1e-12]
        return float(tied[len(tied) // 2])


def above(detections: Detections, score_threshold: float) -> Detections:
    """Return the detections with at least this score."""
    keep = detections.scores >= score_threshold
    return Detections(detections.sample_id, detections.boxes[keep], detections.scores[keep], detections.labels[keep])


def match(record: Record, detections: Detections, iou_threshold: float = MATCH_IOU) -> Matches:
    """Pair detections with objects one to one, whatever their classes, the greatest overlap first.

    Overlaps that tie go to a pair of equal classes first, then to the higher score.
    """
    objects = np.flatnonzero(~record.iscrowd)
    iou_DG = box_iou(detections.boxes, record.boxes[objects])
    found, truth = np.nonzero(iou_DG >= iou_threshold)
    is_other_class = detections.labels[found] != record.labels[objects[truth]]
    order = np.lexsort((-detections.scores[found], is_other_class, -iou_DG[found, truth]))
    free_detection, free_object = np.ones(iou_DG.shape[0], bool), np.ones(iou_DG.shape[1], bool)
    pairs = []
    for detection, position in zip(found[order], truth[order], strict=True):
        if free_detection[detection] and free_object[position]:
            free_detection[detection] = free_object[position] = False
            pairs.append((detection, objects[position]))
    return Matches(
        pairs=np.array(pairs, np.int64).reshape(-1, 2),
        false_detections=np.flatnonzero(free_detection & ~_on_crowd(record, detections, iou_threshold)),
        missed_objects=objects[free_object],
    )


def confusion_matrix(dataset: Dataset, predictions: Sequence[Detections], score_threshold: float) -> np.ndarray:
    """Count what objects were taken for.

    Returns:
        (K + 1, K + 1) int64: row = true class, column = detected class; the last of each is the background, so the
        last column counts missed objects and the last row false detections.
    """
    background = len(dataset.classes)
    matrix = np.zeros((background + 1, background + 1), np.int64)
    for record, detections in paired(dataset, predictions):
        kept = above(detections, score_threshold)
        matches = match(record, kept)
        np.add.at(matrix, (record.labels[matches.pairs[:, 1]], kept.labels[matches.pairs[:, 0]]), 1)
        np.add.at(matrix, (record.labels[matches.missed_objects], background), 1)
        np.add.at(matrix, (background, kept.labels[matches.false_detections]), 1)
    return matrix


def threshold_curves(dataset: Dataset, predictions: Sequence[Detections]) -> ThresholdCurves:
    """Compute precision and recall at IoU 0.5 for the score thresholds 0.01, 0.02, …, 0.99.

    Each detection, in the order of falling scores, takes the free object of its class that it overlaps most.
    """
    scores, hits = [np.zeros(0)], [np.zeros(0, bool)]
    for record, detections in paired(dataset, predictions):
        is_hit = found_objects(record, detections) >= 0
        counted = is_hit | ~_on_crowd(record, detections, MATCH_IOU)
        scores.append(detections.scores[counted])
        hits.append(is_hit[counted])
    all_scores, all_hits = np.concatenate(scores), np.concatenate(hits)
    thresholds = np.arange(1, 100) / 100
    kept = np.array([(all_scores >= threshold).sum() for threshold in thresholds], np.float64)
    right = np.array([all_hits[all_scores >= threshold].sum() for threshold in thresholds], np.float64)
    num_objects = sum(int((~record.iscrowd).sum()) for record in dataset.records)
    # Without any detection left nothing is wrong: precision 1.
    precision = np.divide(right, kept, out=np.ones_like(kept), where=kept > 0)
    return ThresholdCurves(thresholds, precision, right / max(num_objects, 1))


def paired(dataset: Dataset, predictions: Sequence[Detections]) -> list[tuple[Record, Detections]]:
    """Pair every record with its detections; an image without any gets an empty set."""
    by_id = {detections.sample_id: detections for detections in predictions}
    nothing = np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64)
    return [(r, by_id.get(r.sample_id, Detections(r.sample_id, *nothing))) for r in dataset.records]


def found_objects(record: Record, detections: Detections) -> np.ndarray:
    """Say which object of its class each detection finds, (N,) int64 position in the record; -1 = none.

    Each detection, in the order of falling scores, takes the free object that it overlaps most, if by `MATCH_IOU`.
    """
    is_free = ~record.iscrowd
    iou_DG = box_iou(detections.boxes, record.boxes) * (detections.labels[:, None] == record.labels[None, :])
    found = np.full(len(detections.scores), -1, np.int64)
    for detection in np.argsort(-detections.scores, kind="stable"):
        overlaps = np.where(is_free, iou_DG[detection], 0.0)
        best = int(overlaps.argmax()) if overlaps.size else -1
        if best >= 0 and overlaps[best] >= MATCH_IOU:
            found[detection], is_free[best] = best, False
    return found


def _on_crowd(record: Record, detections: Detections, share_threshold: float) -> np.ndarray:
    """Mark the detections of which this share of the area lies in a crowd region, (N,) bool."""
    crowds = record.boxes[record.iscrowd]
    if not len(crowds) or not len(detections.boxes):
        return np.zeros(len(detections.scores), bool)
    top_left = np.maximum(detections.boxes[:, None, :2], crowds[None, :, :2])
    bottom_right = np.minimum(detections.boxes[:, None, 2:], crowds[None, :, 2:])
    inside_DC = box_area(np.concatenate([top_left, bottom_right], axis=-1))
    return (inside_DC >= share_threshold * np.maximum(box_area(detections.boxes)[:, None], 1e-9)).any(axis=1)
