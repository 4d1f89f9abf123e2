"""What a newcomer types first."""

import json
from pathlib import Path

import pytest

from orchestrator import doctor
from orchestrator.cli import main
from orchestrator.pipeline.load import load_pipeline
from orchestrator.text_table import aligned, cell, outline, terminal_width


def test_init_writes_a_file_that_is_valid_and_its_schema(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "my cells!"
    assert main(["init", str(folder)]) == 0
    file = folder / "pipeline.yaml"
    loaded = load_pipeline(file)
    assert loaded.pipeline.name == "my-cells"
    assert loaded.order == ("detector", "test", "register")
    assert file.read_text().startswith("# yaml-language-server: $schema=orchestrator.schema.json\n")
    assert json.loads((folder / "orchestrator.schema.json").read_text())["type"] == "object"
    assert f"next: orchestrator run '{file}'" in capsys.readouterr().out


def test_init_drops_accents_from_the_name(tmp_path: Path) -> None:
    assert main(["init", str(tmp_path / "Zélulas  ñ")]) == 0
    assert load_pipeline(tmp_path / "Zélulas  ñ" / "pipeline.yaml").pipeline.name == "Zelulas-n"


def test_init_into_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x").touch()
    assert main(["init", str(tmp_path / "x")]) == 2
    assert "is a file" in capsys.readouterr().err


def test_init_never_overwrites(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pipeline.yaml").write_text("mine")
    assert main(["init", str(tmp_path)]) == 2
    assert "not overwritten" in capsys.readouterr().err
    assert (tmp_path / "pipeline.yaml").read_text() == "mine"


@pytest.mark.parametrize(
    ("layout", "expected"),
    [("Annotations", "voc"), ("labels", "yolo"), ("annotations/a.json", "coco")],
)
def test_init_sees_the_format_of_the_data(tmp_path: Path, layout: str, expected: str) -> None:
    data = tmp_path / "data"
    place = data / layout
    (place.parent if place.suffix else place).mkdir(parents=True)
    if place.suffix:
        place.touch()
    assert main(["init", str(tmp_path / "new"), "--data", str(data), "--classes", "RBC, white cell,WBC"]) == 0
    (settings,) = load_pipeline(tmp_path / "new" / "pipeline.yaml").pipeline.data.values()
    assert settings.format == expected
    assert settings.classes == ("RBC", "white cell", "WBC")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(["--data", "nowhere"], "no such folder", id="missing folder"),
        pytest.param(["--data", "."], "say --format", id="no known layout"),
        pytest.param(["--format", "voc"], "needs --data", id="format without data"),
        pytest.param(["--format", "scenes", "--data", "."], "leave --data out", id="data without use"),
        pytest.param(["--classes", "a,b"], "always show the ten digits", id="classes without use"),
    ],
)
def test_init_refuses_with_a_mend(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init", "new", *arguments]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_doctor_prints_findings_and_mends(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    findings = [doctor.Finding("disk", "ok", "9 GB"), doctor.Finding("ray", "fail", "not installed", "pip install ray")]
    monkeypatch.setattr(doctor, "examine", lambda: findings)
    assert main(["doctor"]) == 5
    out = capsys.readouterr().out
    assert "ok     disk     9 GB" in out
    assert "fail ray: pip install ray" in out
    assert main(["doctor", "--json"]) == 5
    assert json.loads(capsys.readouterr().out)[1]["mend"] == "pip install ray"


def test_a_broken_examination_is_a_finding(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken() -> list[doctor.Finding]:
        raise OSError("no such device")

    monkeypatch.setattr(doctor, "_torch", broken)
    monkeypatch.setattr(doctor, "_importable", lambda subject, module: doctor.Finding(subject, "ok", "works"))
    findings = doctor.examine(tmp_path)
    assert [(finding.subject, finding.message) for finding in findings if finding.status == "fail"] == [
        ("torch", "OSError: no such device")
    ]
    assert {"python", "memory", "disk", "write access", "ffmpeg", "ray"} <= {finding.subject for finding in findings}


def test_a_folder_that_cannot_be_written_fails(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    finding = doctor._writable("write access", tmp_path / "file" / "below")
    assert finding.status == "fail"
    assert "storage" in finding.mend


def test_aligned_columns() -> None:
    assert aligned(("a", "long"), [("xyz", "1")]) == "a    long\nxyz  1"
    assert aligned(("a",), []) == "a"


def test_wide_columns_are_wrapped_but_the_first() -> None:
    rows = [("a-name-to-copy-whole", "one two three four five six seven"), ("b", "")]
    assert aligned(("name", "words"), rows, width=40).splitlines() == [
        "name                  words",
        "a-name-to-copy-whole  one two three four",
        "                      five six seven",
        "b",
    ]


def test_a_pipe_gets_one_line_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert terminal_width() is None
    monkeypatch.setenv("COLUMNS", "60")
    assert terminal_width() == 60


def test_cells() -> None:
    assert [cell(value) for value in (None, True, 0.5, {"a": 1}, ["x", 2])] == ["", "yes", "0.5", "a=1", "x, 2"]


def test_outline_indents_what_is_nested() -> None:
    assert outline({"a": 1, "b": {"c": [1, 2]}, "d": [{"e": None}]}) == "a: 1\nb:\n  c: 1, 2\nd:\n  -\n    e:"
