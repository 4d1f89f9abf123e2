"""Detecting in tiles, several sizes and mirrored: running the model over all of it, and joining what it found.

Two levels: the passes of `test_time` over one window are joined first, then the windows of `tiling`. What comes out is
one answer per original image, as if the model had seen it once. How images are cut up is in `tiled_data.py`.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from detection.detections import Detections
from detection.settings import DetectionSettings
from detection.tiled_data import SlicedBatch
from engine.precision import to_unit_range
from vision.augment.fitting import LetterboxInfo
from vision.augment.geometry import Window
from vision.merge import ScoredBoxes, concatenate, fuse_weighted, merge_greedily, suppress

LEAST_SHARE = 0.5
"""Only members at least half as sure as the best one make it grow in `merge: nmm`; evaluation keeps boxes of any score,
and the union with all those that hardly count would fit no object."""
CUT_PRIORITY = 0.5
"""What reaches an inner edge of its tile may be the rest of an object; one that is whole in another window and at least
half as sure stays in its place."""
EDGE_SHARE = 0.005
"""So near to the edge counts as reaching it, as a share of the tile's longer side."""
CANDIDATES = 10
"""So many times `max_detections`, the best of all windows, are joined; the time for that grows with the square."""


def predict_sliced(model: nn.Module, batch: SlicedBatch, settings: DetectionSettings) -> list[Detections]:
    """Detect in all windows and join what was found, in the original images' pixels; the model must be in eval mode."""
    tiling, test_time = settings.tiling, settings.test_time
    at_once = len(batch.sample_ids) if tiling is None else tiling.batch_size
    windows = [window for of_image in batch.windows for window in of_image]
    passes = [
        _place(_run(model, images, at_once, flip), infos, windows, images.shape[-1] if flip else None)
        for images, infos in zip(batch.images, batch.infos, strict=True)
        for flip in ([False, True] if test_time.flip else [False])
    ]
    in_windows = iter([_join_passes(found, settings) for found in zip(*passes, strict=True)])
    return [
        _to_detections(_join_windows([next(in_windows) for _ in of_image], of_image, settings), sample_id, settings)
        for of_image, sample_id in zip(batch.windows, batch.sample_ids, strict=True)
    ]


def _run(model: nn.Module, images: Tensor, at_once: int, flip: bool) -> list[ScoredBoxes]:
    """Run the model on (V, 3, H, W) uint8 windows, `at_once` at a time; one transfer from its device for each."""
    found: list[ScoredBoxes] = []
    for chunk in torch.split(images, at_once):
        with torch.no_grad():
            outputs = model(to_unit_range(chunk.flip(-1) if flip else chunk), None)
        counts = [len(output["scores"]) for output in outputs]
        boxes, scores, labels = (
            torch.cat([output[name] for output in outputs]) for name in ("boxes", "scores", "labels")
        )
        # Class numbers are small enough for float32, which spares two of three transfers.
        table = torch.cat([boxes.float(), scores.float()[:, None], labels.float()[:, None]], dim=1).cpu().numpy()
        for rows in np.split(table, np.cumsum(counts)[:-1]):
            found.append(ScoredBoxes(rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int64)))
    return found


def _place(
    found: list[ScoredBoxes], infos: list[LetterboxInfo], windows: list[Window], mirrored_width: int | None
) -> list[ScoredBoxes]:
    """Map boxes from each window's letterboxed, maybe mirrored, pixels to those of its original image."""
    placed = []
    for part, info, window in zip(found, infos, windows, strict=True):
        boxes = part.boxes
        if mirrored_width is not None:
            boxes = np.stack([mirrored_width - boxes[:, 2], boxes[:, 1], mirrored_width - boxes[:, 0], boxes[:, 3]], 1)
        corner = np.array([window.left, window.top] * 2, np.float32)
        placed.append(part._replace(boxes=info.to_original(boxes) + corner))
    return placed


def _join_passes(found: Sequence[ScoredBoxes], settings: DetectionSettings) -> ScoredBoxes:
    """Join what several passes found in one window."""
    if len(found) == 1:
        return found[0]
    how, boxes = settings.test_time, concatenate(list(found))
    match how.merge:
        case "wbf":
            return fuse_weighted(boxes, how.iou_threshold, num_passes=len(found))
        case "nmm":
            return merge_greedily(boxes, how.iou_threshold, least_share=LEAST_SHARE)
        case _:
            return suppress(boxes, how.iou_threshold)


def _join_windows(found: list[ScoredBoxes], windows: list[Window], settings: DetectionSettings) -> ScoredBoxes:
    """Join what was found in all windows of one image."""
    how, boxes = settings.tiling, concatenate(found)
    if how is None or len(found) == 1:
        return boxes
    best = np.argsort(-boxes.scores, kind="stable")[: CANDIDATES * settings.max_detections]
    if how.merge == "wbf":
        return fuse_weighted(boxes.at(best), how.iou_threshold)
    is_cut = np.concatenate([_is_cut(part.boxes, window, windows) for part, window in zip(found, windows, strict=True)])
    priority, measure = (boxes.scores * np.where(is_cut, CUT_PRIORITY, 1.0))[best], how.measure or "ios"
    if how.merge == "nmm":
        return merge_greedily(boxes.at(best), how.iou_threshold, measure, priority, LEAST_SHARE)
    return suppress(boxes.at(best), how.iou_threshold, measure, priority)


def _is_cut(boxes: np.ndarray, window: Window, windows: list[Window]) -> np.ndarray:
    """Which of (N, 4) boxes reach an edge of their window that is none of the image's, (N,) bool."""
    image = (0, 0, max(one.right for one in windows), max(one.bottom for one in windows))
    margin = EDGE_SHARE * max(window.right - window.left, window.bottom - window.top)
    is_near = np.abs(boxes - np.array(window)) <= margin
    return np.asarray((is_near & (np.array(window) != np.array(image))).any(axis=1))


def _to_detections(found: ScoredBoxes, sample_id: int, settings: DetectionSettings) -> Detections:
    """Keep the strongest; an average over passes may have fallen to where nothing is reported."""
    above = found.at(found.scores > settings.score_threshold).by_score().at(np.s_[: settings.max_detections])
    return Detections(sample_id, above.boxes, above.scores, above.labels)
