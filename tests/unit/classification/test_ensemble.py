"""Trained classifiers joined into one bundle: what members see, what they say, and what the bundle then answers."""

import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch

from classification.ensemble import Ensemble, common_sight, read_answers
from classification.ensemble_settings import EnsembleModelSettings, model_tag
from classification.models.ensemble import MemberSight, window_of
from classification.predictor import build_predictor
from classification.settings import ClassificationSettings
from classification.task import ClassificationTask
from engine.bundle import Manifest, load_bundle, load_manifest, save_bundle
from engine.evaluation_job import PREDICTIONS_FILE, evaluate_bundle
from engine.job import EvaluateJob
from engine.runtimes import InProcessRuntime
from engine.settings import EnsembleMethod
from engine.task import TaskSpec
from foundation.errors import ConfigError
from tests.fakes import CLASS_COLOURS, write_class_folders

CLASSES = tuple(CLASS_COLOURS)
METHODS = get_args(EnsembleMethod)
LENET: dict[str, Any] = {"model": {"name": "lenet5"}, "image_size": [32, 32]}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return {"format": "imagefolder", "root": str(write_class_folders(tmp_path_factory.mktemp("data")))}


def save_classifier(
    folder: Path, settings: dict[str, Any], seed: int, classes: tuple[str, ...] = CLASSES, task: str = "classification"
) -> Path:
    """Write the bundle of an untrained network."""
    torch.manual_seed(seed)
    made = ClassificationTask.from_bundle(settings, classes)
    full = made.settings.model_dump(mode="json")
    model = made.build_model()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    save_bundle(folder, model.state_dict(), Manifest(task, full, classes, made.preprocessing()))
    return folder


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Three networks; the last one has its classes in another order."""
    folder = tmp_path_factory.mktemp("members")
    resnet = {"model": {"name": "resnet18", "width": 0.125}, "image_size": [32, 32]}
    return {
        "lenet": save_classifier(folder / "lenet", LENET, 0),
        "resnet": save_classifier(folder / "resnet", resnet, 1),
        "turned": save_classifier(folder / "turned", LENET, 2, CLASSES[::-1]),
    }


def evaluate(bundle: Path, data: dict[str, Any], folder: Path) -> tuple[dict[str, float], list[dict[str, Any]]]:
    job = EvaluateJob(bundle, data, "val", 5, "fp32", folder)
    metrics = evaluate_bundle(job, InProcessRuntime(False))["metrics"]
    return metrics, json.loads((folder / PREDICTIONS_FILE).read_text())


@pytest.fixture(scope="module")
def said(members: dict[str, Path], data: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What each member says of the split as part of the ensemble."""
    folder = tmp_path_factory.mktemp("said")
    ensemble = Ensemble(members)
    for name in members:
        ensemble.save_member(name, folder / name / "bundle")
        evaluate(folder / name / "bundle", data, folder / name)
    return {name: folder / name / PREDICTIONS_FILE for name in members}


