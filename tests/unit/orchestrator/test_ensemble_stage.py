"""A stage of `kind: ensemble`: what is refused before anything runs, when it runs again, and what it leaves behind."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from classification.task import ClassificationTask
from engine.bundle import Manifest, load_manifest, save_bundle
from foundation.errors import ConfigError, DataError
from orchestrator.execution import stages
from orchestrator.execution.ensemble import member_names, run_ensemble
from orchestrator.execution.folders import StageRecord
from orchestrator.execution.plan import PlannedStage, plan, registry_addresses, splits_of
from orchestrator.headline import summary_rows
from orchestrator.pipeline.load import load_pipeline
from orchestrator.pipeline.metric_checks import task_of
from orchestrator.pipeline.problems import ProblemsFound
from orchestrator.pipeline.settings import EnsembleStage
from tests.fakes import CLASS_COLOURS, save_fake_bundle, write_class_folders

CLASSES = tuple(CLASS_COLOURS)
SETTINGS: dict[str, Any] = {"model": {"name": "lenet5"}, "image_size": [32, 32]}
TEXT = """
name: p
data:
  stones: {format: imagefolder, root: stones}
  scenes: {format: scenes, num_images: 1}
stages:
  a: {kind: train, task: classification, data: stones, model: {name: lenet5}, image_size: [32, 32]}
  b: {kind: train, task: classification, data: stones, model: {name: lenet5}, image_size: [32, 32]}
  detector: {kind: train, task: detection, data: scenes}
  all: {kind: ensemble, models: ["stage:a", "stage:b"], method: averaging, data: stones}
  more: {kind: ensemble, models: ["stage:all", "stage:b"], method: stacking, data: stones}
  test: {kind: evaluate, model: "stage:all", data: stones, split: val}
  register: {kind: register, model: "stage:all", name: stones, gate: [{metric: test.top1, min: 0.5}]}
"""


def save_classifier(folder: Path, seed: int, classes: tuple[str, ...] = CLASSES) -> Path:
    """Write the bundle of an untrained network."""
    torch.manual_seed(seed)
    task = ClassificationTask.from_bundle(SETTINGS, classes)
    manifest = Manifest("classification", SETTINGS, classes, task.preprocessing())
    save_bundle(folder, task.build_model().state_dict(), manifest)
    return folder


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pipeline above, with its data and bundles beside it."""
    folder = tmp_path_factory.mktemp("ensemble")
    write_class_folders(folder / "stones")
    save_classifier(folder / "one" / "bundle", 1)
    save_classifier(folder / "two" / "bundle", 2)
    save_classifier(folder / "other" / "bundle", 3, ("jade", "opal", "topaz"))
    save_fake_bundle(folder / "fake")
    (folder / "p.yaml").write_text(TEXT)
    return folder / "p.yaml"


def problems_of(file: Path, *overrides: str) -> list[str]:
    with pytest.raises(ProblemsFound) as caught:
        load_pipeline(file, overrides)
    return [f"{problem.key}: {problem.message}" for problem in caught.value.problems]


def test_a_good_file_orders_ensembles_behind_their_members(file: Path) -> None:
    loaded = load_pipeline(file)
    assert loaded.needs["all"] == ("a", "b")
    assert loaded.needs["more"] == ("all", "b")
    assert loaded.order.index("b") < loaded.order.index("all") < loaded.order.index("more")
    stage = loaded.pipeline.stages["all"]
    assert isinstance(stage, EnsembleStage)
    assert (stage.split, stage.resources.num_workers, splits_of(stage)) == ("val", 0, ("val",))


