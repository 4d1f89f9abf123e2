"""Bad input that is found before anything trains: what was given, what was expected, where to mend it; exit code 2."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from orchestrator.cli import main
from vision.drawing import save_png

Fault = Callable[[Path], object]
SPLITS = {"train": ("a", "b"), "val": ("c",), "test": ("d",)}


def annotation(box: str = "5 5 30 30", label: str = "cell") -> str:
    corners = "".join(
        f"<{key}>{value}</{key}>" for key, value in zip(("xmin", "ymin", "xmax", "ymax"), box.split(), strict=True)
    )
    return (
        "<annotation><size><width>64</width><height>48</height><depth>3</depth></size>"
        f"<object><name>{label}</name><bndbox>{corners}</bndbox></object></annotation>"
    )


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    """A pipeline file on four sound images in Pascal VOC's layout below `d/`."""
    root = tmp_path / "d"
    (root / "Annotations").mkdir(parents=True)
    (root / "ImageSets" / "Main").mkdir(parents=True)
    (root / "JPEGImages").mkdir()
    for split, names in SPLITS.items():
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))
        for name in names:
            save_png(root / "JPEGImages" / f"{name}.png", np.full((48, 64, 3), ord(name), np.uint8))
            (root / "Annotations" / f"{name}.xml").write_text(annotation())
    stages = {
        "detector": {"kind": "train", "task": "detection", "data": "cells", "resources": {"num_workers": 0}},
        "test": {"kind": "evaluate", "model": "stage:detector", "data": "cells"},
    }
    data = {"cells": {"format": "voc", "root": "d", "classes": ["cell"]}}
    file = tmp_path / "p.yaml"
    file.write_text(yaml.safe_dump({"name": "bad", "data": data, "stages": stages}))
    return file


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:60])


def without_images(root: Path) -> None:
    for path in (root / "JPEGImages").iterdir():
        path.unlink()


FAULTS = [
    pytest.param(without_images, "no_images", "JPEGImages: this folder holds no image", id="folder without images"),
    pytest.param(
        lambda d: cut(d / "JPEGImages/a.png"), "truncated_image", "a.png: this image is cut short", id="truncated image"
    ),
    pytest.param(
        lambda d: (d / "JPEGImages/a.png").write_text("hello"), "not_an_image", "a.png: not an image", id="no image"
    ),
    pytest.param(
        lambda d: (d / "JPEGImages/a.png").unlink(), "missing_file", "this image does not exist", id="missing image"
    ),
    pytest.param(
        lambda d: (d / "Annotations/a.xml").write_text(annotation("50 5 90 30")),
        "outside_image",
        "a.xml: object #0 (cell: 50 5 90 30) reaches out of its image of 64 x 48 pixels",
        id="box outside its image",
    ),
    pytest.param(
        lambda d: (d / "Annotations/a.xml").write_text(annotation("9 9 9 30")),
        "zero_area",
        "a.xml: object #0 (cell: 9 9 9 30) has no area",
        id="zero-area box",
    ),
    pytest.param(
        lambda d: (d / "Annotations/a.xml").write_text(annotation(label="cel")),
        "unknown_class",
        "not in the list cell (did you mean 'cell'?)",
        id="class not in the list",
    ),
    pytest.param(
        lambda d: (d / "Annotations/a.xml").write_text(""),
        "empty_annotation",
        "a.xml: this annotation is an empty file",
        id="empty annotation file",
    ),
    pytest.param(
        lambda d: (d / "Annotations/d.xml").write_text(""),
        "empty_annotation",
        "split 'test'",
        id="in the data of a later stage",
    ),
]


@pytest.mark.parametrize(("spoil", "kind", "words"), FAULTS)
def test_a_fault_in_the_data_stops_the_plan(
    pipeline: Path, capsys: pytest.CaptureFixture[str], spoil: Fault, kind: str, words: str
) -> None:
    spoil(pipeline.parent / "d")
    assert main(["plan", str(pipeline)]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: data.cells of p.yaml: ")
    assert words in captured.err
    assert all(line.startswith("  ") for line in captured.err.splitlines()[1:]), "one paragraph, and its list"
    assert not captured.out


@pytest.mark.parametrize(("spoil", "kind", "words"), FAULTS)
def test_data_check_lists_it(
    pipeline: Path, capsys: pytest.CaptureFixture[str], spoil: Fault, kind: str, words: str
) -> None:
    spoil(pipeline.parent / "d")
    assert main(["data", "check", str(pipeline), "--json"]) == 2
    assert kind in {fault["kind"] for fault in json.loads(capsys.readouterr().out) if fault["is_fatal"]}
    assert main(["data", "check", str(pipeline), "--set", "data.cells.on_error=quarantine"]) == 0
    assert "as `on_error: quarantine` says" in capsys.readouterr().out


def test_a_missing_split_stops_the_plan(pipeline: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (pipeline.parent / "d/ImageSets/Main/val.txt").unlink()
    assert main(["plan", str(pipeline)]) == 2
    assert "this data set has no split 'val'; known splits: train, test" in capsys.readouterr().err


def test_sound_data_makes_a_plan(pipeline: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(pipeline), "--json"]) == 0
    assert [stage["action"] for stage in json.loads(capsys.readouterr().out)] == ["run", "run"]
    assert main(["data", "check", str(pipeline)]) == 0
    assert capsys.readouterr().out == "no faults\n"


@pytest.mark.parametrize(
    "override",
    [
        pytest.param("stages.test.model=models:/cells@champion", id="of a model"),
        pytest.param("stages.detector.model={name: yolo, weights: models:/cells@champion}", id="of weights"),
    ],
)
def test_an_alias_that_does_not_exist_stops_the_plan(
    pipeline: Path, capsys: pytest.CaptureFixture[str], override: str
) -> None:
    assert main(["plan", str(pipeline), "--set", override]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: models:/cells@champion: there is no model 'cells' in ")
    assert "orchestrator models ls" in err


@pytest.mark.parametrize(
    ("override", "words"),
    [
        pytest.param("stages.detector.epochs=3", "did you mean 'loop.epochs'?", id="key one level too high"),
        pytest.param("stage.detector.loop.epochs=3", "did you mean 'stages'?", id="a new key at the top"),
        pytest.param("stages.detector.loop.epochs=three", "expected a whole number, got the text", id="wrong type"),
        pytest.param("stages.test.model=stage:nope", "there is no stage 'nope'", id="stage that does not exist"),
        pytest.param(
            "stages.detector.model={name: yolo, weights: 'stage:test'}", "stages wait for each other", id="cycle"
        ),
        pytest.param("data.cells.root=nowhere", "there is no folder ", id="missing folder"),
        pytest.param(
            "stages.detector.model={name: yolo, weights: 'file:w.pth'}", "there is no file ", id="missing weights"
        ),
        pytest.param("stages.test.model=file:d", "is no bundle (it has no bundle.json)", id="no bundle"),
        pytest.param(f"name={'x' * 200}", "1 to 100 of them", id="a very long name"),
    ],
)
def test_a_fault_in_an_override_is_told_at_the_override(
    pipeline: Path, capsys: pytest.CaptureFixture[str], override: str, words: str
) -> None:
    assert main(["validate", str(pipeline), "--set", override]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert all(line.startswith(f"--set {override[:90]}") for line in lines[:-1])
    assert words in lines[0] + lines[-2]
    assert all(len(line) < 400 for line in lines)
