"""Loading a pipeline file: types, references, overrides, paths, and all problems at once."""

import pickle
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from detection.settings import DetectionSettings
from orchestrator.pipeline.load import load_pipeline
from orchestrator.pipeline.problems import ProblemsFound
from orchestrator.pipeline.settings import EvaluateStage, RegisterStage, TrainStage

TEN_FAULTS = Path(__file__).resolve().parents[2] / "data" / "ten_faults.yaml"

GOOD = (TEN_FAULTS.parent / "good_pipeline.yaml").read_text()


def write(folder: Path, text: str = GOOD) -> Path:
    path = folder / "pipeline.yaml"
    path.write_text(text)
    return path


def problems_of(path: Path, *overrides: str) -> list[str]:
    with pytest.raises(ProblemsFound) as caught:
        load_pipeline(path, overrides)
    return [str(problem).removeprefix(f"{path}:") for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("override", "wrong"),
    [
        pytest.param(
            "stages.register.gate=[{metric: test.map_5O, min: 0.5}]", "map_5O", id="gate on an evaluate stage"
        ),
        pytest.param("stages.register.gate=[{metric: detector.mapp, min: 0.5}]", "mapp", id="gate on a train stage"),
        pytest.param("stages.detector.loop.early_stop={metric: map50}", "map50", id="early stopping"),
    ],
)
def test_a_metric_that_no_task_computes_is_named(tmp_path: Path, override: str, wrong: str) -> None:
    (problem,) = problems_of(write(tmp_path), override)
    assert f"detection has no metric {wrong!r}; did you mean" in problem


def test_metrics_of_single_classes_are_known(tmp_path: Path) -> None:
    load_pipeline(write(tmp_path), ["stages.register.gate=[{metric: test.ap_50/cat, min: 0.5}]"])


def test_a_good_file_is_typed_and_ordered_by_its_references(tmp_path: Path) -> None:
    loaded = load_pipeline(write(tmp_path))
    assert loaded.order == ("detector", "test", "register")
    assert loaded.needs["register"] == ("detector", "test")
    detector, test = loaded.pipeline.stages["detector"], loaded.pipeline.stages["test"]
    assert isinstance(detector, TrainStage)
    assert isinstance(test, EvaluateStage)
    assert isinstance(loaded.pipeline.stages["register"], RegisterStage)
    assert detector.loop.optimizer.lr == 0.02
    assert detector.resources.num_workers == (1, 2)
    assert test.resources.num_workers == 0
    assert loaded.pipeline.experiment == "cells"


def test_a_train_stage_gives_the_settings_of_its_task(tmp_path: Path) -> None:
    detector = load_pipeline(write(tmp_path)).pipeline.stages["detector"]
    assert isinstance(detector, TrainStage)
    settings = detector.task_settings()
    assert isinstance(settings, DetectionSettings)
    assert settings.model.name == "yolo"
    assert DetectionSettings.model_validate(settings.model_dump(mode="json")) == settings


def test_the_resolved_file_is_json_that_loads_again(tmp_path: Path) -> None:
    loaded = load_pipeline(write(tmp_path))
    assert type(loaded.pipeline).model_validate(loaded.resolved()) == loaded.pipeline


def test_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "weights.pth").touch()
    text = GOOD.replace("{format: scenes, num_images: 8}", "{format: voc, root: images}").replace(
        "size: pico", 'size: pico, weights: "file:weights.pth"'
    )
    path = write(tmp_path, text + "tracking: {uri: 'sqlite:///own.db'}\n")
    monkeypatch.chdir("/")
    pipeline = load_pipeline(path).pipeline
    assert pipeline.data["cells"].root == tmp_path / "images"
    assert pipeline.storage == tmp_path / "runs"
    assert pipeline.tracking.uri == f"sqlite:///{tmp_path}/own.db"
    detector: Any = pipeline.stages["detector"]
    assert detector.model.weights == f"file:{tmp_path}/weights.pth"


def test_a_missing_root_with_a_download_is_fine(tmp_path: Path) -> None:
    data = "{format: voc, root: later, download: {url: 'https://example.org/a.zip'}}"
    load_pipeline(write(tmp_path, GOOD.replace("{format: scenes, num_images: 8}", data)))


