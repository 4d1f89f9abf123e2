"""`tiling` and `test_time` of evaluate stages: what `validate` finds, what counts, and what becomes of it."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.pipeline.fingerprint import fingerprint_of, fingerprint_parts
from orchestrator.pipeline.load import load_pipeline
from orchestrator.pipeline.problems import ProblemsFound
from orchestrator.pipeline.settings import EvaluateStage, Pipeline

PIPELINE: dict[str, Any] = {
    "name": "overrides",
    "data": {"shapes": {"format": "scenes"}, "digits": {"format": "digits"}},
    "stages": {
        "detector": {"kind": "train", "task": "detection", "data": "shapes"},
        "classifier": {"kind": "train", "task": "classification", "data": "digits", "image_size": [32, 32]},
        "boxes": {"kind": "evaluate", "model": "stage:detector", "data": "shapes"},
        "images": {"kind": "evaluate", "model": "stage:classifier", "data": "digits"},
        "other": {"kind": "evaluate", "model": "models:/cells@champion", "data": "shapes"},
    },
}


def problems(folder: Path, stage: str, **given: Any) -> list[str]:
    content = copy.deepcopy(PIPELINE)
    content["stages"][stage] |= given
    file = folder / "pipeline.yaml"
    file.write_text(yaml.safe_dump(content))
    try:
        load_pipeline(file)
    except ProblemsFound as error:
        return [f"{problem.key}: {problem.message}" for problem in error.problems]
    return []


@pytest.mark.parametrize(
    ("stage", "given"),
    [
        pytest.param("boxes", {}, id="nothing"),
        pytest.param("boxes", {"tiling": {"tile_size": [64, 64]}, "test_time": {"flip": True}}, id="both of detection"),
        pytest.param("boxes", {"tiling": None}, id="without tiles, whatever the model says"),
        pytest.param("boxes", {"tiling": "as_trained", "test_time": "as_trained"}, id="as the model says"),
        pytest.param("images", {"test_time": {"scales": [1.0, 1.5]}}, id="passes of classification"),
        pytest.param("other", {"tiling": {"tile_size": [64, 64]}}, id="model of unknown task, keys of one"),
        pytest.param("other", {"test_time": {"crops": "ten"}}, id="model of unknown task, keys of the other"),
    ],
)
def test_what_fits_is_accepted(stage: str, given: dict[str, Any], tmp_path: Path) -> None:
    assert problems(tmp_path, stage, **given) == []


@pytest.mark.parametrize(
    ("stage", "given", "expected"),
    [
        pytest.param(
            "boxes",
            {"tiling": {"tile_size": [64, 64], "overlaps": 0.1}},
            "stages.boxes.tiling.overlaps: unknown key 'overlaps'; did you mean 'overlap'?",
            id="unknown key",
        ),
        pytest.param(
            "boxes",
            {"tiling": {"tile_size": [64, 64], "train": True}},
            "stages.boxes.tiling.train: unknown key 'train'",
            id="no training in an evaluation",
        ),
        pytest.param(
            "boxes", {"tiling": {}}, "stages.boxes.tiling.tile_size: missing key 'tile_size'", id="missing key"
        ),
        pytest.param(
            "boxes",
            {"test_time": {"scales": [1.0, -1.0]}},
            "stages.boxes.test_time.scales.1: expected a number > 0, got -1.0",
            id="wrong value",
        ),
        pytest.param(
            "boxes",
            {"test_time": {"crops": "ten"}},
            "stages.boxes.test_time.crops: unknown key 'crops'",
            id="a key of the other task",
        ),
        pytest.param(
            "images",
            {"tiling": {"tile_size": [64, 64]}},
            "stages.images.tiling: a model for classification has no 'tiling'",
            id="boxes only",
        ),
        pytest.param(
            "images",
            {"test_time": {"crops": "five"}},
            "stages.images.test_time: this does not fit the settings of the model: `test_time.crops: five` needs",
            id="no room for crops in the model's image size",
        ),
        pytest.param("boxes", {"tiling": 5}, "stages.boxes.tiling: expected ", id="no mapping"),
        pytest.param(
            "other", {"tiling": {"tile_sizes": 64}}, "stages.other.tiling.tile_sizes: unknown key", id="of no task"
        ),
    ],
)
def test_what_does_not_fit_is_found(stage: str, given: dict[str, Any], expected: str, tmp_path: Path) -> None:
    found = problems(tmp_path, stage, **given)
    assert any(text.startswith(expected) for text in found), found


def test_only_what_is_given_counts_instead_of_the_models_own() -> None:
    stage = {"kind": "evaluate", "model": "stage:detector", "data": "shapes"}
    assert EvaluateStage.model_validate(stage).overrides == {}
    assert EvaluateStage.model_validate({**stage, "tiling": None}).overrides == {"tiling": None}
    given = {"test_time": {"flip": True}}
    assert EvaluateStage.model_validate({**stage, **given}).overrides == given


def test_the_fingerprint_counts_them() -> None:
    seen = set()
    for given in ({}, {"tiling": None}, {"tiling": {"tile_size": [64, 64]}}, {"test_time": {"flip": True}}):
        content = copy.deepcopy(PIPELINE)
        content["stages"]["boxes"] |= given
        stage = Pipeline.model_validate(content).stages["boxes"]
        seen.add(fingerprint_of(fingerprint_parts(stage, seed=0, upstream={}, code="")))
    assert len(seen) == 4


def test_a_sampler_by_object_size_is_refused_for_whole_images(tmp_path: Path) -> None:
    sampler = {"name": "small_objects", "factor": 3.0}
    assert problems(tmp_path, "detector", sampler=sampler) == []
    found = problems(tmp_path, "classifier", sampler=sampler)
    assert [text.partition(",")[0] for text in found] == [
        "stages.classifier.sampler.name: small_objects goes by the size of objects"
    ]


def test_classes_are_not_balanced_twice(tmp_path: Path) -> None:
    weighted = {"name": "focal", "class_weights": "balanced"}
    assert problems(tmp_path, "classifier", loss=weighted) == []
    for loss, key in (
        (weighted, "loss.class_weights: balanced"),
        ({"name": "class_balanced"}, "loss.name: class_balanced"),
        ({"name": "cross_entropy", "logit_adjustment": 1.0}, "loss.logit_adjustment"),
    ):
        assert problems(tmp_path, "classifier", loss=loss, sampler={"name": "square_root"}) == []
        (found,) = problems(tmp_path, "classifier", loss=loss, sampler={"name": "oversample"})
        assert f"oversample shows all classes equally often, and `{key}` goes by" in found
