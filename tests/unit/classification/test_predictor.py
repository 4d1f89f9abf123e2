"""The predictor of a bundle: plain answers, any sizes, the likeliest classes first."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from classification import task as task_module
from classification.predictor import build_predictor
from engine.bundle import Manifest, save_bundle
from foundation.errors import DataError, WeightsError

CLASSES = ("red", "green", "blue")


class BrightestChannel(nn.Module):
    """The mean of each channel decides; its single weight is there so that a bundle has something to keep."""

    notes: tuple[str, ...] = ()

    def __init__(self) -> None:
        super().__init__()
        self.sharpness = nn.Parameter(torch.tensor(4.0))

    def forward(self, images: Tensor, targets: object = None) -> Tensor:
        return (images.mean((2, 3)) * self.sharpness).softmax(1)


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(task_module, "build_model", lambda *_, **__: BrightestChannel())
    manifest = Manifest("classification", {"image_size": [16, 16]}, CLASSES, {})
    save_bundle(tmp_path / "bundle", BrightestChannel().state_dict(), manifest)
    return tmp_path / "bundle"


def plain(colour: tuple[int, int, int], height: int = 20, width: int = 30) -> np.ndarray:
    return np.full((height, width, 3), colour, np.uint8)


def test_answers_are_plain_and_the_likeliest_class_comes_first(bundle: Path) -> None:
    (answer,) = build_predictor(bundle).predict([plain((0, 255, 128))])
    assert json.loads(json.dumps(answer)) == answer
    assert answer["classes"] == ["green", "blue", "red"]
    assert answer["labels"] == [1, 2, 0]
    assert sum(answer["scores"]) == pytest.approx(1)


def test_paths_and_arrays_of_any_number_and_size_keep_their_order(bundle: Path, tmp_path: Path) -> None:
    colours = [tuple(255 * (channel == n % 3) for channel in range(3)) for n in range(19)]
    images: list = [plain(colour, 10 + n, 40 - n) for n, colour in enumerate(colours)]
    cv2.imwrite(str(tmp_path / "4.png"), images[4][..., ::-1])
    images[4] = tmp_path / "4.png"
    answers = build_predictor(bundle).predict(images, top_k=1)
    assert [answer["labels"] for answer in answers] == [[n % 3] for n in range(19)]


def test_few_classes_or_none_may_be_asked_for(bundle: Path) -> None:
    predictor = build_predictor(bundle)
    assert len(predictor.predict([plain((9, 9, 9))], top_k=2)[0]["labels"]) == 2
    assert predictor.predict([plain((9, 9, 9))], score_threshold=0.9)[0]["labels"] == []
    assert predictor.predict([]) == []


def test_what_is_no_image_is_refused(bundle: Path) -> None:
    with pytest.raises(DataError, match="uint8 RGB"):
        build_predictor(bundle).predict([np.zeros((4, 4))])


def test_a_damaged_bundle_is_refused(bundle: Path) -> None:
    (bundle / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(WeightsError, match="damaged"):
        build_predictor(bundle)
