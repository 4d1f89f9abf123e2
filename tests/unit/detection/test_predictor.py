"""The predictor of a bundle with a detector of twenty lines instead of a network."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from detection import task as task_module
from detection.predictor import build_predictor
from engine.bundle import load_bundle, save_bundle
from foundation.errors import DataError, WeightsError
from tests.fakes import FakeDetector, save_fake_bundle


@pytest.fixture(autouse=True)
def _fake_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_module, "build_model", lambda settings, num_classes: FakeDetector())


def picture(height: int, width: int, box: tuple[int, int, int, int]) -> np.ndarray:
    image = np.zeros((height, width, 3), np.uint8)
    image[box[1] : box[3], box[0] : box[2]] = 255
    return image


def test_answers_are_plain_and_in_the_images_own_pixels(tmp_path: Path) -> None:
    predictor = build_predictor(save_fake_bundle(tmp_path))
    image = picture(32, 128, (40, 8, 80, 24))
    (answer,) = predictor.predict([image])
    assert json.loads(json.dumps(answer)) == answer
    assert answer["boxes"] == [[40, 8, 80, 24]]
    assert answer["labels"] == [1]
    assert answer["classes"] == ["opal"]
    assert answer["scores"] == pytest.approx([0.9])


def test_paths_and_arrays_of_any_number_and_size_keep_their_order(tmp_path: Path) -> None:
    predictor = build_predictor(save_fake_bundle(tmp_path))
    arrays = [picture(64, 64 + 2 * n, (n, 4, 20 + n, 30)) for n in range(11)]
    cv2.imwrite(str(tmp_path / "4.png"), arrays[4])
    images = [*arrays[:3], str(tmp_path / "4.png"), tmp_path / "4.png", *arrays[5:]]
    lefts = [round(answer["boxes"][0][0]) for answer in predictor.predict(images)]
    assert lefts == pytest.approx([0, 1, 2, 4, 4, 5, 6, 7, 8, 9, 10], abs=1)


def test_no_images_give_no_answers(tmp_path: Path) -> None:
    assert build_predictor(save_fake_bundle(tmp_path)).predict([]) == []


def test_low_scores_are_left_out(tmp_path: Path) -> None:
    predictor = build_predictor(save_fake_bundle(tmp_path))
    (answer,) = predictor.predict([picture(64, 64, (0, 0, 9, 9))], score_threshold=0.95)
    assert answer == {"boxes": [], "scores": [], "labels": [], "classes": []}


@pytest.mark.parametrize("array", [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3)), np.zeros((0, 8, 3), np.uint8)])
def test_an_array_that_is_no_rgb_image_is_refused(tmp_path: Path, array: np.ndarray) -> None:
    with pytest.raises(DataError, match="uint8 RGB"):
        build_predictor(save_fake_bundle(tmp_path)).predict([array])


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    folder = save_fake_bundle(tmp_path)
    manifest, state = load_bundle(folder)
    save_bundle(folder, {"another": state["label"]}, manifest)
    with pytest.raises(WeightsError, match=r"do not fit.*label"):
        build_predictor(folder)
