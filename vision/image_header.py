"""What can be said of an image file without decoding it: its size, and whether its end is missing. No pixels here."""

import struct
import warnings
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from vision.faults import FaultError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})

JPEG_START = b"\xff\xd8"
_JPEG_END = b"\xff\xd9"
_JPEG_SCAN = 0xDA
_JPEG_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xDA)})
_PNG_START = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"IEND\xaeB`\x82"
_EXIF_ORIENTATION = 0x0112
_EXIF_QUARTER_TURNS = frozenset({5, 6, 7, 8})


def find_images(folder: Path, recursive: bool = False) -> list[Path]:
    """List the files with an image's suffix in `folder`, sorted; nothing when there is no such folder."""
    if not folder.is_dir():
        return []
    paths = folder.rglob("*") if recursive else folder.iterdir()
    return sorted(path for path in paths if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith("."))


def image_size(path: Path | str) -> tuple[int, int]:
    """Read the size of an image from its header.

    A JPEG's EXIF orientation counts, as it does in `vision.images.read_image`.

    Returns:
        (height, width) in pixels.

    Raises:
        DataError: if there is no such file or it is no image; names the file.
    """
    path = Path(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(path)
        with image:
            width, height = image.size
            return (width, height) if _is_turned(image) else (height, width)
    except Image.DecompressionBombError as error:
        reason = f"too large an image to be read at once, cut it into tiles ({error})"
        raise FaultError(reason, "not_an_image", path) from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise unreadable(path) from error


def _is_turned(image: Image.Image) -> bool:
    """Tell whether a JPEG's EXIF orientation swaps its width and height; broken EXIF says nothing."""
    if image.format != "JPEG" or "exif" not in image.info:
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            return image.getexif().get(_EXIF_ORIENTATION) in _EXIF_QUARTER_TURNS
    except (SyntaxError, ValueError, KeyError, TypeError, struct.error):
        return False


def unreadable(path: Path) -> FaultError:
    """Say why the file at `path` is not taken for an image."""
    if not path.is_file():
        return FaultError("this image does not exist", "missing_file", path)
    if path.stat().st_size == 0:
        return FaultError("this image is an empty file", "not_an_image", path)
    return FaultError(
        "not an image, or of a kind that cannot be read (JPEG, PNG, BMP, TIFF, WebP)", "not_an_image", path
    )


def cut_short(path: Path) -> FaultError:
    """Say that the image at `path` is not whole."""
    return FaultError("this image is cut short or damaged; copy it from its source again", "truncated_image", path)


def is_cut_short(data: bytes) -> bool:
    """Tell whether the end of a JPEG or PNG is missing; other kinds are never said to be cut.

    Bytes after the end mark are allowed. A JPEG's thumbnail has an end mark too, so only one behind the start
    of the picture's own scan counts.
    """
    if data.startswith(JPEG_START):
        if data.endswith(_JPEG_END):
            return False
        return data.rfind(_JPEG_END) < _first_scan(data)
    if data.startswith(_PNG_START):
        return _PNG_END not in data[-1024:] and _PNG_END not in data
    return False


def _first_scan(data: bytes) -> int:
    """Return the position of a JPEG's first start-of-scan marker, or its length when there is none."""
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == _JPEG_SCAN:
            return position
        if marker == 0xFF or marker in _JPEG_WITHOUT_LENGTH:
            position += 1 if marker == 0xFF else 2
        else:
            position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return len(data)


def file_is_cut_short(path: Path) -> bool:
    """Tell whether the end of a JPEG or PNG file is missing, reading a few bytes of a whole file."""
    with path.open("rb") as file:
        start = file.read(len(_PNG_START))
        length = file.seek(0, 2)
        file.seek(max(0, length - len(_PNG_END)))
        end = file.read()
        if start.startswith(JPEG_START) and end.endswith(_JPEG_END):
            return False
        if start == _PNG_START and end == _PNG_END:
            return False
        if not start.startswith((JPEG_START, _PNG_START)):
            return False
        file.seek(0)
        return is_cut_short(file.read())
