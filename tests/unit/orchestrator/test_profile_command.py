"""`orchestrator profile` and `zoo backbones`: what they print, and which mistakes they name."""

import json

import pytest

from orchestrator.cli import main

QUICK = ["--repeats", "0"]


def test_json_tells_everything(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", "resnet18", "--json", "--layers", "--batch-size", "4", *QUICK]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["input"] == [3, 224, 224]
    assert told["parameters"] == 11_689_512
    assert told["macs"] == 1_814_073_344
    assert told["flops"] == 2 * told["macs"]
    assert told["training"]["batch_size"] == 4
    assert told["latency"] is None
    field = told["receptive_field"]
    assert (field["size"], field["stride"], field["is_global"]) == ([435, 435], [32, 32], False)
    assert [stage["size"][0] for stage in field["stages"]] == [7, 43, 99, 211, 435]
    assert sum(layer["macs"] for layer in told["layers"]) == told["macs"]


def test_the_text_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", "resnet18", "--layers", *QUICK]) == 0
    out = capsys.readouterr().out
    assert "1.814 GMACs = 3.628 GFLOPs an image" in out
    assert "435 pixels, stride 32, at layer4.1.relu" in out
    assert "BasicBlock: add" in out
    assert "not measured" in out


def test_a_network_is_profiled_as_published_unless_told_otherwise(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", "lenet5", "--json", *QUICK]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["input"], told["parameters"]) == ([3, 32, 32], 61_706)


def test_the_clock_and_the_picture(capsys: pytest.CaptureFixture[str], tmp_path) -> None:
    picture = tmp_path / "field.png"
    arguments = ["--input", "3x32x48", "--repeats", "3", "--batch-size", "2", "--picture", str(picture)]
    assert main(["profile", "resnet18", *arguments]) == 0
    out = capsys.readouterr().out
    assert "for a batch of 2" in out
    assert "3 runs" in out
    assert "fp32, cpu," in out
    assert picture.is_file()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(["resnt18"], "resnet18", id="misspelt name"),
        pytest.param(["resnet18", "--input", "3by2"], "3xHEIGHTxWIDTH", id="no size"),
        pytest.param(["resnet18", "--input", "3x0x2"], "3xHEIGHTxWIDTH", id="empty size"),
        pytest.param(["vgg16", "--input", "3x8x8"], "32", id="image too small"),
        pytest.param(["lenet5", "--input", "3x32x32", "--device", "tpu"], "cpu, cuda", id="unknown device"),
        pytest.param(["lenet5", "--input", "3x32x32", "--device", "meta"], "cannot be timed", id="no clock there"),
        pytest.param(["lenet5", "--input", "3x32x32", "--precision", "fp16"], "needs a GPU", id="fp16 on a CPU"),
    ],
)
def test_mistakes_are_named(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert words in error


def test_the_zoo_of_backbones(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"name": "tiny", "family": "own", "source": "own", "parameters": 1_230_000, "input_size": [32, 32]}
    row |= {"papers": [], "weights": [], "pyramid": "no strides 8 to 32", "small_stem": True}
    rest = dict.fromkeys(row) | {"name": "timm:NAME", "family": "any other network of timm", "source": "timm"}
    monkeypatch.setattr("vision.backbones.zoo.list_backbones", lambda: [row, rest])
    assert main(["zoo", "backbones", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [row, rest]
    assert main(["zoo", "backbones"]) == 0
    out = capsys.readouterr().out
    assert "1.23M" in out
    assert "32x32" in out
    assert "timm:NAME" in out


def test_the_zoo_of_one_task(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detection.zoo.list_models", lambda: [{"name": "yolo"}])
    assert main(["zoo", "detection", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [{"task": "detection", "name": "yolo"}]


def test_a_zoo_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["zoo", "bakcbones"]) == 2
    assert "backbones" in capsys.readouterr().err
