"""The sheet of augmented samples."""

import cv2
import numpy as np
import pytest

from detection import preview
from detection.settings import AugmentSettings, DetectionSettings
from foundation.errors import DataError
from tests.fakes import make_record
from vision.record import Dataset
from vision.settings import ScenesData


@pytest.fixture
def two_images(tmp_path, monkeypatch):
    records = []
    for index in range(2):
        path = tmp_path / f"{index}.png"
        cv2.imwrite(str(path), np.full((40, 60, 3), 60 + 90 * index, np.uint8))
        records.append(make_record(index, [[5, 5, 30, 30]], [index], image_size=(40, 60), path=path))
    monkeypatch.setattr(preview, "read_dataset", lambda data, split: Dataset(("a", "b"), tuple(records)))


def sheet(count, seed=0):
    settings = DetectionSettings(image_size=(64, 64), augment=AugmentSettings(mosaic=0.5))
    return preview.preview_sheet(ScenesData(), "train", settings, seed=seed, count=count)


def test_a_sheet_is_reproducible_and_grows_with_its_count(two_images):
    small = sheet(2)
    assert small.dtype == np.uint8 and small.shape[2] == 3
    np.testing.assert_array_equal(small, sheet(2))
    assert not np.array_equal(small, sheet(2, seed=1))
    assert sheet(5).shape[0] > small.shape[0]


def test_an_empty_split_cannot_be_previewed(monkeypatch):
    monkeypatch.setattr(preview, "read_dataset", lambda data, split: Dataset(("a",), ()))
    with pytest.raises(DataError, match="no image to preview"):
        sheet(1)
