"""Optimizers, schedules, samplers and fine-tuning in a pipeline file: what is accepted, and how a mistake is told."""

from pathlib import Path
from typing import Any

import jsonschema
import pytest

from orchestrator.pipeline.fingerprint import fingerprint_of, fingerprint_parts
from orchestrator.pipeline.load import load_pipeline
from orchestrator.pipeline.problems import ProblemsFound
from orchestrator.pipeline.schema import json_schema, known_keys
from orchestrator.pipeline.settings import TrainStage
from orchestrator.pipeline.source import parse

GOOD = (Path(__file__).resolve().parents[2] / "data" / "good_pipeline.yaml").read_text()
OPTIMIZER = "optimizer: {name: sgd, lr: 2e-2}"


def _write(folder: Path, loop: str, stage: str = "") -> Path:
    path = folder / "pipeline.yaml"
    path.write_text(GOOD.replace(OPTIMIZER, loop).replace("    resources:", f"    {stage}\n    resources:"))
    return path


def _problems(path: Path) -> list[str]:
    with pytest.raises(ProblemsFound) as caught:
        load_pipeline(path)
    return [str(problem).removeprefix(f"{path}:") for problem in caught.value.problems]


def _detector(path: Path, *overrides: str) -> TrainStage:
    stage = load_pipeline(path, overrides).pipeline.stages["detector"]
    assert isinstance(stage, TrainStage)
    return stage


@pytest.mark.parametrize(
    ("loop", "expected"),
    [
        pytest.param(
            "optimizer: {name: adamx}",
            "21: stages.detector.loop.optimizer.name: unknown name 'adamx'; expected 'adamw', 'sgd', 'adagrad', "
            "'adadelta', 'rmsprop', 'adam', 'amsgrad', 'adamax', 'nadam', 'adabound', 'lars', 'lamb' or 'lion'; "
            "did you mean 'adamax'?",
            id="unknown optimizer",
        ),
        pytest.param(
            "optimizer: {name: sgd, betas: [0.9, 0.99]}",
            "21: stages.detector.loop.optimizer.betas: unknown key 'betas'; known here: name, lr, weight_decay, l1, "
            "no_decay_on_norm_and_bias, momentum, nesterov",
            id="argument of another optimizer",
        ),
        pytest.param(
            "optimizer: {momentum: 0.9}",
            "21: stages.detector.loop.optimizer.momentum: unknown key 'momentum'; known here: name, lr,",
            id="argument of another optimizer, without a name",
        ),
        pytest.param(
            "optimizer: {name: adam, betas: [0.9, 2]}",
            "21: stages.detector.loop.optimizer.betas.1: expected a number < 1, got 2",
            id="a beta out of range",
        ),
        pytest.param(
            "optimizer: adam",
            "21: stages.detector.loop.optimizer: expected a mapping of keys such as {name: adam}, got the text 'adam'",
            id="a name where keys belong",
        ),
        pytest.param(
            "optimizer: {name: sgd, momentum: 0.0, nesterov: true}",
            "21: stages.detector.loop.optimizer: `nesterov: true` needs a `momentum` above 0",
            id="nesterov without momentum",
        ),
        pytest.param(
            "schedule: {name: cosin}",
            "21: stages.detector.loop.schedule.name: unknown name 'cosin'; expected",
            id="unknown schedule",
        ),
        pytest.param(
            "schedule: {name: multistep}",
            "21: stages.detector.loop.schedule.milestones: missing key 'milestones'",
            id="multistep without milestones",
        ),
        pytest.param(
            "schedule: {name: multistep, milestones: []}",
            "21: stages.detector.loop.schedule.milestones: expected at least 1 items, got a list of 0",
            id="no milestone",
        ),
        pytest.param(
            "schedule: {patience: 3}",
            "21: stages.detector.loop.schedule.patience: unknown key 'patience'; known here: name, warmup_steps, "
            "warmup_epochs, final_factor",
            id="key of another schedule",
        ),
        pytest.param(
            "batch_size: many",
            "21: stages.detector.loop.batch_size: expected a whole number or 'full', got the text 'many'",
            id="batch size",
        ),
        pytest.param(
            "batch_size: full",
            "19: stages.detector.loop: `batch_size: full` needs `micro_batch`",
            id="full batch without parts",
        ),
        pytest.param(
            "fine_tune: {freeze_epochs: alle}",
            "21: stages.detector.loop.fine_tune.freeze_epochs: expected a whole number or 'all', got the text 'alle'; "
            "did you mean 'all'?",
            id="freeze for how long",
        ),
        pytest.param(
            "fine_tune: {}", "21: stages.detector.loop.fine_tune: nothing is asked for; give", id="empty fine_tune"
        ),
    ],
)
def test_a_mistake_in_the_loop_is_told_with_its_mend(tmp_path: Path, loop: str, expected: str) -> None:
    (problem,) = _problems(_write(tmp_path, loop))
    assert problem.startswith(expected), problem