@pytest.mark.parametrize(
    ("override", "words"),
    [
        pytest.param(
            "stages.all.models=[stage:a]", "stages.all.models: expected at least 2 items, got a list of 1", id="one"
        ),
        pytest.param("stages.all.models=[]", "expected at least 2 items, got a list of 0", id="none"),
        pytest.param(
            "stages.all.models=stage:a", "stages.all.models: expected a list, got the text 'stage:a'", id="no list"
        ),
        pytest.param("stages.all.models=[stage:a, stage:a]", "all.models.1: 'stage:a' is named twice", id="twice"),
        pytest.param(
            "stages.all.models=[stage:a, stage:aa]",
            "stages.all.models.1: there is no stage 'aa'; did you mean 'a'?",
            id="no such stage",
        ),
        pytest.param(
            "stages.all.models=[stage:a, stage:test]",
            "stages.all.models.1: stage 'test' is of kind 'evaluate' and has no model",
            id="a stage without a model",
        ),
        pytest.param(
            "stages.all.models=[stage:a, 'torchvision:IMAGENET1K_V1']", "is no address for this key", id="no model"
        ),
        pytest.param("stages.all.models=[stage:a, 'file:none']", "all.models.1: there is no file ", id="no file"),
        pytest.param("stages.all.models=[stage:a, 'file:stones']", "is no bundle (it has no", id="no bundle"),
        pytest.param(
            "stages.all.models=[stage:a, stage:detector]",
            "stages.all.models.1: 'stage:detector' is a model for 'detection'; an ensemble joins models for",
            id="a stage of another task",
        ),
        pytest.param(
            "stages.all.models=[stage:a, 'file:fake/bundle']",
            "stages.all.models.1: 'file:fake/bundle' is a model for 'detection'",
            id="a bundle of another task",
        ),
        pytest.param(
            "stages.all.models=['file:one/bundle', 'file:other/bundle']",
            "'file:other/bundle' and 'file:one/bundle' know different classes: only one of them has 'ruby' and 'topaz'",
            id="bundles of other classes",
        ),
        pytest.param(
            "stages.b.image_size=[32, 24]",
            "'stage:b' and 'stage:a' cannot see the same image: resize: crop and image_size of 1.333 to 1 of one",
            id="images of another shape",
        ),
        pytest.param(
            "stages.b.resize=squash",
            "stages.all.models.1: 'stage:b' and 'stage:a' cannot see the same image: resize: squash",
            id="images that are resized otherwise",
        ),
        pytest.param(
            "stages.all.method=avaraging",
            "got the text 'avaraging'; did you mean 'averaging'?",
            id="unknown method",
        ),
        pytest.param("stages.all.data=stone", "there is no data set 'stone'; did you mean 'stones'?", id="no data set"),
        pytest.param("stages.all.model=stage:a", "unknown key 'model'; did you mean 'models'?", id="model, not models"),
        pytest.param(
            "stages.more.split=train",
            "stages.more.split: 'stage:b' was trained on 'train', where it looks better than it is",
            id="a fit on training data",
        ),
        pytest.param(
            "stages.b.model={name: lenet5, weights: 'stage:all'}",
            "stages wait for each other",
            id="a cycle through a member",
        ),
        pytest.param(
            "stages.detector.model={name: fcos, backbone: {weights: 'stage:all'}}",
            "stage 'all' is an ensemble, which has no single network; name one of its members",
            id="weights of an ensemble",
        ),
        pytest.param(
            "stages.register.gate=[{metric: all.topp1, min: 0.5}]",
            "classification has no metric 'topp1'; did you mean 'top1'?",
            id="gate on a metric that there is not",
        ),
        pytest.param(
            "stages.register.gate=[{metric: test.out_of_fold/top1, min: 0.5}]",
            "classification has no metric 'out_of_fold/top1'",
            id="gate on a fit of an evaluation",
        ),
    ],
)
def test_faults_are_told_with_their_key(file: Path, override: str, words: str) -> None:
    problems = problems_of(file, override)
    assert any(words in problem for problem in problems), problems


def test_gates_may_name_what_the_fit_gave(file: Path) -> None:
    gate = "[{metric: more.out_of_fold/top1, min: 0.5}, {metric: all.member/a, min: 0.1}, {metric: all.top1, min: 0.1}]"
    load_pipeline(file, [f"stages.register.gate={gate}"])


def test_a_student_may_learn_from_an_ensemble(file: Path) -> None:
    student = "{kind: train, task: classification, data: stones, distill: {weights: 'stage:all'}}"
    assert "all" in load_pipeline(file, [f"stages.detector={student}"]).needs["detector"]


def test_ensembles_of_each_other_are_one_cycle_and_no_endless_search(file: Path) -> None:
    problems = problems_of(file, "stages.all.models=[stage:more, stage:b]")
    assert any("stages wait for each other: all -> more -> all" in problem for problem in problems)


def test_the_task_is_that_of_the_first_known_member() -> None:
    known: dict[str, Any] = {
        "a": {"kind": "train", "task": "classification"},
        "x": {"kind": "ensemble", "models": ["models:/m@champion", "stage:a"]},
        "y": {"kind": "evaluate", "model": "stage:x"},
        "z": {"kind": "ensemble", "models": ["models:/m@champion", 3, "stage:z"]},
    }
    assert [task_of(known, name) for name in ("x", "y", "z", "nowhere")] == ["classification"] * 2 + [None] * 2


def test_a_split_that_does_not_exist_stops_the_plan(file: Path) -> None:
    with pytest.raises(DataError, match=r"data.stones of p.yaml: .*no split 'valid' \(did you mean 'val'\?\)"):
        plan(load_pipeline(file, ["stages.all.split=valid"]), only="all")