def test_ten_faults_give_ten_problems_with_their_lines() -> None:
    expected = {
        number: line
        for line, text in enumerate(TEN_FAULTS.read_text().splitlines(), start=1)
        for number in range(1, 11)
        if f"# {number}:" in text
    }
    with pytest.raises(ProblemsFound) as caught:
        load_pipeline(TEN_FAULTS)
    assert [problem.line for problem in caught.value.problems] == [expected[number] for number in range(1, 11)]
    assert len(str(caught.value).splitlines()) == 10
    assert f"{TEN_FAULTS}:16: stages.detector.loop.epoch: unknown key 'epoch'; did you mean 'epochs'?" in str(
        caught.value
    )


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        pytest.param("seed: 3", "seed: -1", "2: seed: expected a number >= 0, got -1", id="out of range"),
        pytest.param("seed: 3", "sed: 3", "2: sed: unknown key 'sed'; did you mean 'seed'?", id="misspelt at the top"),
        pytest.param("name: cells\n", "", "1: name: missing key 'name'", id="missing key"),
        pytest.param(
            "num_images: 8", "num_images: 8.5", "4: data.cells.num_images: expected a whole number, got 8.5", id="float"
        ),
        pytest.param(
            "format: scenes",
            "format: scene",
            "4: data.cells.format: unknown format 'scene'; expected 'voc', 'coco', 'yolo', 'scenes', "
            "'imagefolder' or 'digits'; did you mean 'scenes'?",
            id="unknown format",
        ),
        pytest.param("format: scenes, ", "", "4: data.cells.format: missing key 'format'", id="no format"),
        pytest.param(
            "[1, 2]",
            "many",
            "22: stages.detector.resources.num_workers: expected a whole number or a list, got the text 'many'",
            id="both alternatives of a union",
        ),
        pytest.param(
            "[1, 2]",
            "[1, x]",
            "22: stages.detector.resources.num_workers.1: expected a whole number, got the text 'x'",
            id="inside one alternative of a union",
        ),
        pytest.param(
            "[1, 2]",
            "[1]",
            "22: stages.detector.resources.num_workers.1: the list is too short: item 2 is missing",
            id="a list too short",
        ),
        pytest.param(
            "[1, 2]",
            "[3, 2]",
            "22: stages.detector.resources.num_workers: expected [fewest, most], got [3, 2]",
            id="a range upside down",
        ),
        pytest.param(
            "[1, 2]",
            "1, use_gpu: false, resources_per_worker: {GPU: 1}",
            "22: stages.detector.resources.use_gpu: this is false, but `resources_per_worker` asks for a GPU",
            id="a GPU asked for and refused",
        ),
        pytest.param(
            "task: detection",
            "task: dection",
            "16: stages.detector.task: unknown task 'dection'; expected 'classification' or 'detection'; "
            "did you mean 'detection'?",
            id="unknown task",
        ),
        pytest.param(
            "metric: test.map_50",
            "metric: test",
            "11: stages.register.gate.0.metric: expected STAGE.METRIC such as 'test.map_50', got the text 'test'",
            id="gate metric without a stage",
        ),
        pytest.param(
            "metric: test.map_50",
            "metric: tset.map_50",
            "11: stages.register.gate.0.metric: there is no stage 'tset'; did you mean 'test'?",
            id="gate of no stage",
        ),
        pytest.param(
            "min: 0.5",
            "min: 0.5, vs: champion",
            "11: stages.register.gate.0: a gate has `min` and/or `max`, or both `vs` and `max_drop`",
            id="gate of two kinds",
        ),
        pytest.param(
            'model: "stage:detector", data',
            'model: "stage:register", data',
            "13: stages.test.model: stage 'register' is of kind 'register' and has no model; name a train stage",
            id="evaluate of no train stage",
        ),
        pytest.param(
            'model: "stage:detector", data',
            'model: "models:/cells", data',
            "13: stages.test.model: 'models:/cells' is not of the form models:/NAME@ALIAS or models:/NAME/3",
            id="malformed registry address",
        ),
        pytest.param(
            "size: pico",
            "size: pico, weights: best.pth",
            "18: stages.detector.model.weights: 'best.pth' is no address for this key; expected ",
            id="no scheme",
        ),
        pytest.param(
            "data: cells}",
            "data: cels}",
            "13: stages.test.data: there is no data set 'cels'; did you mean 'cells'?",
            id="unknown data set",
        ),
        pytest.param(
            "  detector:", "  det ector:", "14: stages.det ector: the name 'det ector' may only hold", id="name"
        ),
        pytest.param("epochs: 2", "epochs: 2, epochs: 3", "20: this is not YAML", id="syntax"),
        pytest.param(
            "name: cells-detector",
            "name: cells-detector\n    alias: latest",
            "10: stages.register.alias: the alias 'latest' is MLflow's own; choose another",
            id="reserved alias",
        ),
    ],
)
def test_one_fault_is_told_with_line_key_and_mend(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert old in GOOD
    found = problems_of(write(tmp_path, GOOD.replace(old, new, 1)))
    assert any(problem.startswith(expected) for problem in found), found


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("", "got nothing", id="empty"),
        pytest.param("- a\n", "got a list of 1", id="a list"),
        pytest.param("hello\n", "got the text 'hello'", id="a text"),
        pytest.param("name: x\ndata: {}\nstages: {}\n", "there are no stages", id="no stages"),
        pytest.param("name: x\ndata: 1\nstages: [a]\n", "expected a mapping", id="wrong types at the top"),
        pytest.param(f"{GOOD}storage: s3://b/x\n", "expected a folder", id="storage in the cloud"),
        pytest.param(f"{GOOD}tracking: {{uri: htp://x}}\n", "no address of a track", id="unknown tracking scheme"),
        pytest.param(f"{GOOD}tracking: {{uri: http://}}\n", "names no host", id="tracking server without a host"),
        pytest.param(
            GOOD.replace("{format: scenes, num_images: 8}", "{format: coco}"), "needs `root`", id="coco of nowhere"
        ),
        pytest.param(
            GOOD.replace("epochs: 2", "early_stop: {}").replace(
                "task: detection", "task: detection\n    val_split: null"
            ),
            "`val_split` is null",
            id="early stop without validation",
        ),
    ],
)
def test_other_faults(tmp_path: Path, text: str, words: str) -> None:
    assert words in "\n".join(problems_of(write(tmp_path, text)))


