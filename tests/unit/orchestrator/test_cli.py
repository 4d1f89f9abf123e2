"""The command line: help, exit codes, JSON, and that an error is always one of ours."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest

from foundation.errors import GateRefused, InfrastructureError
from orchestrator.cli import main
from orchestrator.cli.main import SECTIONS, root
from orchestrator.cli.options import print_json, tracking_store
from orchestrator.execution.folders import ORIGIN_VARIABLE, StageRecord, origin_to_text
from orchestrator.execution.summary import RunSummary

DATA = Path(__file__).resolve().parents[2] / "data"
GOOD, TEN_FAULTS = DATA / "good_pipeline.yaml", DATA / "ten_faults.yaml"
HEAVY = ("torch", "ray", "mlflow", "cv2", "albumentations", "numpy", "timm", "matplotlib", "sklearn")


@pytest.fixture
def fake_module(monkeypatch: pytest.MonkeyPatch) -> Any:
    def put(name: str, **attributes: Any) -> None:
        module = ModuleType(name)
        module.__dict__.update(attributes)
        monkeypatch.setitem(sys.modules, name, module)
        package, _, leaf = name.rpartition(".")
        monkeypatch.setitem(vars(sys.modules[package]), leaf, module)

    return put


def test_every_command_exists_and_says_in_the_help_what_it_does() -> None:
    context = click.Context(root)
    for commands in SECTIONS.values():
        for name, lazy in commands.items():
            command = root.get_command(context, name)
            assert command is not None
            assert command.name == name
            assert command.help, name
            assert len(lazy.help) <= 60, "it must fit on one line of the help"


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["--help"], id="help"),
        pytest.param(["validate", str(GOOD)], id="validate"),
        pytest.param(["run", "--help"], id="help of a command"),
        pytest.param(["schema"], id="schema"),
    ],
)
def test_quick_commands_import_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys; from orchestrator.cli import main; code = main(sys.argv[1:]);"
        f"print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_the_package_itself_is_light() -> None:
    code = "import sys, orchestrator; print([name for name in ('pydantic', 'click', 'yaml') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_lists_all_sections(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"{section}:" in out for section in SECTIONS)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("orchestrator ")


def test_a_misspelt_command_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["vlidate"]) == 2
    assert "did you mean 'validate'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(["validate"], "error: Missing argument 'FILE'. See `orchestrator validate --help`.", id="no file"),
        pytest.param(["ui", "--port", "0"], "See `orchestrator ui --help`.", id="wrong value"),
        pytest.param(["models", "sow"], "See `orchestrator models --help`.", id="wrong command of a group"),
        pytest.param(["zoo", "--jsn"], "error: No such option", id="wrong option"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_names_the_help(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert words in err
    assert err.count("\n") == 1


def test_json_has_no_words_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": [float("nan"), 1.0], "b": (Path("x"), float("inf"))})
    assert json.loads(capsys.readouterr().out) == {"a": [None, 1.0], "b": ["x", None]}


def test_what_a_terminal_cannot_show_is_escaped(tmp_path: Path) -> None:
    file = tmp_path / "ł.yaml"
    file.write_text(GOOD.read_text())
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    command = [sys.executable, "-m", "orchestrator", "validate", str(file)]
    done = subprocess.run(command, capture_output=True, check=True, env=environment)
    assert rb"\u0142.yaml is valid" in done.stdout


def test_validate_praises_a_good_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", str(GOOD), "--set", "seed=4"]) == 0
    assert "detector -> test -> register" in capsys.readouterr().out


def test_validate_prints_ten_errors_and_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", str(TEN_FAULTS)]) == 2
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert len([line for line in lines if line.startswith(f"{TEN_FAULTS}:")]) == 10
    assert lines[-1] == "10 problems found; nothing was started."
    assert not captured.out


def test_validate_as_json(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["validate", str(TEN_FAULTS), "--json"]) == 2
    answer = json.loads(capsys.readouterr().out)
    assert not answer["valid"]
    assert answer["problems"][0]["line"] == 2
    assert main(["validate", str(tmp_path / "none.yaml"), "--json"]) == 2
    assert "there is no pipeline file" in json.loads(capsys.readouterr().out)["problems"][0]["message"]
    assert main(["validate", str(GOOD), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["order"] == ["detector", "test", "register"]


def test_schema_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "orchestrator pipeline"


def test_run_refuses_a_stage_that_does_not_exist(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(GOOD), "--only", "tset"]) == 2
    assert "did you mean 'test'?" in capsys.readouterr().err


class FakeOptions:
    def __init__(self, **given: Any) -> None:
        self.given = given


def summary_of_a_run() -> RunSummary:
    summary = RunSummary("run-id", "sqlite:///mlflow.db", {"test.map": 0.6}, {"test.map": 0.5}, [Path("/r/pr.png")])
    parts = {"stage": {"model": "stage:detector"}}
    summary.stages["test"] = StageRecord("test", "evaluate", "f", parts, metrics={"map": 0.6, "ap/RBC": 0.5})
    version = {"uri": "models:/cells@champion", "name": "cells", "version": "2", "alias": "champion"}
    outputs = {**version, "gates": ["test.map = 0.6000, at least 0.5 asked"]}
    summary.stages["register"] = StageRecord("register", "register", "f", parts, outputs=outputs)
    return summary


def test_run_ends_with_table_pictures_and_next_command(fake_module: Any, capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[Any] = []

    def run_pipeline(loaded: Any, options: Any, display: Any) -> RunSummary:
        seen.extend([loaded.order, options.given])
        display.message("working")
        return summary_of_a_run()

    fake_module("orchestrator.conductor", run_pipeline=run_pipeline, RunOptions=FakeOptions)
    assert main(["run", str(GOOD), "--fresh", "--only", "test"]) == 0
    assert seen == [("detector", "test", "register"), {"fresh": True, "only": "test"}]
    out = capsys.readouterr().out
    assert "test.map  0.6000  +0.1000" in out
    assert "ap/RBC" not in out
    assert "  cells version 2, alias champion: models:/cells@champion\n" in out
    assert "    gate passed: test.map = 0.6000, at least 0.5 asked\n" in out
    assert f"next: orchestrator ui --pipeline {GOOD}" in out


@pytest.mark.parametrize(
    ("overrides", "store"),
    [
        (["seed=1"], f"--pipeline {GOOD}"),
        (["storage=/data/runs"], "--storage /data/runs"),
        (["tracking.uri=http://me:secret@store:5000"], "--tracking-uri 'http://***@store:5000'"),
    ],
)
def test_run_points_to_the_store_that_overrides_chose(
    fake_module: Any, capsys: pytest.CaptureFixture[str], overrides: list[str], store: str
) -> None:
    fake_module("orchestrator.conductor", run_pipeline=lambda *_: summary_of_a_run(), RunOptions=FakeOptions)
    assert main(["run", str(GOOD), *(word for text in overrides for word in ("--set", text))]) == 0
    assert f"next: orchestrator ui {store}\n" in capsys.readouterr().out


def test_a_job_points_to_its_storage_and_not_to_its_copy_of_the_file(
    fake_module: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(ORIGIN_VARIABLE, origin_to_text(GOOD, []))
    fake_module("orchestrator.conductor", run_pipeline=lambda *_: summary_of_a_run(), RunOptions=FakeOptions)
    assert main(["run", str(GOOD)]) == 0
    assert "next: orchestrator ui --storage " in capsys.readouterr().out


def test_run_as_json_prints_json_alone_on_standard_output(fake_module: Any, capsys: pytest.CaptureFixture[str]) -> None:
    def run_pipeline(loaded: Any, options: Any, display: Any) -> RunSummary:
        display.message("working")
        return summary_of_a_run()

    fake_module("orchestrator.conductor", run_pipeline=run_pipeline, RunOptions=FakeOptions)
    assert main(["run", str(GOOD), "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["metrics"]["test.map"] == 0.6
    assert captured.err == "working\n"


def test_resume_takes_the_newest_run(
    fake_module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for age, name in enumerate(("new", "old")):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "run.json").write_text("{}")
        os.utime(tmp_path / "runs" / name / "run.json", (1000 - age, 1000 - age))
    monkeypatch.chdir(tmp_path)
    seen: list[Path] = []
    fake_module("orchestrator.conductor", resume=lambda target, display: seen.append(target) or summary_of_a_run())
    assert main(["resume"]) == 0
    assert seen == [Path("runs/new")]
    assert "next: orchestrator ui --storage runs" in capsys.readouterr().out


def test_resume_without_any_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["resume"]) == 2
    assert "there is no run in ./runs or ./pipelines/runs" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        pytest.param(GateRefused("map is too low"), 3, "error: map is too low", id="gate"),
        pytest.param(InfrastructureError("the server is away"), 5, "error: the server is away", id="infrastructure"),
        pytest.param(KeyboardInterrupt(), 130, "interrupted", id="Ctrl-C"),
        pytest.param(ZeroDivisionError("by zero"), 4, "ZeroDivisionError: by zero", id="a fault of ours"),
    ],
)
def test_errors_become_a_paragraph_and_an_exit_code(
    fake_module: Any, capsys: pytest.CaptureFixture[str], error: BaseException, code: int, words: str
) -> None:
    def run_pipeline(*_: Any) -> None:
        raise error

    fake_module("orchestrator.conductor", run_pipeline=run_pipeline, RunOptions=FakeOptions)
    assert main(["run", str(GOOD)]) == code
    err = capsys.readouterr().err
    assert words in err
    assert "Traceback" not in err


def test_the_traceback_of_a_fault_of_ours_is_kept_or_shown(
    fake_module: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_pipeline(*_: Any) -> None:
        raise ZeroDivisionError("by zero")

    fake_module("orchestrator.conductor", run_pipeline=run_pipeline, RunOptions=FakeOptions)
    monkeypatch.setenv("ORCHESTRATOR_CACHE", str(tmp_path))
    main(["run", str(GOOD)])
    (kept,) = (tmp_path / "crashes").iterdir()
    assert str(kept) in capsys.readouterr().err
    assert "Traceback" in kept.read_text()
    for arguments in (["run", str(GOOD), "--debug"], ["--debug", "run", str(GOOD)]):
        assert main(arguments) == 4
        assert "Traceback" in capsys.readouterr().err


def test_submit_checks_the_file_first(fake_module: Any, capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[Any] = []
    fake_module("orchestrator.jobs", submit=lambda *given: seen.append(given) or 7)
    assert main(["submit", str(TEN_FAULTS)]) == 2
    assert not seen
    assert main(["submit", str(GOOD), "--address", "http://x:1", "--wait", "--set", "seed=1"]) == 7
    assert seen == [(GOOD, "http://x:1", True, ("seed=1",))]


def test_models_ls_prints_a_table_or_json(fake_module: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"name": "cells", "version": "2", "aliases": ["champion"], "created": "2026-01-02T12:00:00+00:00"}]
    fake_module("orchestrator.registry", list_models=lambda uri: rows)
    assert main(["models", "ls", "--storage", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("cells  2        champion  2026-01-0")
    assert main(["models", "ls", "--storage", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == rows


def test_the_store_is_found_and_named_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["models", "ls"]) == 2
    assert "there is no folder runs or pipelines/runs" in capsys.readouterr().err
    (tmp_path / "runs").mkdir()
    assert tracking_store(None, None, None) == f"sqlite:///{tmp_path}/runs/mlflow.db"
    (tmp_path / "pipelines" / "runs").mkdir(parents=True)
    (tmp_path / "pipelines" / "runs" / "mlflow.db").touch()
    assert tracking_store(None, None, None) == f"sqlite:///{tmp_path}/pipelines/runs/mlflow.db"
    assert tracking_store(None, "http://h:5000", None) == "http://h:5000"
    assert tracking_store(None, None, GOOD) == f"sqlite:///{GOOD.parent}/runs/mlflow.db"
    assert main(["models", "ls", "--storage", ".", "--tracking-uri", "http://h"]) == 2
    assert "give only one of" in capsys.readouterr().err


def test_data_commands_name_an_unknown_data_set(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", str(GOOD), "--data", "cels"]) == 2
    assert "did you mean 'cells'?" in capsys.readouterr().err
    assert main(["data", "preview", str(GOOD), "--stage", "test"]) == 2
    assert "there are: detector" in capsys.readouterr().err


def test_data_check_lists_faults_with_their_paths(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(
        GOOD.read_text().replace("{format: scenes, num_images: 8}", f"{{format: voc, root: {shared_data}/bccd}}")
    )
    assert main(["data", "check", str(file), "--split", "val", "--json"]) == 2
    found = json.loads(capsys.readouterr().out)
    assert [fault for fault in found if fault["is_fatal"] and "BloodImage_00338.xml" in fault["path"]]
