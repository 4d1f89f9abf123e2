"""DetectionTask with a detector of twenty lines instead of a network."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from detection import task as task_module
from detection.settings import DetectionSettings
from detection.task import DetectionTask, resize_batch, step_size
from engine.bundle import load_bundle
from engine.task import SampleKey, TaskSpec
from foundation.errors import ConfigError, DataError
from tests.fakes import FakeDetector, make_record, save_fake_bundle, write_yolo_dataset
from vision.class_order import with_classes
from vision.record import Dataset

SETTINGS = {"image_size": [64, 64], "augment": {"preset": "none"}}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_yolo_dataset(tmp_path_factory.mktemp("yolo"))


@pytest.fixture()
def _fake_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_module, "build_model", lambda settings, num_classes: FakeDetector())


def make_task(root: Path, **settings: Any) -> DetectionTask:
    return DetectionTask(TaskSpec("detection", SETTINGS | settings, {"format": "yolo", "root": str(root)}, seed=3))


def batch_of(task: DetectionTask, split: str, train: bool, count: int = 4) -> Any:
    dataset = task.build_dataset(split, train)
    return task.collate([dataset[SampleKey(0, sample_id)] for sample_id in range(count)])


class Recorder(nn.Module):
    """Keeps what it was called with and returns a loss of one."""

    def __init__(self, normalises_over_ranks: bool) -> None:
        super().__init__()
        self.normalises_over_ranks = normalises_over_ranks

    def forward(self, images: Tensor, targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        self.images, self.targets = images, targets
        return {"loss_one": torch.ones(())}


def test_classes_are_those_of_the_training_data(root: Path) -> None:
    assert make_task(root).classes == ("ruby", "opal")


def test_a_split_is_read_once(root: Path) -> None:
    task = make_task(root)
    assert task.dataset("val") is task.dataset("val")
    assert len(task.build_dataset("train", True)) == 8


@pytest.mark.parametrize(("over_ranks", "expected"), [(True, 0.25), (False, 0.5)])
def test_losses_are_scaled_by_the_share_that_the_model_asks_for(root: Path, over_ranks: bool, expected: float) -> None:
    task = make_task(root)
    batch = batch_of(task, "train", train=True)
    batch.share, batch.step_share = 0.5, 0.25
    wrapped = nn.Module()
    wrapped._orig_mod = Recorder(over_ranks)
    wrapped.forward = wrapped._orig_mod.forward  # as torch.compile wraps a model
    assert task.losses(wrapped, batch)["loss_one"].item() == expected


def test_the_model_sees_floats_between_zero_and_one(root: Path) -> None:
    task, model = make_task(root), Recorder(True)
    batch = batch_of(task, "train", train=True)
    task.losses(model, batch)
    assert model.images.dtype == torch.float32
    assert torch.equal(model.images, batch.images.float() / 255)


def test_under_autocast_the_images_have_its_type(root: Path) -> None:
    task, model = make_task(root), Recorder(True)
    with torch.autocast("cpu", torch.bfloat16):
        task.losses(model, batch_of(task, "train", train=True))
    assert model.images.dtype == torch.bfloat16


def test_multi_scale_draws_a_size_per_step_and_moves_boxes_with_it(root: Path) -> None:
    task, model = make_task(root, multi_scale=[0.5, 2.0]), Recorder(True)
    batch = batch_of(task, "train", train=True)
    seen = set()
    for step in range(6):
        batch.step_key = step
        task.losses(model, batch)
        side = model.images.shape[-1]
        seen.add(side)
        assert torch.allclose(model.targets[0]["boxes"], batch.targets[0]["boxes"] * (side / 64))
    assert seen <= {32, 64, 96, 128}
    assert len(seen) > 1


def test_step_size_is_a_function_of_seed_and_step() -> None:
    settings = DetectionSettings.model_validate({"image_size": [320, 640], "multi_scale": [0.5, 1.5]})
    sizes = [step_size(settings, 0, step) for step in range(50)]
    assert sizes == [step_size(settings, 0, step) for step in range(50)]
    assert sizes != [step_size(settings, 1, step) for step in range(50)]
    assert all(160 <= h <= 480 and 320 <= w <= 960 and h % 32 == 0 and w % 32 == 0 for h, w in sizes)


def test_resize_of_an_image_without_objects() -> None:
    images, targets = resize_batch(torch.zeros(1, 3, 32, 64), [{"boxes": torch.zeros(0, 4)}], (64, 64))
    assert images.shape == (1, 3, 64, 64)
    assert targets[0]["boxes"].shape == (0, 4)


@pytest.mark.usefixtures("_fake_model")
def test_predictions_come_in_original_pixels_and_reach_the_metric(root: Path) -> None:
    task = make_task(root)
    model = task.build_model().eval()
    (first, *_) = found = task.predict(model, batch_of(task, "val", train=False, count=8))
    truth = task.dataset("val").records[0]
    # 64 x 48 pixels in a square of 64 are padded by 8 rows above and below, and not scaled.
    assert first.boxes.tolist() == truth.boxes.tolist()
    assert [d.sample_id for d in found] == list(range(8))
    metric = task.build_metric("val")
    metric.update(found)
    assert metric.compute()["map_50"] > 0


def test_detections_are_sorted_by_falling_score(root: Path) -> None:
    class Unsorted(nn.Module):
        def forward(self, images: Tensor, targets: None) -> list[dict[str, Tensor]]:
            boxes = torch.tensor([[0.0, 10, 5, 20], [-9, 0, 99, 99]])
            return [{"boxes": boxes, "scores": torch.tensor([0.1, 0.7]), "labels": torch.tensor([0, 1])}]

    task = make_task(root)
    (found,) = task.predict(Unsorted(), batch_of(task, "val", train=False, count=1))
    assert found.labels.tolist() == [1, 0]
    assert found.boxes.tolist() == [[0, 0, 64, 48], [0, 2, 5, 12]], "clipped to the image of 64 x 48"


@pytest.mark.usefixtures("_fake_model")
def test_a_bundle_needs_no_data_to_predict(tmp_path: Path) -> None:
    manifest, _ = load_bundle(save_fake_bundle(tmp_path))
    task = DetectionTask.from_bundle(manifest.settings, manifest.classes)
    assert task.classes == ("ruby", "opal")
    assert isinstance(task.build_model(), FakeDetector)
    with pytest.raises(ConfigError, match="without data"):
        task.dataset("val")


def test_labels_follow_the_models_classes_by_name(root: Path) -> None:
    data = {"format": "yolo", "root": str(root)}
    own = make_task(root).dataset("val")
    other = DetectionTask.from_bundle(SETTINGS, ("opal", "amber", "ruby"), data).dataset("val")
    expected = [[("opal", "amber", "ruby").index(own.classes[n]) for n in r.labels] for r in own.records]
    assert [r.labels.tolist() for r in other.records] == expected


def test_a_class_that_the_model_does_not_know_is_refused() -> None:
    dataset = Dataset(("ruby", "jade"), (make_record(0, [[0, 0, 5, 5]], [1]),))
    with pytest.raises(DataError, match=r"jade.*it knows ruby, opal"):
        with_classes(dataset, ("ruby", "opal"), "test")


def test_preprocessing_says_what_a_bundle_needs(root: Path) -> None:
    told = make_task(root).preprocessing()
    assert told["image_size"] == [64, 64]
    assert (told["resize"], told["color"], told["pad_value"]) == ("letterbox", "RGB", 114)


def test_images_on_disk_are_rgb(root: Path) -> None:
    image = batch_of(make_task(root), "train", train=False).images[0].numpy()
    from_disk = cv2.imread(str(root / "images" / "train" / "00.png"))[..., ::-1]
    assert np.array_equal(image[:, 8:56], from_disk.transpose(2, 0, 1))


def test_images_with_more_objects_than_are_looked_for_are_told(root: Path) -> None:
    task = make_task(root, max_detections=1)
    task.build_dataset("train", train=True)
    counts = [len(record.boxes) for record in task.dataset("train").records]
    (told,) = task.notes()
    assert told.startswith(f"{sum(count > 1 for count in counts)} of {len(counts)} images of the split 'train'")
    assert f"Set `max_detections` to {max(counts)} or more" in told
    assert make_task(root, max_detections=max(counts)).notes() == []
