"""`data convert|split|check|stats` from the command line, on a tiny data set."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from orchestrator.cli.main import main


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Eight images with one box each, in YOLO's layout."""
    root = tmp_path / "cats"
    for place in ("images/train", "labels/train"):
        (root / place).mkdir(parents=True)
    for index in range(8):
        pixels = np.random.default_rng(index).integers(0, 255, (40, 60, 3), dtype=np.uint8)
        cv2.imwrite(str(root / "images" / "train" / f"day{index // 2}_{index}.png"), pixels)
        (root / "labels" / "train" / f"day{index // 2}_{index}.txt").write_text(f"{index % 2} 0.5 0.5 0.25 0.5\n")
    (root / "data.yaml").write_text("names: [tom, kit]\n")
    return root


@pytest.fixture
def pipeline(folder: Path, tmp_path: Path) -> Path:
    file = tmp_path / "p.yaml"
    file.write_text(
        f"name: p\ndata:\n  cats: {{format: yolo, root: {folder}}}\n"
        "stages:\n  detector: {kind: train, task: detection, data: cats, val_split: null}\n"
    )
    return file


def test_a_folder_is_converted_and_its_answer_is_json(folder, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["data", "convert", str(folder), "--from", "yolo", "--to", "coco", "--out", str(out), "--json"]) == 0
    written = json.loads(capsys.readouterr().out)
    assert written["splits"] == {"train": {"images": 8, "objects": 8}}
    assert written["data"]["root"] == str(out)
    document = json.loads((out / "annotations" / "instances_train.json").read_text())
    assert document["annotations"][0]["bbox"] == [22.5, 10.0, 15.0, 20.0]


def test_a_pipelines_data_is_dealt_by_group(pipeline, tmp_path, capsys):
    command = ["data", "split", str(pipeline), "--parts", "train=0.5,val=0.5", "--group", r"(day\d)", "--out"]
    assert main([*command, str(tmp_path / "out")]) == 0
    assert "wrote" in capsys.readouterr().out
    lists = [(tmp_path / "out" / f"{name}.txt").read_text().split() for name in ("train", "val")]
    days = [{Path(path).stem[:4] for path in each} for each in lists]
    assert [len(each) for each in lists] == [4, 4]
    assert days[0].isdisjoint(days[1])


def test_check_counts_and_stats_draw(pipeline, folder, tmp_path, capsys):
    (folder / "labels" / "train" / "day0_0.txt").write_text("7 0.5 0.5 0.25 0.5\n")
    assert main(["data", "check", str(pipeline)]) == 2
    assert "cats  unknown_class  1      fault" in capsys.readouterr().out
    (folder / "labels" / "train" / "day0_0.txt").write_text("")
    assert main(["data", "stats", str(pipeline), "--pictures", str(tmp_path / "pictures")]) == 0
    assert len(list((tmp_path / "pictures").glob("cats-*.png"))) == 5


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        pytest.param(["convert", "FOLDER", "--to", "voc"], "say its format by --from", id="folder without format"),
        pytest.param(["convert", "FILE", "--from", "voc", "--to", "voc"], "has no effect", id="format of a pipeline"),
        pytest.param(["convert", "FOLDER", "--from", "yolo", "--to", "voc", "--data", "x"], "no effect", id="name"),
        pytest.param(["convert", "FILE", "--to", "voc", "--data", "cat"], "did you mean 'cats'", id="unknown data"),
        pytest.param(["split", "FILE", "--parts", "train=0.8,val"], "expected names with shares", id="no share"),
        pytest.param(["split", "FILE", "--parts", "a=1,a=2"], "expected names with shares", id="name twice"),
        pytest.param(["split", "FILE", "--parts", "../a=1,b=2"], "expected names with shares", id="a path"),
    ],
)
def test_unclear_wishes_are_refused(arguments, reason, pipeline, folder, tmp_path, capsys):
    places = {"FOLDER": str(folder), "FILE": str(pipeline)}
    given = [places.get(argument, argument) for argument in arguments]
    assert main(["data", *given, "--out", str(tmp_path / "out")]) == 2
    assert reason in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
