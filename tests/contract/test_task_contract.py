"""What every task must keep, over everything registered: a new task or model adds one row to `CASES` and no test."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from deploy.predictor import load_predictor
from engine import catalog
from engine.bundle import Manifest, load_bundle, save_bundle
from engine.state import total_loss
from engine.task import SampleKey, Task, TaskSpec
from tests.fakes import write_class_folders, write_yolo_dataset

TINY_FASTER_RCNN = {
    "name": "faster_rcnn",
    "backbone": {"name": "resnet18", "width": 0.25},
    "fpn_channels": 16,
    "levels": [3, 4],
    "anchor_sizes": [16.0, 32.0],
    "rois_per_image": 16,
    "proposals_train": 50,
    "proposals_test": 20,
    "roi_pool": 3,
    "head_channels": 32,
}
TINY_DENSE = {
    "backbone": {"name": "resnet18", "width": 0.25},
    "fpn_channels": 32,
    "levels": [3, 4],
    "head_convs": 1,
}
DETECTION = {"image_size": [64, 64], "augment": {"preset": "none"}, "score_threshold": 1e-6}
TILED = {
    "tiling": {"tile_size": [32, 40], "train": True, "merge": "nmm", "batch_size": 3},
    "test_time": {"scales": [1.0, 1.5], "flip": True},
}
CLASSIFICATION = {"image_size": [32, 32], "augment": {"preset": "none"}}
TINY_RESNET = {"name": "resnet18", "width": 0.25}
CASES: list[Any] = [
    pytest.param("detection", DETECTION | {"model": {"name": "yolo", "size": "pico"}}, id="detection-yolo"),
    pytest.param("detection", DETECTION | {"model": {"name": "yolox", "size": "nano"}}, id="detection-yolox"),
    pytest.param("detection", DETECTION | {"model": TINY_FASTER_RCNN}, id="detection-faster_rcnn"),
    pytest.param("detection", DETECTION | {"model": TINY_DENSE | {"name": "retinanet"}}, id="detection-retinanet"),
    pytest.param(
        "detection", DETECTION | {"model": TINY_DENSE | {"name": "fcos", "fpn_channels": 64}}, id="detection-fcos"
    ),
    pytest.param("detection", DETECTION | {"model": {"name": "ssdlite"}}, id="detection-ssdlite"),
    pytest.param(
        "detection", DETECTION | {"model": TINY_FASTER_RCNN, "loss": {"name": "seesaw"}}, id="detection-seesaw"
    ),
    pytest.param(
        "detection",
        DETECTION | {"model": {"name": "yolo", "size": "pico"}, "loss": {"name": "focal", "class_weights": "balanced"}},
        id="detection-weighted-focal",
    ),
    pytest.param("detection", DETECTION | {"model": {"name": "yolo", "size": "pico"}} | TILED, id="detection-tiled"),
    pytest.param(
        "detection",
        DETECTION | {"model": TINY_DENSE | {"name": "retinanet", "anchors": "auto"}},
        id="detection-fitted-anchors",
    ),
    pytest.param("classification", CLASSIFICATION | {"model": TINY_RESNET}, id="classification-resnet18"),
    pytest.param(
        "classification",
        CLASSIFICATION | {"model": TINY_RESNET | {"head": {"name": "spp"}}, "loss": {"name": "arcface"}},
        id="classification-spp-arcface",
    ),
    pytest.param(
        "classification",
        CLASSIFICATION | {"model": TINY_RESNET | {"embedding_size": 16}, "loss": {"name": "contrastive"}},
        id="classification-contrastive",
    ),
]
DATA: dict[str, Callable[[Path], dict[str, Any]]] = {
    "detection": lambda folder: {"format": "yolo", "root": str(write_yolo_dataset(folder / "detection"))},
    "classification": lambda folder: {
        "format": "imagefolder",
        "root": str(write_class_folders(folder / "classification", images=2)),
    },
}
STEPS = 12


@pytest.fixture(scope="module")
def data_of(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("contract")
    return {task: make(folder) for task, make in DATA.items()}


def build(name: str, settings: dict[str, Any], data: dict[str, dict[str, Any]]) -> Task:
    torch.manual_seed(0)
    task: Task = catalog.load(catalog.entry(name).task)(TaskSpec(name, settings, data[name]))
    return task


def batch_of(task: Task, split: str, train: bool, count: int = 4) -> Any:
    dataset = task.build_dataset(split, train)
    return task.collate([dataset[SampleKey(0, sample_id)] for sample_id in range(count)])


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_loss_falls_on_one_batch(name: str, settings: dict[str, Any], data_of: dict[str, Any]) -> None:
    task = build(name, settings, data_of)
    batch = batch_of(task, "train", train=True)  # first, as in the loop: some models go by the training data
    model = task.build_model().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    totals = []
    for step in range(STEPS):
        batch.step_key = step
        torch.manual_seed(step)  # as the loop does, for models that sample proposals
        losses = task.losses(model, batch)
        assert all(key.startswith("loss_") and value.shape == () for key, value in losses.items())
        totals.append(total_loss(losses).item())
        total_loss(losses).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert sum(totals[-3:]) < 0.9 * sum(totals[:3])


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_losses_follow_the_share_of_the_step(name: str, settings: dict[str, Any], data_of: dict[str, Any]) -> None:
    task = build(name, settings, data_of)
    batch = batch_of(task, "train", train=True)  # first, as in the loop: some models go by the training data
    model = task.build_model().train()
    torch.manual_seed(0)
    whole = task.losses(model, batch)
    batch.share = batch.step_share = 0.5
    torch.manual_seed(0)
    for key, half in task.losses(model, batch).items():
        assert half.item() == pytest.approx(whole[key].item() / 2, rel=1e-4)


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_predictions_go_into_the_metric(name: str, settings: dict[str, Any], data_of: dict[str, Any]) -> None:
    task = build(name, settings, data_of)
    model, metric = task.build_model().eval(), task.build_metric("val")
    predictions = task.predict(model, batch_of(task, "val", train=False))
    assert len(predictions) == 4
    metric.update(predictions)
    metric.merge([metric.state()])
    assert catalog.entry(name).main_metric in metric.compute()
    assert all(isinstance(value, float) for value in metric.compute().values())


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_predictions_survive_the_bundle(
    name: str, settings: dict[str, Any], data_of: dict[str, Any], tmp_path: Path
) -> None:
    task = build(name, settings, data_of)
    model = task.build_model().eval()
    manifest = Manifest(name, settings, task.classes, task.preprocessing())
    save_bundle(tmp_path, model.state_dict(), manifest)
    again, state = load_bundle(tmp_path)
    fresh = catalog.load(catalog.entry(name).task)(again.spec(), classes=again.classes)
    other = fresh.build_model().eval()
    other.load_state_dict(state)
    batch = batch_of(task, "val", train=False)
    predictions = task.predict(model, batch)
    assert any(len(mine.scores) for mine in predictions), "nothing is predicted, so nothing is compared"
    assert as_json(task, fresh.predict(other, batch)) == as_json(task, predictions)


def as_json(task: Task, predictions: list[Any]) -> list[dict[str, Any]]:
    metric = task.build_metric("val")
    metric.update(predictions)
    return metric.to_json()


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_the_predictor_sees_what_evaluation_sees(
    name: str, settings: dict[str, Any], data_of: dict[str, Any], tmp_path: Path
) -> None:
    task = build(name, settings, data_of)
    model = task.build_model().eval()
    save_bundle(tmp_path, model.state_dict(), Manifest(name, settings, task.classes, task.preprocessing()))
    paths = [record.path for record in task.build_dataset("val", False).records[:4]]
    evaluated = task.predict(model, batch_of(task, "val", train=False))
    answers = load_predictor(tmp_path).predict(paths, score_threshold=0.0)
    for mine, answer in zip(evaluated, answers, strict=True):
        assert len(mine.scores) == len(answer["scores"])
        assert answer["scores"] == pytest.approx(mine.scores.tolist(), abs=1e-5)
