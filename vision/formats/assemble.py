"""From a raw split to records: every image and box is checked here, once for all formats. Pixels are not decoded."""

import math
from collections.abc import Iterator

import numpy as np

from vision.boxes import box_area, box_iou, clip_boxes
from vision.faults import FaultError, did_you_mean
from vision.file_stamp import stamps_of
from vision.formats.raw import RawImage, RawObject, RawSplit
from vision.image_header import cut_short, file_is_cut_short, image_size
from vision.record import Dataset, Fault, Record

OUTSIDE_TOLERANCE_PX = 1.0
"""Rounding and off-by-one conventions stay below it: such a box is clipped without a word."""

DUPLICATE_IOU = 0.8
_ROUNDING_PX = 1e-3


def assemble(raw: RawSplit, find_duplicates: bool = False) -> Dataset:
    """Check a raw split and turn what is sound into records.

    What is faulty is left out: an image that is missing, no image, cut short or of another size than annotated; a
    box that is not finite, has no area or an unknown class. A box that reaches out of its image is clipped.

    Args:
        raw: from a format's reader.
        find_duplicates: look for boxes drawn twice, too.

    Returns:
        records with contiguous ids in the order of `raw`, and all faults, the reader's first.
    """
    faults = list(raw.faults)
    label_of = {name: label for label, name in enumerate(raw.classes)}
    records: list[Record] = []
    for image in raw.images:
        try:
            size = _checked_size(image)
        except FaultError as error:
            faults.append(error.fault(image.name))
            continue
        record, kept = _record(image, size, label_of, len(records), faults)
        records.append(record)
        if find_duplicates:
            faults += _duplicate_boxes(record, image, kept)
    return Dataset(classes=raw.classes, records=tuple(records), faults=tuple(faults))


def _checked_size(image: RawImage) -> tuple[int, int]:
    """Return (height, width) of a sound image file."""
    size = image_size(image.path)
    if file_is_cut_short(image.path):
        raise cut_short(image.path)
    if image.claimed_size is not None and image.claimed_size != size:
        claimed, actual = (f"{width} x {height}" for height, width in (image.claimed_size, size))
        reason = f"the annotation says {claimed} pixels (width x height), the image {image.path} has {actual}"
        if image.claimed_size == size[::-1]:
            reason += "; one of them ignores the EXIF orientation"
        raise FaultError(reason, "size_mismatch", image.annotation)
    return size


def _record(
    image: RawImage, size: tuple[int, int], label_of: dict[str, int], sample_id: int, faults: list[Fault]
) -> tuple[Record, list[RawObject]]:
    """Check the boxes of one image, all at once, and return the sound ones with their objects. Shapes: N objects."""
    height, width = size
    scale = np.array([width, height, width, height], dtype=np.float64) if image.is_relative else np.ones(4)
    boxes = np.array([item.box for item in image.objects], dtype=np.float64).reshape(-1, 4) * scale
    labels = np.array([label_of.get(item.name, -1) for item in image.objects], dtype=np.int64)
    is_finite = np.all(np.isfinite(boxes), axis=1)
    clipped = clip_boxes(np.nan_to_num(boxes), size)
    is_outside = _overshoot(boxes, size) > OUTSIDE_TOLERANCE_PX + _ROUNDING_PX
    has_area = np.all(boxes[:, 2:] > boxes[:, :2], axis=1)
    is_sound = is_finite & has_area & (box_area(clipped) > 0) & (labels >= 0)
    for i in np.flatnonzero(~is_sound | is_outside):
        kind, reason = _reason(bool(is_finite[i]), bool(has_area[i]), bool(is_outside[i]), int(labels[i]))
        faults.append(_box_fault(image, image.objects[i], kind, reason.format(width=width, height=height), label_of))
    area_unit = height * width if image.is_relative else 1
    annotated = [math.nan if item.area is None else item.area * area_unit for item in image.objects]
    area = np.array(annotated, dtype=np.float64)
    record = Record(
        sample_id=sample_id,
        name=image.name,
        path=image.path,
        image_size=size,
        boxes=clipped[is_sound].astype(np.float32),
        labels=labels[is_sound],
        iscrowd=np.array([item.is_crowd for item in image.objects], dtype=bool)[is_sound],
        area=np.where(np.isfinite(area), area, box_area(clipped))[is_sound],
        files=stamps_of((image.path, image.annotation)),
    )
    return record, [image.objects[i] for i in np.flatnonzero(is_sound)]


def _overshoot(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return by how many pixels each of (N, 4) boxes reaches out of the image; 0 or less = inside."""
    height, width = size
    beyond = np.concatenate([-boxes[:, :2], boxes[:, 2:] - [width, height]], axis=1)
    return beyond.max(axis=1, initial=-math.inf)


def _reason(is_finite: bool, has_area: bool, is_outside: bool, label: int) -> tuple[str, str]:
    """Return the kind of a box's first fault, and what is wrong in words."""
    if not is_finite:
        return "broken_annotation", "has coordinates that are not finite"
    if not has_area:
        return "zero_area", "has no area"
    if label < 0:
        return "unknown_class", "has a class that is not in the list"
    if is_outside:
        return "outside_image", "reaches out of its image of {width} x {height} pixels"
    return "zero_area", "has no area within its image of {width} x {height} pixels"


def _box_fault(image: RawImage, item: RawObject, kind: str, reason: str, label_of: dict[str, int]) -> Fault:
    written = " ".join(f"{number:g}" for number in item.written)
    message = f"object #{item.position} ({item.name}: {written}) {reason}"
    if kind == "unknown_class":
        message += f" {', '.join(label_of)}{did_you_mean(item.name, label_of)}"
    return Fault(kind, image.annotation, message, image.name, item.position)


def _duplicate_boxes(record: Record, image: RawImage, kept: list[RawObject]) -> Iterator[Fault]:
    """Report pairs of boxes of one class that overlap almost entirely."""
    iou = box_iou(record.boxes, record.boxes)
    iou[record.labels[:, None] != record.labels[None, :]] = 0
    for i, j in np.argwhere(np.triu(iou, k=1) > DUPLICATE_IOU):
        first, second = kept[i].position, kept[j].position
        message = f"objects #{first} and #{second}, both {kept[i].name}, overlap with IoU {iou[i, j]:.2f}"
        yield Fault("duplicate_box", image.annotation, message, image.name, second, is_fatal=False)