@pytest.mark.parametrize(
    ("sampler", "expected"),
    [
        pytest.param(
            "sampler: {name: balanced}",
            "22: stages.detector.sampler.name: unknown name 'balanced'; expected 'random', 'class_balanced', ",
            id="unknown sampler",
        ),
        pytest.param(
            "sampler: {name: oversample, threshold: 0.1}",
            "22: stages.detector.sampler.threshold: unknown key 'threshold'; known here: name",
            id="key of another sampler",
        ),
        pytest.param(
            "sampler: {name: repeat_factor, threshold: 0}",
            "22: stages.detector.sampler.threshold: expected a number > 0, got 0",
            id="no threshold",
        ),
    ],
)
def test_a_mistake_in_the_sampler_is_told_with_its_mend(tmp_path: Path, sampler: str, expected: str) -> None:
    (problem,) = _problems(_write(tmp_path, OPTIMIZER, sampler))
    assert problem.startswith(expected), problem


def test_one_key_of_an_optimizer_can_be_set_alone(tmp_path: Path) -> None:
    path = _write(tmp_path, "precision: fp32")
    assert _detector(path).loop.optimizer.name == "adamw"
    overrides = ("stages.detector.loop.optimizer.lr=0.5", "stages.detector.loop.schedule.warmup_steps=7")
    loop = _detector(path, *overrides).loop
    assert (loop.optimizer.name, loop.optimizer.lr) == ("adamw", 0.5)
    assert (loop.schedule.name, loop.schedule.warmup_steps) == ("cosine", 7)


RECIPES: list[Any] = [
    pytest.param("optimizer: {lr: 0.1}", "", id="no name"),
    pytest.param("optimizer: {name: lars, lr: 0.4, l1: 1e-5}", "sampler: {name: square_root}", id="lars"),
    pytest.param("schedule: {warmup_steps: 5}", "sampler: {}", id="no name of a schedule or sampler"),
    pytest.param("schedule: {name: one_cycle, rise: 0.2}", "", id="one_cycle"),
    pytest.param("schedule: {name: multistep, milestones: [1, 2]}", "", id="multistep"),
    pytest.param("batch_size: full\n      micro_batch: 4", "", id="full batch"),
    pytest.param("fine_tune: {backbone_lr: 0.1}", "sampler: {name: repeat_factor, threshold: 0.1}", id="two rates"),
]


@pytest.mark.parametrize(("loop", "stage"), RECIPES)
def test_types_and_schema_accept_the_same(tmp_path: Path, loop: str, stage: str) -> None:
    path = _write(tmp_path, loop, stage)
    loaded = load_pipeline(path)
    assert type(loaded.pipeline).model_validate(loaded.resolved()) == loaded.pipeline
    validator = jsonschema.Draft202012Validator(json_schema())
    assert [error.message for error in validator.iter_errors(parse(path.read_text(), "f.yaml").data)] == []
    assert not list(validator.iter_errors(loaded.resolved()))


@pytest.mark.parametrize(
    "wrong", ["optimizer: {name: sgd, betas: [0.9, 0.9]}", "optimizer: {betas: 3}", "schedule: {name: plato}"]
)
def test_the_schema_refuses_what_the_types_refuse(tmp_path: Path, wrong: str) -> None:
    path = _write(tmp_path, wrong)
    assert _problems(path)
    assert list(jsonschema.Draft202012Validator(json_schema()).iter_errors(parse(path.read_text(), "f.yaml").data))


def test_known_keys_follow_the_name() -> None:
    data = parse(GOOD.replace(OPTIMIZER, f"{OPTIMIZER}\n      schedule: {{warmup_steps: 3}}"), "f.yaml").data
    stage = ("stages", "detector")
    assert "nesterov" in known_keys((*stage, "loop", "optimizer"), data)
    assert "betas" not in known_keys((*stage, "loop", "optimizer"), data)
    assert "final_factor" in known_keys((*stage, "loop", "schedule"), data)
    assert known_keys((*stage, "sampler"), data) == ["name"]


def test_the_sampler_and_the_recipe_count_in_the_fingerprint(tmp_path: Path) -> None:
    def fingerprint(loop: str, stage: str = "") -> str:
        detector = _detector(_write(tmp_path, loop, stage))
        return fingerprint_of(fingerprint_parts(detector, seed=0, upstream={}, code="c"))

    plain = fingerprint(OPTIMIZER)
    assert plain == fingerprint(OPTIMIZER, "sampler: {name: random}")
    others = [
        fingerprint(OPTIMIZER, "sampler: {name: oversample}"),
        fingerprint(OPTIMIZER.replace("}", ", l1: 1e-4}")),
        fingerprint(f"{OPTIMIZER}\n      fine_tune: {{backbone_lr: 0.1}}"),
    ]
    assert len({plain, *others}) == 4
