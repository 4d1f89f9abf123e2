"""Image files to arrays. What needs only the header is in `image_header`; drawing and augmenting live elsewhere."""

from pathlib import Path

import cv2
import numpy as np

from foundation.errors import DataError
from vision.image_header import JPEG_START, cut_short, image_size, is_cut_short, unreadable
from vision.record import LabelledImage

__all__ = ["ImageLike", "as_pixels", "channels_first", "image_size", "read_image", "read_shown", "require_size"]

ImageLike = Path | str | np.ndarray
"""A path, or (H, W, 3) uint8 RGB."""


def read_image(path: Path | str) -> np.ndarray:
    """Decode an image file.

    Greyscale becomes three equal channels, 16 bits become 8 (divided by 256), alpha is dropped. A JPEG is turned
    upright by its EXIF orientation, since annotation tools show it so; other kinds are taken as they lie.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        DataError: if the file is missing, no image, or cut short; names the file.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise unreadable(path) from error
    if not data:
        raise unreadable(path)
    if is_cut_short(data):
        raise cut_short(path)
    flags = cv2.IMREAD_COLOR_RGB
    if not data.startswith(JPEG_START):
        flags |= cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image: np.ndarray | None = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), flags)
    except cv2.error as error:
        raise unreadable(path) from error
    if image is None:
        image_size(path)  # raises when not even the header can be read
        raise cut_short(path)
    return image


def read_shown(record: LabelledImage) -> np.ndarray:
    """Decode the part of an image that is looked at, (H, W, 3) uint8.

    Raises:
        DataError: if the file cannot be decoded, or changed its size since its labels were read.
    """
    image = read_image(record.path)
    require_size(image, record.image_size, record.path)
    if record.box is None:
        return image
    left, top, right, bottom = record.box
    return image[top:bottom, left:right]


def as_pixels(image: ImageLike) -> np.ndarray:
    """Return an image given as a path or as an array, (H, W, 3) uint8 RGB.

    Raises:
        DataError: if a path is no readable image, or an array has another shape or type.
    """
    if not isinstance(image, np.ndarray):
        return read_image(Path(image))
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise DataError(
            f"an image array must be (height, width, 3) uint8 RGB, got {image.shape} {image.dtype}. "
            "Convert it, or give a path."
        )
    return image


def require_size(image: np.ndarray, size: tuple[int, int], path: Path) -> None:
    """Check that an image still has the (height, width) that it had when its annotations were read.

    Raises:
        DataError: if it has not.
    """
    if image.shape[:2] != size:
        given, expected = ("x".join(str(side) for side in sides[:2]) for sides in (image.shape, size))
        raise DataError(
            f"{path} has {given} pixels (height x width), but {expected} when its annotations were read; "
            "labels or boxes may be wrong now. Restore the image, or mend its annotation."
        )


def channels_first(image: np.ndarray) -> np.ndarray:
    """Turn (H, W, 3) uint8 into a new (3, H, W) array."""
    planes = np.empty((3, *image.shape[:2]), np.uint8)
    cv2.split(image, list(planes))  # nine times faster than a transposed copy in numpy
    return planes