def test_what_the_members_are_decides_whether_it_runs_again(file: Path, tmp_path: Path) -> None:
    def planned(*overrides: str) -> PlannedStage:
        address = "stages.all.models=[stage:a, 'models:/stones@champion']"
        loaded = load_pipeline(file, [f"storage={tmp_path}", address, *overrides])
        assert registry_addresses(loaded.pipeline.stages["all"]) == ["models:/stones@champion"]
        return plan(loaded, only="all", resolve_version=lambda _: "1")[-1]

    first = planned()
    assert set(first.parts["upstream"]) == {"a", "models:/stones@champion"}
    assert set(first.parts["data_digests"]) == {"val"}
    StageRecord(first.name, first.kind, first.fingerprint, dict(first.parts)).ended("done").save(first.folder)
    assert planned().action == "skip"
    assert planned("stages.all.resources={num_workers: 1}").action == "skip", "where it runs changes nothing"
    assert planned("stages.all.method=stacking").reason == 'method was "averaging", is "stacking"'
    assert planned("stages.a.loop.epochs=7").reason == "its input a changed"


def test_the_contents_of_a_bundle_count(file: Path, tmp_path: Path) -> None:
    folder = save_classifier(tmp_path / "m", 1)
    override = f"stages.all.models=[stage:a, 'file:{folder}']"
    before = plan(load_pipeline(file, [override]), only="all")[-1].fingerprint
    save_classifier(folder, 2)
    assert plan(load_pipeline(file, [override]), only="all")[-1].fingerprint != before


def test_members_have_short_names_that_folders_and_metrics_can_bear() -> None:
    addresses = ("stage:a", "models:/cells@champion", "models:/cells/3", "file:/x/a/bundle", "file:/x/é.d/")
    assert member_names(addresses) == {
        "a": "stage:a",
        "cells-champion": "models:/cells@champion",
        "cells-3": "models:/cells/3",
        "a-2": "file:/x/a/bundle",
        "d": "file:/x/é.d/",
    }


class FakeRun:
    """Remembers what a stage logs."""

    run_id = "r"

    def __init__(self) -> None:
        self.metrics: dict[str, float] = {}
        self.artifacts: list[Any] = []

    def log_metrics(self, metrics: dict[str, float]) -> None:
        self.metrics |= metrics

    def log_artifacts(self, *what: Any) -> None:
        self.artifacts.append(what)


def context_of(file: Path, folder: Path, *overrides: str) -> tuple[Any, PlannedStage, EnsembleStage]:
    loaded = load_pipeline(file, overrides)
    planned = PlannedStage("all", "ensemble", "run", "", folder, "f", {}, None)
    stage = loaded.pipeline.stages["all"]
    assert isinstance(stage, EnsembleStage)
    context: Any = SimpleNamespace(loaded=loaded, planned={"all": planned}, cluster=None, show=lambda _: None)
    return context, planned, stage


def test_the_stage_leaves_a_bundle_and_every_members_accuracy(file: Path, tmp_path: Path) -> None:
    override = "stages.all.models=['file:one/bundle', 'file:two/bundle']"
    context, planned, stage = context_of(file, tmp_path, override)
    run: Any = FakeRun()
    result = run_ensemble(context, planned, stage, run)
    manifest = load_manifest(tmp_path / "bundle")
    assert manifest.task == "classification"
    assert manifest.lineage["members"] == list(stage.models)
    assert {"top1", "nll", "member/one", "member/two"} <= set(result.metrics)
    assert run.metrics["val/member/one"] == result.metrics["member/one"]
    assert result.outcome == f"alone: one {result.metrics['member/one']:.4f}, two {result.metrics['member/two']:.4f}"
    assert len(json.loads(Path(result.outputs["predictions"]).read_text())) == 12
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left >= {"bundle/bundle.json", "members/one/predictions.json", "members/two/predictions.json"}
    assert not list(tmp_path.glob("members/*/bundle")), "the members' copies are gone"


def test_models_of_other_tasks_from_the_registry_are_refused_when_they_are_known(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    override = "stages.all.models=['models:/one/1', 'models:/fake/1']"
    context, planned, stage = context_of(file, tmp_path, override)
    context.tracking_uri = ""
    places = {"models:/one/1": file.parent / "one" / "bundle", "models:/fake/1": file.parent / "fake" / "bundle"}
    monkeypatch.setattr(stages, "resolve_model", lambda address, _: places[address])
    with pytest.raises(ConfigError, match="cannot be joined: one-1 is for classification, fake-1 is for detection"):
        run_ensemble(context, planned, stage, FakeRun())  # type: ignore[arg-type]


def test_an_ensembles_own_metrics_stay_in_the_table_beside_its_evaluation() -> None:
    def record(name: str, kind: str, model: object = None) -> StageRecord:
        metrics = {"top1": 0.5, "member/a": 0.4} | ({"out_of_fold/top1": 0.4} if kind == "ensemble" else {})
        return StageRecord(name, kind, "f", {"stage": {"model": model}}, metrics=metrics)

    measured = {"all": record("all", "ensemble"), "test": record("test", "evaluate", "stage:all")}
    assert [name for name, _, _ in summary_rows(measured, {})] == ["all.top1", "all.out_of_fold/top1", "test.top1"]
