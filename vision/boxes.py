"""Boxes as numpy arrays: areas, overlaps, clipping and conversions. No images and no tensors here.

Boxes are (N, 4) xyxy in absolute pixels, origin top left, width is `x2 - x1`. Empty input gives empty output.
"""

import numpy as np

CROP_MARGIN = 0.1
"""Share of a box's sides that a classification crop shows around it, so that the object is not cut tight."""


def _checked(boxes: np.ndarray) -> np.ndarray:
    """Return `boxes` with a floating dtype (integers become float64).

    Raises:
        ValueError: if the last dimension is not 4.
    """
    boxes = np.asarray(boxes)
    if boxes.ndim == 0 or boxes.shape[-1] != 4:
        raise ValueError(f"boxes must be (..., 4), got {boxes.shape}")
    return boxes if np.issubdtype(boxes.dtype, np.floating) else boxes.astype(np.float64)


def box_area(boxes: np.ndarray) -> np.ndarray:
    """Compute the area of each box.

    Args:
        boxes: (N, 4) xyxy; swapped corners count as zero area.

    Returns:
        (N,) in squared units of the input.
    """
    boxes = _checked(boxes)
    sides = np.clip(boxes[..., 2:] - boxes[..., :2], 0, None)
    return sides[..., 0] * sides[..., 1]


def box_iou(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Compute the intersection over union of every pair.

    Args:
        boxes: (N, 4) xyxy.
        others: (M, 4) xyxy in the same unit.

    Returns:
        (N, M) in [0, 1]; 0, not nan, where both boxes have no area.
    """
    boxes, others = _checked(boxes), _checked(others)
    top_left = np.maximum(boxes[:, None, :2], others[None, :, :2])
    bottom_right = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    intersection = box_area(np.concatenate([top_left, bottom_right], axis=-1))
    union = box_area(boxes)[:, None] + box_area(others)[None, :] - intersection
    return np.divide(intersection, union, out=np.zeros_like(intersection), where=union > 0)


def clip_boxes(boxes: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """Cut boxes off at the edges of their image; a box outside it becomes one without area.

    Args:
        boxes: (N, 4) xyxy pixels; not changed.
        image_size: (height, width).

    Returns:
        (N, 4) xyxy pixels within [0, width] x [0, height].
    """
    height, width = image_size
    boxes = _checked(boxes)
    return np.clip(boxes, 0, np.array([width, height, width, height], dtype=boxes.dtype))


def crop_window(
    box: np.ndarray, image_size: tuple[int, int], margin: float, least_px: int = 1
) -> tuple[int, int, int, int]:
    """Return the whole pixels of a box with some of its surroundings, cut off at the image's edges.

    Args:
        box: (4,) xyxy pixels with an area, inside its image.
        image_size: (height, width).
        margin: share of the box's own sides that is added to each of them.
        least_px: pixels that are added at least.

    Returns:
        xyxy, never without area.
    """
    left, top = (int(side) for side in np.floor(box[:2]))
    right, bottom = (int(side) for side in np.ceil(box[2:]))
    margin_x, margin_y = (max(round(margin * side), least_px) for side in (right - left, bottom - top))
    height, width = image_size
    return max(left - margin_x, 0), max(top - margin_y, 0), min(right + margin_x, width), min(bottom + margin_y, height)


def xyxy_to_xywh(boxes: np.ndarray) -> np.ndarray:
    """Convert (N, 4) corner boxes to left, top, width, height (COCO, MOT)."""
    boxes = _checked(boxes)
    return np.concatenate([boxes[..., :2], boxes[..., 2:] - boxes[..., :2]], axis=-1)


def xywh_to_xyxy(boxes: np.ndarray) -> np.ndarray:
    """Convert (N, 4) left, top, width, height to corner boxes."""
    boxes = _checked(boxes)
    return np.concatenate([boxes[..., :2], boxes[..., :2] + boxes[..., 2:]], axis=-1)


def xyxy_to_cxcywh(boxes: np.ndarray) -> np.ndarray:
    """Convert (N, 4) corner boxes to centre x, centre y, width, height (YOLO)."""
    boxes = _checked(boxes)
    return np.concatenate([(boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]], axis=-1)


def cxcywh_to_xyxy(boxes: np.ndarray) -> np.ndarray:
    """Convert (N, 4) centre x, centre y, width, height to corner boxes."""
    boxes = _checked(boxes)
    half = boxes[..., 2:] / 2
    return np.concatenate([boxes[..., :2] - half, boxes[..., :2] + half], axis=-1)
