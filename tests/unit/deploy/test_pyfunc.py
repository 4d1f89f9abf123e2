"""MLflow's way into a bundle, without MLflow."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest

from deploy.predictor import load_predictor
from deploy.pyfunc import _load_pyfunc, images_from_input
from detection import task as task_module
from engine.bundle import Manifest, save_bundle
from foundation.errors import ConfigError, DataError, WeightsError
from tests.fakes import FakeDetector, save_fake_bundle, write_yolo_dataset

IMAGE = np.zeros((4, 5, 3), np.uint8)


@pytest.fixture(autouse=True)
def _fake_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_module, "build_model", lambda settings, num_classes: FakeDetector())


@pytest.mark.parametrize(
    ("model_input", "expected"),
    [
        pytest.param("a.png", ["a.png"], id="one path as text"),
        pytest.param(Path("a.png"), [Path("a.png")], id="one path"),
        pytest.param(["a.png", Path("b.png")], ["a.png", Path("b.png")], id="paths"),
        pytest.param(np.array(["a.png", "b.png"]), ["a.png", "b.png"], id="array of paths"),
        pytest.param(pandas.DataFrame({"image": ["a.png", "b.png"]}), ["a.png", "b.png"], id="table"),
        pytest.param([{"image": "a.png"}, {"image": "b.png"}], ["a.png", "b.png"], id="records"),
        pytest.param({"image": ["a.png"]}, ["a.png"], id="columns"),
        pytest.param([], [], id="nothing"),
    ],
)
def test_paths_are_found_in_every_kind_of_input(model_input: Any, expected: list) -> None:
    assert images_from_input(model_input) == expected


@pytest.mark.parametrize(
    ("model_input", "count"),
    [
        pytest.param(IMAGE, 1, id="one array is one image"),
        pytest.param(np.stack([IMAGE, IMAGE]), 2, id="a stack of arrays"),
        pytest.param([IMAGE, IMAGE, IMAGE], 3, id="a list of arrays"),
    ],
)
def test_arrays_are_images(model_input: Any, count: int) -> None:
    images = images_from_input(model_input)
    assert len(images) == count
    assert all(np.array_equal(image, IMAGE) for image in images)


@pytest.mark.parametrize(
    ("model_input", "message"),
    [
        pytest.param(pandas.DataFrame({"path": ["a.png"]}), "columns path", id="table without the column"),
        pytest.param(3, "int", id="a number"),
        pytest.param({"picture": "a.png"}, "dict", id="a dict without the key"),
    ],
)
def test_other_input_is_refused(model_input: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        images_from_input(model_input)


@pytest.mark.parametrize("inside", [True, False])
def test_loads_from_the_bundle_or_the_folder_around_it(tmp_path: Path, inside: bool) -> None:
    bundle = save_fake_bundle(tmp_path)
    root = write_yolo_dataset(tmp_path / "data", images=2)
    paths = sorted(map(str, (root / "images" / "train").glob("*.png")))
    model = _load_pyfunc(str(bundle if inside else tmp_path))
    answers = model.predict(pandas.DataFrame({"image": paths}))
    assert [answer["classes"] for answer in answers] == [["opal"], ["opal"]]
    assert model.predict(paths, params={"score_threshold": 0.95})[0]["boxes"] == []
    assert model.predict(paths, params={"score_threshold": None}) == answers, "MLflow fills in what is not given"


def test_a_folder_without_a_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no bundle"):
        load_predictor(tmp_path)


def test_a_bundle_of_an_unknown_task_is_refused(tmp_path: Path) -> None:
    save_bundle(tmp_path, FakeDetector().state_dict(), Manifest("telepathy", {}, ("a",), {}))
    with pytest.raises(ConfigError, match="telepathy"):
        load_predictor(tmp_path)
