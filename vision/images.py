"""Image files to arrays. What needs only the header is in `image_header`; drawing and augmenting live elsewhere."""

from pathlib import Path

import cv2
import numpy as np

from vision.image_header import JPEG_START, cut_short, image_size, is_cut_short, unreadable

__all__ = ["image_size", "read_image"]


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
    flags = cv2.IMREAD_COLOR
    if not data.startswith(JPEG_START):
        flags |= cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), flags)
    except cv2.error as error:
        raise unreadable(path) from error
    if image is None:
        image_size(path)  # raises when not even the header can be read
        raise cut_short(path)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