def test_a_cycle_is_told_where_it_begins(tmp_path: Path) -> None:
    other = """\
  other: {kind: train, task: detection, data: cells, model: {name: yolo, weights: "stage:detector"}}
"""
    text = GOOD.replace("size: pico", 'size: pico, weights: "stage:other"') + other
    found = problems_of(write(tmp_path, text))
    assert found == ["18: stages.detector.model.weights: stages wait for each other: detector -> other -> detector"]


def test_coco_files_that_are_missing_are_named(tmp_path: Path) -> None:
    data = "{format: coco, splits: {train: {annotations: a.json, images: pictures}}}"
    found = problems_of(write(tmp_path, GOOD.replace("{format: scenes, num_images: 8}", data)))
    assert [problem.split(": there")[0] for problem in found] == [
        "4: data.cells.splits.train.annotations",
        "4: data.cells.splits.train.images",
    ]


def test_an_unset_variable_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOPE", raising=False)
    text = GOOD.replace("{format: scenes, num_images: 8}", '{format: voc, root: "${env:NOPE}"}')
    (problem,) = problems_of(write(tmp_path, text))
    assert problem.startswith("4: data.cells.root: the environment variable NOPE is not set")


def test_user_transforms_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A stand-in: the real one imports albumentations, which takes seconds; it has tests of its own.
    check = ModuleType("check")
    check.__dict__["validate_transforms"] = lambda transforms, with_boxes: [
        f"transform {index}: x, boxes {with_boxes}" for index in range(len(transforms))
    ]
    monkeypatch.setitem(sys.modules, "vision.augment", ModuleType("augment"))
    monkeypatch.setitem(sys.modules, "vision.augment.check", check)
    text = GOOD.replace("    loop:", "    augment: {transforms: [{HorizontalFlp: {p: 0.5}}]}\n    loop:")
    assert problems_of(write(tmp_path, text)) == ["19: stages.detector.augment.transforms: transform 0: x, boxes True"]


def test_overrides_change_values_and_later_ones_win(tmp_path: Path) -> None:
    overrides = (
        "stages.detector.loop.epochs=5",
        "stages.detector.loop.epochs=7",
        "stages.detector.loop.schedule.name=constant",
        "stages.detector.resources.num_workers=[2, 4]",
        "stages.register.gate.0.min=1e-3",
        "stages.test.split=val",
        "tracking.experiment='12'",
        "stages.detector.resources.resources_per_worker.CPU=2",
    )
    loaded = load_pipeline(write(tmp_path), overrides)
    detector, register = loaded.pipeline.stages["detector"], loaded.pipeline.stages["register"]
    assert isinstance(detector, TrainStage)
    assert isinstance(register, RegisterStage)
    assert detector.loop.epochs == 7
    assert detector.loop.schedule.name == "constant"
    assert detector.resources.num_workers == (2, 4)
    assert detector.resources.resources_per_worker == {"CPU": 2}
    assert register.gate[0].min == 0.001
    assert loaded.pipeline.experiment == "12"
    assert loaded.overrides == overrides


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        pytest.param("stages.detector.loop.epochs", ": expected KEY=VALUE", id="no value"),
        pytest.param("stages..epochs=3", ": expected KEY=VALUE", id="an empty key"),
        pytest.param("stages.detecter.loop.epochs=3", ": stages.detecter: there is no", id="unknown stage"),
        pytest.param(
            "stages.detector.loop.epoch=3", ": stages.detector.loop.epoch: unknown key 'epoch'; did", id="key"
        ),
        pytest.param("stages.detector.loop.epochs=x", ": stages.detector.loop.epochs: expected a whole", id="type"),
        pytest.param("seed.deep=1", ": seed: this is a single value", id="below a value"),
        pytest.param(
            "stages.register.gate.5.min=1", ": stages.register.gate: expected a position from 0 to 1", id="list"
        ),
        pytest.param("seed=[1", ": this is not YAML", id="broken value"),
        pytest.param("seed=${env:NOPE}", ": the environment variable NOPE is not set", id="unset variable"),
    ],
)
def test_problems_of_an_override_are_located_at_it(
    tmp_path: Path, override: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOPE", raising=False)
    (problem,) = problems_of(write(tmp_path), override)
    assert problem.startswith(f"--set {override}{expected}")


def test_problems_survive_pickling(tmp_path: Path) -> None:
    with pytest.raises(ProblemsFound) as caught:
        load_pipeline(write(tmp_path, ""))
    assert pickle.loads(pickle.dumps(caught.value)).problems == caught.value.problems
