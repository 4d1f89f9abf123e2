"""Classification pipelines: ours are valid, `init` writes one, and what cannot work is found before it runs."""

from pathlib import Path

import pytest

from orchestrator.cli import main
from orchestrator.pipeline.load import load_pipeline
from orchestrator.pipeline.problems import ProblemsFound
from orchestrator.pipeline.settings import EvaluateStage
from tests.fakes import write_class_folders

PIPELINES = Path(__file__).resolve().parents[3] / "pipelines"
FILE = """\
name: digits
data: {digits: {format: digits}}
stages:
  lenet: {kind: train, task: classification, data: digits, model: {name: lenet5}, image_size: [32, 32]}
  test: {kind: evaluate, model: "stage:lenet", data: digits, split: test}
  register: {kind: register, model: "stage:lenet", name: lenet, gate: [{metric: test.top1, min: 0.9}]}
"""


def problems_of(folder: Path, *overrides: str) -> list[str]:
    (folder / "pipeline.yaml").write_text(FILE)
    with pytest.raises(ProblemsFound) as caught:
        load_pipeline(folder / "pipeline.yaml", overrides)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize("name", ["classification", "digits"])
def test_our_pipelines_are_valid(name: str) -> None:
    assert "register" in load_pipeline(PIPELINES / f"{name}.yaml").order


@pytest.mark.real_data
def test_the_pipeline_of_real_photographs_is_valid(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIFAR10_ROOT", str(shared_data / "cifar10-small"))
    assert "register" in load_pipeline(PIPELINES / "cifar10.yaml").order


@pytest.mark.parametrize("data", [[], ["--format", "digits"]], ids=["scenes", "digits"])
def test_init_writes_a_classification_pipeline(tmp_path: Path, data: list[str]) -> None:
    assert main(["init", str(tmp_path / "new"), "--task", "classification", *data]) == 0
    loaded = load_pipeline(tmp_path / "new" / "pipeline.yaml")
    assert loaded.order == ("classifier", "test", "register")
    assert loaded.pipeline.stages["classifier"].augment.flip_horizontal == 0  # a mirrored digit is another sign


def test_init_sees_folders_of_classes(tmp_path: Path) -> None:
    folder = write_class_folders(tmp_path / "gems", images=1)
    assert main(["init", str(tmp_path / "new"), "--task", "classification", "--data", str(folder)]) == 0
    (data,) = load_pipeline(tmp_path / "new" / "pipeline.yaml").pipeline.data.values()
    assert (data.format, data.val_from_train) == ("imagefolder", None)


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        pytest.param(("train/cat", "val/cat", "test/cat"), "test", id="three splits"),
        pytest.param(("train/cat", "val/cat"), "val", id="no test split"),
        pytest.param(("cat", "dog"), "val", id="classes alone"),
    ],
)
def test_init_tests_on_a_split_that_there_is(tmp_path: Path, folders: tuple[str, ...], expected: str) -> None:
    for folder in folders:
        (tmp_path / "data" / folder).mkdir(parents=True)
    assert main(["init", str(tmp_path / "new"), "--task", "classification", "--data", str(tmp_path / "data")]) == 0
    stage = load_pipeline(tmp_path / "new" / "pipeline.yaml").pipeline.stages["test"]
    assert isinstance(stage, EvaluateStage)
    assert stage.split == expected


def test_init_refuses_data_without_boxes_for_detection(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", str(tmp_path / "new"), "--format", "digits"]) == 2
    assert "add --task classification" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("override", "words"),
    [
        pytest.param("stages.lenet.loop.early_stop={metric: nll}", "more of 'nll' is worse", id="stop on a loss"),
        pytest.param(
            "stages.register.gate=[{metric: test.ece, vs: champion, max_drop: 0.1}]", "worse", id="gate on one"
        ),
        pytest.param("stages.lenet.loop.early_stop={metric: top2}", "no metric 'top2'", id="unknown metric"),
        pytest.param("stages.lenet.distill={temperature: 2.0}", "must name the teacher", id="no teacher"),
        pytest.param("stages.lenet.distill={weights: 'stage:teacher'}", "no stage 'teacher'", id="unknown teacher"),
        pytest.param("stages.lenet.model={name: lenet5, weights: nowhere}", "no address", id="weights from nowhere"),
    ],
)
def test_what_cannot_work_is_found_before_anything_runs(tmp_path: Path, override: str, words: str) -> None:
    (problem,) = problems_of(tmp_path, override)
    assert words in problem


def test_a_bound_on_a_loss_is_a_gate(tmp_path: Path) -> None:
    (tmp_path / "pipeline.yaml").write_text(FILE)
    load_pipeline(tmp_path / "pipeline.yaml", ["stages.register.gate=[{metric: test.nll, max: 0.3}]"])
