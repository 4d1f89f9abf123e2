import importlib

import numpy as np
import pytest

from foundation.errors import DataError
from vision.formats import FORMATS, known_splits, read_dataset
from vision.record import Dataset, Record
from vision.settings import CocoData, ScenesData, VocData, YoloData


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_offers_the_same_two_functions(name):
    module = importlib.import_module(FORMATS[name])
    assert callable(module.splits)
    assert callable(module.read)


@pytest.mark.parametrize("settings", [VocData, CocoData, YoloData])
def test_folder_without_any_split_says_what_is_expected(tmp_path, settings):
    data = settings(root=tmp_path)
    with pytest.raises(DataError, match=rf"no split found here; `format: {data.format}` expects \w+"):
        known_splits(data)


@pytest.mark.parametrize("settings", [VocData, CocoData, YoloData])
@pytest.mark.parametrize("ask", [known_splits, lambda data: read_dataset(data, "train")])
def test_missing_folder_is_named(tmp_path, settings, ask):
    with pytest.raises(DataError, match="nowhere: this folder does not exist; mend `root`"):
        ask(settings(root=tmp_path / "nowhere"))


def test_generated_scenes_pass_through(tmp_path, monkeypatch):
    nothing = np.zeros(0)
    record = Record(0, "a", tmp_path / "a.png", (4, 6), np.zeros((0, 4)), nothing, nothing, nothing)
    dataset = Dataset(classes=("zero",), records=(record,))
    monkeypatch.setattr("vision.formats.scenes.read_scenes", lambda data, split: dataset)
    assert known_splits(ScenesData()) == ("train", "val", "test")
    assert read_dataset(ScenesData(), "train").records == (record,)
    with pytest.raises(DataError, match=r"no split 'vla' \(did you mean 'val'\?\)"):
        read_dataset(ScenesData(), "vla")