def test_a_member_says_in_the_ensemble_what_it_says_alone(
    members: dict[str, Path], said: dict[str, Path], data: dict[str, Any], tmp_path: Path
) -> None:
    for name, bundle in members.items():
        _, alone = evaluate(bundle, data, tmp_path / name)
        order = [load_manifest(bundle).classes.index(label) for label in CLASSES]
        for own, joined in zip(alone, json.loads(said[name].read_text()), strict=True):
            assert joined["sample_id"] == own["sample_id"]
            np.testing.assert_allclose(joined["probabilities"], np.array(own["probabilities"])[order], atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_the_bundle_answers_what_was_measured_when_it_was_joined(
    method: EnsembleMethod, members: dict[str, Path], said: dict[str, Path], data: dict[str, Any], tmp_path: Path
) -> None:
    fit = Ensemble(members).save(method, said, data, "val", 0, tmp_path / "bundle", {"stage": "all"})
    metrics, predictions = evaluate(tmp_path / "bundle", data, tmp_path)
    for mine, theirs in zip(predictions, fit.predictions, strict=True):
        assert mine["sample_id"] == theirs["sample_id"]
        assert mine["label"] == theirs["label"]
        np.testing.assert_allclose(mine["probabilities"], theirs["probabilities"], atol=1e-5)
    assert {name: fit.metrics[name] for name in metrics} == pytest.approx(metrics, abs=1e-4)
    manifest = load_manifest(tmp_path / "bundle")
    assert manifest.classes == CLASSES
    assert manifest.lineage == {"stage": "all"}
    assert manifest.metrics == fit.metrics
    assert manifest.settings["model"]["method"] == method


def test_an_ensemble_bundle_predicts_and_joins_again(
    members: dict[str, Path], said: dict[str, Path], data: dict[str, Any], tmp_path: Path
) -> None:
    Ensemble(members).save("averaging", said, data, "val", 0, tmp_path / "inner", {})
    images = sorted(Path(data["root"]).glob("val/*/*.png"))[:5]
    (answer, *others) = build_predictor(tmp_path / "inner").predict(images, top_k=3)
    assert len(others) == 4
    assert sum(answer["scores"]) == pytest.approx(1, abs=1e-5)
    joined = {"inner": tmp_path / "inner", "lenet": members["lenet"]}
    outer = Ensemble(joined)
    files = {}
    for name in joined:
        outer.save_member(name, tmp_path / name / "alone")
        evaluate(tmp_path / name / "alone", data, tmp_path / name)
        files[name] = tmp_path / name / PREDICTIONS_FILE
    outer.save("averaging", files, data, "val", 0, tmp_path / "outer", {})
    first, second = (
        dict(zip(row["classes"], row["scores"], strict=True))
        for row in (answer, build_predictor(members["lenet"]).predict(images[:1], top_k=3)[0])
    )
    (both,) = build_predictor(tmp_path / "outer").predict(images[:1], top_k=3)
    for name, score in zip(both["classes"], both["scores"], strict=True):
        assert score == pytest.approx((first[name] + second[name]) / 2, abs=1e-5)


def test_weights_and_out_of_fold_numbers_are_told(
    members: dict[str, Path], said: dict[str, Path], data: dict[str, Any], tmp_path: Path
) -> None:
    ensemble = Ensemble(members)
    weighted = ensemble.save("weighted_averaging", said, data, "val", 0, tmp_path / "w", {})
    assert sum(weighted.metrics[f"weight/{name}"] for name in members) == pytest.approx(1, abs=1e-6)
    stacked = ensemble.save("stacking", said, data, "val", 0, tmp_path / "s", {})
    assert stacked.metrics["out_of_fold/nll"] > stacked.metrics["nll"], "it has not seen these images"
    assert set(stacked.metrics) - set(weighted.metrics) == {"out_of_fold/top1", "out_of_fold/nll"}


def test_a_second_fit_writes_the_same_bytes(
    members: dict[str, Path], said: dict[str, Path], data: dict[str, Any], tmp_path: Path
) -> None:
    for name in ("a", "b"):
        Ensemble(members).save("stacking", said, data, "val", 0, tmp_path / name, {})
    assert load_manifest(tmp_path / "a").sha256 == load_manifest(tmp_path / "b").sha256


def test_answers_are_stacked_by_image_and_member(said: dict[str, Path]) -> None:
    probabilities, labels, sample_ids = read_answers(list(said.values()))
    assert probabilities.shape == (12, 3, 3)
    assert labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert sample_ids.tolist() == list(range(12))


def test_an_ensemble_is_not_trained(
    members: dict[str, Path], said: dict[str, Path], data: dict[str, Any], tmp_path: Path
) -> None:
    Ensemble(members).save("averaging", said, data, "val", 0, tmp_path, {})
    manifest, _ = load_bundle(tmp_path)
    model = ClassificationTask(TaskSpec("classification", manifest.settings, {}), CLASSES).build_model()
    with pytest.raises(ConfigError, match="an ensemble is not trained itself"):
        model.train()(torch.zeros(1, 3, 32, 32))


@pytest.mark.parametrize(
    ("task", "classes", "settings", "words"),
    [
        pytest.param("detection", CLASSES, LENET, "other is a model for detection; an ensemble joins", id="task"),
        pytest.param(
            "classification",
            ("jade", "opal", "topaz"),
            LENET,
            "lenet and other were trained for different classes: only one of them knows ruby, topaz",
            id="classes",
        ),
        pytest.param(
            "classification",
            CLASSES,
            LENET | {"resize": "squash"},
            "cannot see the same image: resize is crop of one and squash of the other",
            id="resize",
        ),
        pytest.param(
            "classification",
            CLASSES,
            {"model": {"name": "resnet18", "width": 0.125}, "image_size": [32, 64]},
            "the shape of `image_size` is 1.0 of one and 0.5 of the other",
            id="aspect ratio",
        ),
    ],
)
def test_members_that_cannot_be_joined_are_refused(
    members: dict[str, Path], tmp_path: Path, task: str, classes: tuple[str, ...], settings: dict[str, Any], words: str
) -> None:
    other = save_classifier(tmp_path, settings, 0, classes, task)
    with pytest.raises(ConfigError) as caught:
        Ensemble({"lenet": members["lenet"], "other": other})
    assert words in str(caught.value)


def settings_of(image_size: int, resize_size: int | None = None, **others: Any) -> ClassificationSettings:
    sizes = {"image_size": (image_size, image_size), "resize_size": resize_size}
    return ClassificationSettings.model_validate(sizes | others)


@pytest.mark.parametrize(
    ("members", "common", "windows"),
    [
        pytest.param([settings_of(32), settings_of(32)], (32, 32), [(32, 32), (32, 32)], id="alike"),
        pytest.param([settings_of(224), settings_of(224)], (224, 256), [(224, 224)] * 2, id="alike, centre crops"),
        pytest.param([settings_of(64), settings_of(32)], (64, 64), [(64, 64), (64, 64)], id="finer and coarser"),
        pytest.param(
            [settings_of(224, 256), settings_of(64, 64)],
            (256, 256),
            [(224, 224), (256, 256)],
            id="coarse sees more",
        ),
        pytest.param(
            [settings_of(32, 40, test_time={"crops": "ten"}), settings_of(32, 40)],
            (40, 40),
            [(40, 40), (32, 32)],
            id="one cuts ten crops out",
        ),
        pytest.param(
            [settings_of(32, resize="squash"), settings_of(64, resize="squash")],
            (64, None),
            [(64, 64), (64, 64)],
            id="squashed",
        ),
    ],
)
def test_the_common_image_holds_what_each_member_sees(
    members: list[ClassificationSettings], common: tuple[int, int | None], windows: list[tuple[int, int]]
) -> None:
    sight = common_sight(dict(zip("abc", members, strict=False)))
    assert (sight["image_size"][0], sight.get("resize_size")) == common
    ensemble = ClassificationSettings.model_validate(sight)
    assert [window_of(member, ensemble) for member in members] == windows


def test_a_smaller_member_sees_the_middle_resized() -> None:
    images = torch.zeros(1, 3, 8, 8)
    images[..., 2:6, 2:6] = 1
    sight = MemberSight(settings_of(2), window=(4, 4))
    assert sight(images).shape == (1, 3, 2, 2)
    torch.testing.assert_close(sight(images), torch.ones(1, 3, 2, 2))
    assert MemberSight(settings_of(8), window=(8, 8))(images).data_ptr() == images.data_ptr(), "nothing to do"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"name": "ensemble"}, "ensemble"),
        ({"name": "resnet18"}, "classifier"),
        ({}, "classifier"),
        ("resnet18", "classifier"),
        (EnsembleModelSettings(name="ensemble", method="averaging", members=({},)), "ensemble"),
    ],
)
def test_the_tag_tells_ensembles_from_classifiers(value: Any, expected: str) -> None:
    assert model_tag(value) == expected
