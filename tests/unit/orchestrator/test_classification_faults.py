"""A newcomer's mistakes in a classification pipeline: one paragraph each, with the line, the key and the mend."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from foundation.errors import ConfigError, DataError, WeightsError
from orchestrator.cli import main
from orchestrator.execution.plan import plan
from orchestrator.pipeline.blame import located
from orchestrator.pipeline.load import load_pipeline
from orchestrator.pipeline.problems import ProblemsFound
from tests.fakes import write_class_folders, write_yolo_dataset

CLASSIFIER: dict[str, Any] = {
    "kind": "train",
    "task": "classification",
    "data": "jewels",
    "model": {"name": "resnet18", "width": 0.125},
    "image_size": [32, 32],
    "loop": {"epochs": 2},
}
TEST = {"kind": "evaluate", "model": "stage:c", "data": "jewels", "split": "val"}


def write(folder: Path, stage: dict[str, Any] | None = None, **stages: Any) -> Path:
    """A pipeline whose first stage `c` is a classifier with these keys, and whose second measures it."""
    data = {"jewels": {"format": "imagefolder", "root": "jewels"}, "digits": {"format": "digits"}}
    data["boxes"] = {"format": "yolo", "root": "boxes"}
    for name in ("jewels", "boxes"):
        (folder / name).mkdir(exist_ok=True)
    content = {"name": "n", "data": data, "stages": {"c": {**CLASSIFIER, **(stage or {})}, "t": TEST, **stages}}
    path = folder / "p.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def problems(path: Path) -> list[str]:
    with pytest.raises(ProblemsFound) as caught:
        load_pipeline(path)
    return [f"{problem.key}: {problem.message}" for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("stage", "expected"),
    [
        pytest.param(
            {"model": {"name": "resnet81"}},
            "stages.c.model.name: there is no backbone 'resnet81'; nearest: resnet18",
            id="unknown network",
        ),
        pytest.param(
            {"model": {"name": "vgg11", "width": 0.5}},
            "stages.c.model: `width` 0.5 is for torchvision's ResNets only, not for vgg11; leave it out",
            id="width of another family",
        ),
        pytest.param(
            {"model": "resnet18"}, "stages.c.model: expected a mapping of keys, got the text", id="a name for keys"
        ),
        pytest.param(
            {"augment": {"transforms": [{"name": "GaussianBlur", "blur_limit": 3}]}},
            "stages.c.augment.transforms: item 0 is {'name': 'GaussianBlur', 'blur_limit': 3}; expected one name with "
            "its arguments: `- GaussianBlur: {argument: value}`",
            id="a transform in another tool's way",
        ),
        pytest.param(
            {"augment": {"transforms": [{"HorizontalFlip": None}]}},
            "stages.c.augment.transforms: item 0, HorizontalFlip, has None for arguments; expected",
            id="a transform without arguments",
        ),
        pytest.param(
            {"augment": {"transforms": ["HorizontalFlip"]}},
            "stages.c.augment.transforms: item 0 is 'HorizontalFlip'; expected one name",
            id="a transform as text",
        ),
        pytest.param(
            {"loss": {"name": "cross_entropy", "class_weights": [1, -2, 1]}},
            "stages.c.loss.class_weights.1: expected a number >= 0, got -2",
            id="a negative weight",
        ),
        pytest.param(
            {"loop": {"metric": "top5"}},
            "stages.c.loop.metric: this is for `loop.select: best` only",
            id="a metric that nothing looks at",
        ),
        pytest.param(
            {"loop": {"fine_tune": {"freeze_epochs": "all"}}},
            "stages.c.loop.fine_tune.freeze_epochs: this would keep random weights as they are; give `model.weights`",
            id="a linear probe of noise",
        ),
        pytest.param(
            {"task": "detection", "model": {"name": "yolo"}},
            "stages.c.data: data set 'jewels' of `format: imagefolder` has no boxes, and detection needs them",
            id="a detector on folders of classes",
        ),
        pytest.param(
            {"task": "detection", "data": "boxes", "model": {"name": "fcos", "backbone": {"name": "resnet-18"}}},
            "stages.c.model.backbone.name: there is no backbone 'resnet-18'; nearest: resnet18",
            id="unknown trunk",
        ),
    ],
)
def test_one_mistake_is_one_problem(tmp_path: Path, stage: dict[str, Any], expected: str) -> None:
    (problem,) = problems(write(tmp_path, stage))
    assert problem.startswith(expected), problem


def test_a_frozen_backbone_with_weights_is_fine(tmp_path: Path) -> None:
    model = {"name": "resnet18", "weights": "torchvision:IMAGENET1K_V1"}
    load_pipeline(write(tmp_path, {"model": model, "loop": {"fine_tune": {"freeze_epochs": "all"}}}))


@pytest.mark.parametrize(
    ("gate", "expected"),
    [
        pytest.param({"metric": "t.top1", "min": 95}, "gate.0.min: top1 lies between 0 and 1, got 95;", id="per cent"),
        pytest.param({"metric": "t.f1_macro", "max": 1.5}, "gate.0.max: f1_macro lies between 0 and 1", id="above one"),
        pytest.param({"metric": "t.nll", "max": 2.5}, "", id="a loss may be larger"),
    ],
)
def test_bounds_in_per_cent_are_refused(tmp_path: Path, gate: dict[str, Any], expected: str) -> None:
    path = write(tmp_path, r={"kind": "register", "model": "stage:c", "name": "jewels", "gate": [gate]})
    if not expected:
        load_pipeline(path)
        return
    (problem,) = problems(path)
    assert problem.startswith(f"stages.r.{expected}"), problem


def test_classes_that_the_model_will_not_know_stop_the_plan(tmp_path: Path) -> None:
    path = write(tmp_path, other={**TEST, "data": "boxes"})
    (tmp_path / "boxes").rmdir()
    (tmp_path / "jewels").rmdir()
    write_class_folders(tmp_path / "jewels")
    write_yolo_dataset(tmp_path / "boxes")
    plan(load_pipeline(path))  # its two classes are among the model's three
    text = path.read_text().replace("data: jewels\n    model:", "data: boxes\n    model:")
    path.write_text(text.replace("split: val", "split: train"))
    with pytest.raises(DataError, match="holds the classes jade, which the model does not know") as caught:
        plan(load_pipeline(path))
    assert str(caught.value).startswith(f"{path}:{path.read_text().splitlines().index('  t:') + 1}: stages.t: split")


@pytest.mark.parametrize(
    ("message", "key"),
    [
        pytest.param("loop.epochs: too many", "loop.epochs: too many", id="its own key first"),
        pytest.param("the images are small; change image_size.", "image_size: the images", id="a key in the sentence"),
        pytest.param("model.stem has no effect", "", id="a key that is not in the file"),
        pytest.param("something else", "", id="no key"),
    ],
)
def test_what_only_a_run_finds_out_is_located_in_the_file(tmp_path: Path, message: str, key: str) -> None:
    loaded = load_pipeline(write(tmp_path))
    lines = loaded.text.splitlines()
    found = located(WeightsError(message), loaded, "c")
    assert isinstance(found, WeightsError)
    if not key:
        assert str(found) == f"{loaded.path}:{lines.index('  c:') + 1}: stages.c: {message}"
        return
    name = key.partition(":")[0].rpartition(".")[2]
    line = next(index for index, text in enumerate(lines, 1) if text.strip().startswith(f"{name}:"))
    assert str(found).startswith(f"{loaded.path}:{line}: stages.c.{key}")


def test_a_data_command_says_where_a_preset_is_and_what_it_writes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "preset", "imagenet"]) == ConfigError.exit_code
    assert "is one of classification; add --task classification" in capsys.readouterr().err
    assert main(["data", "preview", str(write(tmp_path)), "--out", str(tmp_path / "sheet.gif")]) == 2
    assert "let its name end in .png" in capsys.readouterr().err
