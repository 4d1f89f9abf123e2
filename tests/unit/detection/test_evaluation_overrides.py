"""An evaluation of a bundle with other views than the bundle's own, with a detector of twenty lines."""

import json
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from detection import task as task_module
from engine.bundle import load_manifest
from engine.evaluation_job import PREDICTIONS_FILE, _build_task, evaluate_bundle
from engine.job import EvaluateJob
from engine.runtimes import InProcessRuntime
from foundation.errors import ConfigError
from tests.fakes import FakeDetector, save_fake_bundle, write_yolo_dataset

TILES = {"tiling": {"tile_size": [32, 32], "overlap": 0.0, "full_frame": False}}


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes of all batches that the detector has been shown."""
    seen: list[tuple[int, ...]] = []

    class Watched(FakeDetector):
        def forward(self, images: Tensor, targets: Any = None) -> object:
            seen.append(tuple(images.shape))
            return super().forward(images, targets)

    monkeypatch.setattr(task_module, "build_model", lambda settings, num_classes: Watched())
    return seen


def job(folder: Path, **overrides: Any) -> EvaluateJob:
    data = {"format": "yolo", "root": str(write_yolo_dataset(folder / "data", images=2))}
    return EvaluateJob(save_fake_bundle(folder), data, "val", 2, "fp32", folder / "out", overrides)


def test_without_overrides_every_image_is_looked_at_once(tmp_path: Path, looks: list[tuple[int, ...]]) -> None:
    evaluate_bundle(job(tmp_path), InProcessRuntime(use_gpu=False))
    assert looks == [(2, 3, 64, 64)]


def test_tiles_and_passes_take_the_place_of_the_bundles_own(tmp_path: Path, looks: list[tuple[int, ...]]) -> None:
    tiled = job(tmp_path, **TILES, test_time={"flip": True})
    evaluate_bundle(EvaluateJob.from_json(json.loads(json.dumps(tiled.to_json()))), InProcessRuntime(use_gpu=False))
    # Two images of 48 x 64 pixels in 2 x 2 tiles, each seen as it is and mirrored.
    assert sum(shape[0] for shape in looks) == 2 * 4 * 2
    assert (tiled.folder / PREDICTIONS_FILE).is_file()
    assert "tiling" not in load_manifest(tiled.bundle).settings, "the bundle stays what it is"


def test_another_number_of_detections_counts(tmp_path: Path, looks: list[tuple[int, ...]]) -> None:
    dense = job(tmp_path, max_detections=300)
    task = _build_task(load_manifest(dense.bundle), dense)
    assert task.build_metric("val").max_detections == 300


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        pytest.param({"tiling": {"tile_size": [32, 32], "train": True}}, "tiling.train: Extra inputs", id="training"),
        pytest.param({"test_time": {"crops": "ten"}}, "test_time.crops: Extra inputs", id="another task's"),
    ],
)
def test_overrides_that_do_not_fit_are_the_users_error(
    overrides: dict[str, Any], words: str, tmp_path: Path, looks: list[tuple[int, ...]]
) -> None:
    with pytest.raises(ConfigError, match=words):
        evaluate_bundle(job(tmp_path, **overrides), InProcessRuntime(use_gpu=False))
    assert looks == []
