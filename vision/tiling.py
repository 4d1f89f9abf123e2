"""Cutting large images into overlapping tiles, and their boxes with them. Joining what is found is `merge.py`."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from vision.augment.geometry import Window, keep_visible
from vision.boxes import box_area, clip_boxes
from vision.record import Dataset, Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile(Record):
    """A part of an image as a record of its own: `image_size`, boxes and area are those of the part."""

    window: Window
    """The part, in pixels of the image file."""
    file_size: tuple[int, int]
    """(height, width) of the whole image file."""


def tile_grid(image_size: tuple[int, int], tile_size: tuple[int, int], overlap: float) -> list[Window]:
    """Cover an image with overlapping tiles, row by row.

    The last tile of a row or column is moved inwards, so that every tile is a whole one; an image that is smaller
    than a tile along an axis gives tiles of its own length there.

    Source: the rule of `sahi.slicing.get_slice_bboxes` (Akyon et al. 2022, arXiv:2202.06934), overlap in whole pixels.

    Args:
        image_size: (height, width).
        tile_size: (height, width).
        overlap: of neighbours, as a share of the tile's side, in [0, 1).

    Raises:
        ValueError: if tiles overlap so much that the next one begins where the last one did.
    """
    rows, columns = (_starts(length, side, overlap) for length, side in zip(image_size, tile_size, strict=True))
    height, width = (min(length, side) for length, side in zip(image_size, tile_size, strict=True))
    return [Window(left, top, left + width, top + height) for top in rows for left in columns]


def covering_tiles(
    image_size: tuple[int, int], tile_size: tuple[int, int], overlap: float, boxes: np.ndarray
) -> list[Window]:
    """Return the grid of an image, and further tiles for the objects that would fit into one but that the grid cuts.

    Each further tile has its first such object in the middle, as far as the image's edges allow, and serves all
    others that it happens to hold. So every object that fits into a tile is in at least one as a whole.

    Args:
        image_size: (height, width).
        tile_size: (height, width).
        overlap: as in `tile_grid`.
        boxes: (N, 4) xyxy pixels; N may be 0.
    """
    windows = tile_grid(image_size, tile_size, overlap)
    height, width = (min(length, side) for length, side in zip(image_size, tile_size, strict=True))
    boxes = clip_boxes(np.asarray(boxes, np.float64).reshape(-1, 4), image_size)
    fits = (np.ceil(boxes[:, 2:]) - np.floor(boxes[:, :2]) <= [width, height]).all(axis=1)
    further: list[Window] = []
    for box in boxes[fits & ~_is_whole_in_any(boxes, windows)]:
        if not _is_whole_in_any(box[None], further).any():
            left = _middle(box[0], box[2], width, image_size[1])
            top = _middle(box[1], box[3], height, image_size[0])
            further.append(Window(left, top, left + width, top + height))
    return windows + further


def crop_boxes_to_tile(boxes: np.ndarray, window: Window, min_visibility: float) -> tuple[np.ndarray, np.ndarray]:
    """Cut boxes off at the edges of a tile, and leave out those that are hardly in it.

    Args:
        boxes: (N, 4) xyxy pixels of the image; N may be 0.
        window: the tile.
        min_visibility: least share of its area that a box must keep.

    Returns:
        (M, 4) float32 boxes in pixels of the tile, and (M,) int64 the positions in `boxes` that they come from.
    """
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    clipped, kept = keep_visible(boxes, np.arange(len(boxes)), window, min_visibility)
    return clipped - np.array([window.left, window.top] * 2, np.float32), kept


def tiled_dataset(
    dataset: Dataset, tile_size: tuple[int, int], overlap: float, *, full_frame: bool, min_visibility: float
) -> Dataset:
    """Make every tile of a data set a sample, and where asked for every whole image of more than one tile too.

    The samples are numbered in the order of the images, tile by tile, so an id is a function of the annotations and
    of the arguments alone. An image that fits into one tile stays what it was.

    Args:
        dataset: a split.
        tile_size: (height, width).
        overlap: as in `tile_grid`.
        full_frame: each tiled image also as a whole, after its tiles.
        min_visibility: as in `crop_boxes_to_tile`.
    """
    records: list[Record] = []
    for record in dataset.records:
        windows = covering_tiles(record.image_size, tile_size, overlap, record.boxes[~record.iscrowd])
        tiles = [_tile(record, window, min_visibility) for window in windows] if len(windows) > 1 else []
        records += [*tiles, record] if full_frame or not tiles else tiles
    return replace(dataset, records=_numbered(records))


def _starts(length: int, side: int, overlap: float) -> list[int]:
    """Where the tiles of one axis begin."""
    step = side - int(overlap * side)
    if step < 1:
        raise ValueError(f"an overlap of {overlap} leaves tiles of {side} px no step; it must be below 1")
    last = max(0, length - side)
    return [min(number * step, last) for number in range(1 + math.ceil(last / step))]


def _is_whole_in_any(boxes: np.ndarray, windows: Sequence[Window]) -> np.ndarray:
    """Which of (N, 4) boxes lie in one of the windows without being cut, (N,) bool."""
    edges = np.array(windows, np.float64).reshape(-1, 1, 4)
    is_inside = (edges[..., :2] <= boxes[:, :2]) & (boxes[:, 2:] <= edges[..., 2:])
    return np.asarray(is_inside.all(axis=2).any(axis=0))


def _middle(low: float, high: float, side: int, length: int) -> int:
    """Begin a span of `side` whole pixels around [low, high], within [0, length]."""
    centred = round((low + high - side) / 2)
    # Rounding may cut half a pixel off an object that is as long as the tile.
    holding = min(max(centred, math.ceil(high) - side), math.floor(low))
    return min(max(holding, 0), length - side)


def _tile(record: Record, window: Window, min_visibility: float) -> Tile:
    boxes, kept = crop_boxes_to_tile(record.boxes, window, min_visibility)
    return Tile(
        sample_id=record.sample_id,
        name=f"{record.name}@{window.left},{window.top}",
        path=record.path,
        image_size=(window.bottom - window.top, window.right - window.left),
        boxes=boxes,
        labels=record.labels[kept],
        iscrowd=record.iscrowd[kept],
        area=record.area[kept] * box_area(boxes) / box_area(record.boxes[kept]),
        window=window,
        file_size=record.image_size,
        files=record.files,
    )


def _numbered(records: Sequence[Record]) -> tuple[Record, ...]:
    return tuple(replace(record, sample_id=index) for index, record in enumerate(records))
