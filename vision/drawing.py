"""Pictures for people: boxes with readable labels, truth beside prediction, contact sheets. Not for training."""

import colorsys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from foundation.errors import DataError

Colour = tuple[int, int, int]

_GOLDEN_ANGLE = 0.618034
_PAPER: Colour = (250, 250, 250)
_TEXT: Colour = (40, 40, 40)
_GAP_PX = 6


def class_colour(label: int) -> Colour:
    """Return a class's colour, RGB 0 … 255: always the same, and far from those of the labels next to it."""
    hue = (0.58 + label * _GOLDEN_ANGLE) % 1.0
    value = (0.95, 0.80, 0.68)[label // 5 % 3]
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.78, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def draw_boxes(
    image: np.ndarray,
    boxes: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    scores: np.ndarray | None = None,
) -> np.ndarray:
    """Draw boxes and their class names, smaller boxes over larger ones, the labels over all boxes.

    Args:
        image: (H, W, 3) uint8 RGB; left as it is.
        boxes: (N, 4) xyxy absolute pixels; N may be 0.
        labels: (N,) int, 0 … K-1.
        classes: K names.
        scores: (N,) in [0, 1], written behind the name.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    height, width = image.shape[:2]
    line_px = max(round(min(height, width) / 240), 1)
    canvas = Image.fromarray(np.ascontiguousarray(image))
    draw = ImageDraw.Draw(canvas, "RGBA")
    order = np.argsort(-_areas(boxes), kind="stable")
    for index in order:
        x1, y1, x2, y2 = (float(value) for value in boxes[index])
        outer = (round(x1), round(y1), max(round(x2) - 1, round(x1)), max(round(y2) - 1, round(y1)))
        draw.rectangle(outer, outline=class_colour(int(labels[index])), width=line_px)
    font = _font(int(np.clip(min(height, width) / 28, 9, 26)))
    for index in order:
        text = classes[int(labels[index])]
        if scores is not None:
            text = f"{text} {float(scores[index]):.2f}"
        _draw_label(draw, boxes[index], text, class_colour(int(labels[index])), font, (height, width))
    return np.asarray(canvas)


def side_by_side(images: Sequence[np.ndarray], captions: Sequence[str] | None = None) -> np.ndarray:
    """Put pictures in one row, for example ground truth beside prediction; a contact sheet of one row."""
    return contact_sheet(images, columns=len(images), captions=captions)


def contact_sheet(images: Sequence[np.ndarray], columns: int, captions: Sequence[str] | None = None) -> np.ndarray:
    """Lay pictures out in a grid on light paper, each shrunk to fit the first one's size, never stretched.

    Args:
        images: (H, W, 3) uint8 RGB each; sizes may differ.
        columns: pictures per row, at least 1.
        captions: one line under each picture, cut short where it does not fit.

    Returns:
        (H', W', 3) uint8 RGB.

    Raises:
        ValueError: without any picture, or if the captions are not as many as the pictures.
    """
    if not images or columns < 1:
        raise ValueError(f"a contact sheet needs pictures and columns, got {len(images)} pictures, {columns} columns")
    if captions is not None and len(captions) != len(images):
        raise ValueError(f"expected one caption per picture, got {len(captions)} for {len(images)}")
    cell_height, cell_width = images[0].shape[:2]
    font = _font(int(np.clip(cell_width / 22, 10, 22)))
    caption_px = 0 if captions is None else round(font.size * 1.6)
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    step_x, step_y = cell_width + _GAP_PX, cell_height + caption_px + _GAP_PX
    sheet = Image.new("RGB", (columns * step_x + _GAP_PX, rows * step_y + _GAP_PX), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for index, image in enumerate(images):
        left, top = _GAP_PX + index % columns * step_x, _GAP_PX + index // columns * step_y
        picture = _fit(image, cell_height, cell_width)
        offset = ((cell_width - picture.width) // 2, (cell_height - picture.height) // 2)
        sheet.paste(picture, (left + offset[0], top + offset[1]))
        if captions is not None:
            middle = (left + cell_width / 2, top + cell_height + caption_px / 2)
            draw.text(middle, _cut(captions[index], font, cell_width), fill=_TEXT, font=font, anchor="mm")
    return np.asarray(sheet)


def save_png(path: Path, image: np.ndarray) -> None:
    """Write (H, W, 3) uint8 RGB as PNG; makes the folder if need be.

    Raises:
        DataError: if the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _, data = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        path.write_bytes(data.tobytes())
    except OSError as error:
        raise DataError(
            f"cannot write the picture {path}: {error.strerror or error}; expected a folder that can be written. "
            "Choose another place, or mend its rights."
        ) from error


@cache
def _font(size_px: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size_px)
    assert isinstance(font, ImageFont.FreeTypeFont), "Pillow's wheels are built with FreeType"
    return font


def _areas(boxes: np.ndarray) -> np.ndarray:
    corners = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    return (corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1])


def _draw_label(
    draw: ImageDraw.ImageDraw,
    box: np.ndarray,
    text: str,
    colour: Colour,
    font: ImageFont.FreeTypeFont,
    image_size: tuple[int, int],
) -> None:
    """Write a label on the box's upper edge, or below the box where there is no room above; never off the picture."""
    height, width = image_size
    text_width = round(font.getlength(text)) + 4
    text_height = round(font.size * 1.25)
    left = int(np.clip(round(float(box[0])), 0, max(width - text_width, 0)))
    top = round(float(box[1])) - text_height
    if top < 0:
        top = min(round(float(box[3])), height - text_height)
    plate = (left, top, left + text_width - 1, top + text_height - 1)
    draw.rectangle(plate, fill=(*colour, 225))
    luminance = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
    ink = (20, 20, 20) if luminance > 140 else (255, 255, 255)
    draw.text((left + text_width / 2, top + text_height / 2), text, fill=ink, font=font, anchor="mm")


def _fit(image: np.ndarray, height: int, width: int) -> Image.Image:
    picture = Image.fromarray(np.ascontiguousarray(image))
    scale = min(height / picture.height, width / picture.width, 1.0)
    if scale == 1.0:
        return picture
    size = (max(round(picture.width * scale), 1), max(round(picture.height * scale), 1))
    return picture.resize(size, Image.Resampling.LANCZOS)


def _cut(text: str, font: ImageFont.FreeTypeFont, width_px: int) -> str:
    if font.getlength(text) <= width_px:
        return text
    kept = len(text)
    while kept > 0 and font.getlength(text[:kept] + "…") > width_px:
        kept -= 1
    return text[:kept] + "…"
