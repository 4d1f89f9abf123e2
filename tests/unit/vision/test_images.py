import pickle

import cv2
import numpy as np
import pytest
from PIL import Image

from foundation.errors import DataError
from vision.faults import FaultError
from vision.image_header import file_is_cut_short, find_images, is_cut_short
from vision.images import image_size, read_image

RED, BLUE = (255, 0, 0), (0, 0, 255)


@pytest.fixture
def red_over_blue():
    """(4, 6, 3) RGB: the upper half red, the lower half blue."""
    image = np.zeros((4, 6, 3), np.uint8)
    image[:2], image[2:] = RED, BLUE
    return image


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".jpg", ".webp"])
def test_size_and_channel_order_of_every_kind(tmp_path, suffix):
    path = tmp_path / f"red{suffix}"
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[:] = RED
    Image.fromarray(pixels).save(path)
    image = read_image(path)
    assert image_size(path) == (40, 60) == image.shape[:2]
    assert image.dtype == np.uint8
    assert image[20, 30].tolist() == pytest.approx(RED, abs=3)


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        pytest.param(np.full((4, 6), 7, np.uint8), 7, id="greyscale becomes three channels"),
        pytest.param(np.full((4, 6), 0x1234, np.uint16), 0x12, id="sixteen bits keep the upper eight"),
        pytest.param(np.full((4, 6, 4), 9, np.uint8), 9, id="alpha is dropped, not multiplied"),
    ],
)
def test_unusual_pixels_become_rgb(tmp_path, pixels, expected):
    path = tmp_path / "image.png"
    cv2.imwrite(str(path), pixels)
    image = read_image(path)
    assert image.shape == (4, 6, 3)
    assert (image == expected).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_size_from_the_header_agrees_with_the_turned_pixels(tmp_path, orientation):
    path = tmp_path / "image.jpg"
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (64, 32)).save(path, exif=exif)
    assert image_size(path) == read_image(path).shape[:2] == ((64, 32) if orientation >= 5 else (32, 64))


def test_orientation_turns_the_pixels(tmp_path, red_over_blue):
    path = tmp_path / "image.jpg"
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    Image.fromarray(red_over_blue.repeat(8, 0).repeat(8, 1)).save(path, exif=exif, quality=95)
    image = read_image(path)
    assert image[2, 20].argmax() == 2
    assert image[-2, 20].argmax() == 0


def test_png_is_taken_as_it_lies(tmp_path, red_over_blue):
    path = tmp_path / "image.png"
    Image.fromarray(red_over_blue).save(path)
    assert (read_image(path) == red_over_blue).all()


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
def test_truncated_image_is_named(tmp_path, write_image, suffix, share):
    path = write_image(tmp_path / f"cut{suffix}", height=200, width=200)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    assert file_is_cut_short(path)
    with pytest.raises(DataError, match=rf"cut{suffix}: this image is cut short") as error:
        read_image(path)
    assert error.value.kind == "truncated_image"


def test_thumbnails_end_does_not_hide_a_cut(tmp_path):
    path = tmp_path / "image.jpg"
    exif = b"Exif\x00\x00" + b"\xff\xd8\xff\xd9" + bytes(20)
    Image.effect_noise((200, 200), 90).save(path, exif=exif)
    assert not file_is_cut_short(path)
    assert is_cut_short(path.read_bytes()[:-100])


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_bytes_after_the_end_are_allowed(tmp_path, write_image, suffix):
    path = write_image(tmp_path / f"image{suffix}")
    path.write_bytes(path.read_bytes() + b"trailing camera data")
    assert not file_is_cut_short(path)
    assert read_image(path).shape == (40, 60, 3)


@pytest.mark.parametrize("read", [read_image, image_size])
@pytest.mark.parametrize(
    ("content", "kind", "words"),
    [
        pytest.param(None, "missing_file", "does not exist", id="missing"),
        pytest.param(b"", "not_an_image", "empty file", id="empty"),
        pytest.param(b"<html>not found</html>", "not_an_image", "not an image", id="a web page"),
    ],
)
def test_what_is_no_image_is_named(tmp_path, read, content, kind, words):
    path = tmp_path / "picture.jpg"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=rf"picture\.jpg: .*{words}") as error:
        read(path)
    assert error.value.kind == kind


def test_folder_is_no_image(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        read_image(tmp_path)


def test_errors_survive_the_way_back_from_a_worker(tmp_path):
    error = FaultError("cut short", "truncated_image", tmp_path / "a.jpg")
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.kind, copy.path) == (str(error), error.kind, error.path)
    assert isinstance(FaultError(str(error)), DataError)


def test_find_images_skips_other_and_hidden_files(tmp_path):
    for name in ("b.JPG", "a.png", "notes.txt", ".hidden.png"):
        (tmp_path / name).touch()
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "c.webp").touch()
    assert [path.name for path in find_images(tmp_path)] == ["a.png", "b.JPG"]
    assert [path.name for path in find_images(tmp_path, recursive=True)] == ["a.png", "b.JPG", "c.webp"]
    assert find_images(tmp_path / "missing") == []
