"""The task joins data, model, losses and metric; notes, counts and teachers come from the right place."""

from pathlib import Path
from typing import Any

import pytest
import torch

from classification.data import ClassificationBatch
from classification.predictions import Prediction
from classification.task import ClassificationTask
from engine.bundle import Manifest, save_bundle
from engine.task import SampleKey, TaskSpec
from foundation.errors import ConfigError, DataError
from tests.fakes import write_class_folders
from tests.unit.classification.labelled import make_dataset
from vision.class_order import with_classes

MODEL = {"name": "resnet18", "width": 0.25}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return {"format": "imagefolder", "root": str(write_class_folders(tmp_path_factory.mktemp("classes")))}


def task_of(data: dict[str, Any], **keys: Any) -> ClassificationTask:
    settings = {"model": MODEL, "image_size": [32, 32], "augment": {"preset": "none"}} | keys
    return ClassificationTask(TaskSpec("classification", settings, data))


def batch_of(task: ClassificationTask, ids: tuple[int, ...] = (0, 5, 9)) -> ClassificationBatch:
    dataset = task.build_dataset("train", train=True)
    return task.collate([dataset[SampleKey(0, sample_id)] for sample_id in ids])


def saved(task: ClassificationTask, folder: Path, classes: tuple[str, ...] | None = None) -> str:
    state = task.build_model().state_dict()
    manifest = Manifest("classification", task.spec.settings, classes or task.classes, {})
    save_bundle(folder, state, manifest)
    return f"file:{folder}"


def test_counts_are_those_of_the_split_that_is_trained(data: dict[str, Any]) -> None:
    task = task_of(data)
    assert task.train_counts().tolist() == [4, 4, 4], "known from the data set before a training"
    task.build_dataset("val", train=True)
    assert task.train_counts().tolist() == [4, 4, 4]
    assert task_of({}).train_counts() is None


def test_the_training_split_is_measured_for_normalize_data(data: dict[str, Any]) -> None:
    task = task_of(data, normalize="data")
    task.build_dataset("train", train=True)
    model = task.build_model()
    assert 0.15 < model.mean.mean().item() < 0.5
    assert model.std.min().item() > 0.05
    fresh = ClassificationTask.from_bundle(task.spec.settings, task.classes).build_model()
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(fresh.mean, model.mean)


def test_class_weights_need_a_training_and_get_its_counts(data: dict[str, Any]) -> None:
    task = task_of(data, loss={"name": "focal", "class_weights": "balanced"})
    batch = batch_of(task)
    losses = task.losses(task.build_model().train(), batch)
    assert torch.isfinite(losses["loss_cls"])


def test_mixing_partners_reach_the_loss(data: dict[str, Any]) -> None:
    task = task_of(data, augment={"preset": "none", "mixup": 0.4})
    batch = batch_of(task)
    model = task.build_model().train()
    mixed = task.losses(model, batch)["loss_cls"].item()
    batch.other_labels = batch.labels
    assert mixed != pytest.approx(task.losses(model, batch)["loss_cls"].item())


def test_a_teacher_answers_in_the_students_order(data: dict[str, Any], tmp_path: Path) -> None:
    torch.manual_seed(3)
    teacher = task_of(data, image_size=[48, 48])
    turned = tuple(reversed(teacher.classes))
    uri = saved(teacher, tmp_path / "teacher", turned)
    task = task_of(data, distill={"weights": uri, "temperature": 2.0, "alpha": 0.5})
    batch = batch_of(task)
    model = task.build_model().train()
    assert set(task.losses(model, batch)) == {"loss_cls", "loss_distill"}
    assert task._teacher is not None
    images = torch.rand(2, 3, 48, 48)
    own = task._teacher.model(images)
    assert torch.allclose(task._teacher(images), own.flip(1))
    assert not any("teacher" in name for name in model.state_dict())


def test_a_teacher_of_other_classes_is_refused(data: dict[str, Any], tmp_path: Path) -> None:
    uri = saved(task_of(data), tmp_path / "teacher", ("jade", "opal", "quartz"))
    with pytest.raises(ConfigError, match="quartz"):
        task_of(data, distill={"weights": uri}).build_model()


def test_notes_tell_of_the_head_and_of_flips(data: dict[str, Any], tmp_path: Path) -> None:
    uri = saved(task_of(data), tmp_path / "old", ("a", "b", "c"))
    task = task_of(data, model=MODEL | {"weights": uri})
    task.build_model()
    assert len(task.notes()) == 1
    flipped = task_of({}, augment={"preset": "none", "flip_horizontal": 0.5})
    flipped.classes = ("left turn", "right turn")
    assert "flip" in flipped.notes()[0]


def test_labels_are_numbered_by_the_models_classes() -> None:
    dataset = with_classes(make_dataset([0, 1, 1], ("opal", "ruby")), ("ruby", "jade", "opal"), "test")
    assert [record.label for record in dataset.records] == [2, 0, 0]
    with pytest.raises(DataError, match="opal, which the model does not know"):
        with_classes(make_dataset([0], ("opal", "ruby")), ("ruby", "jade"), "test")


def test_without_data_it_predicts_and_says_what_is_missing() -> None:
    task = ClassificationTask.from_bundle({"model": MODEL, "image_size": [32, 32]}, ("a", "b"))
    batch = ClassificationBatch(
        torch.zeros(1, 3, 32, 32, dtype=torch.uint8), *torch.zeros(2, 1, dtype=torch.int64), torch.ones(1), (7,)
    )
    (prediction,) = task.predict(task.build_model().eval(), batch)
    assert isinstance(prediction, Prediction)
    assert prediction.sample_id == 7
    assert prediction.scores.sum() == pytest.approx(1)
    with pytest.raises(ConfigError, match="without data"):
        task.build_dataset("test", train=False)


def test_the_bundle_says_how_images_are_prepared() -> None:
    assert task_of({}, image_size=[224, 224]).preprocessing()["shortest_side"] == 256
    assert "pad_value" in task_of({}, resize="letterbox").preprocessing()
