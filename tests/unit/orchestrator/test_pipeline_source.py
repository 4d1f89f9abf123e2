"""Reading YAML: values by the core schema of YAML 1.2, lines, and what is refused."""

import math
from pathlib import Path

import pytest

from foundation.errors import ConfigError
from orchestrator.pipeline.problems import ProblemsFound
from orchestrator.pipeline.source import parse, read_source, scalar


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("1e-3", 0.001, id="a float without a point"),
        pytest.param("1.", 1.0, id="a float without decimals"),
        pytest.param("+.5E2", 50.0, id="a float without digits before the point"),
        pytest.param("-12", -12, id="a negative integer"),
        pytest.param("010", 10, id="a leading zero is no octal"),
        pytest.param("0x1F", 31, id="hexadecimal"),
        pytest.param("0o17", 15, id="octal"),
        pytest.param("1_000", "1_000", id="underscores are text"),
        pytest.param("1:30", "1:30", id="no base 60"),
        pytest.param("2024-01-02", "2024-01-02", id="no dates"),
        pytest.param("yes", "yes", id="yes is text"),
        pytest.param("off", "off", id="off is text"),
        pytest.param("True", True, id="capital true"),
        pytest.param("", None, id="nothing"),
        pytest.param("~", None, id="tilde"),
        pytest.param("-.inf", -math.inf, id="infinity"),
    ],
)
def test_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    assert scalar(text) == value
    assert type(scalar(text)) is type(value)


def test_quoted_scalars_stay_text() -> None:
    assert parse("a: '1'\nb: \"true\"\n", "f.yaml").data == {"a": "1", "b": "true"}


def test_lines_of_keys_and_items() -> None:
    source = parse("a:\n  b: 1\n  c:\n    - x\n    - {d: 2}\n", "f.yaml")
    assert source.line(("a", "b")) == 2
    assert source.line(("a", "c", 0)) == 4
    assert source.line(("a", "c", 1, "d")) == 5
    assert source.line(("a", "missing", "deeper")) == 1, "a missing key is where its parent is"


def test_a_duplicate_key_is_a_problem_with_both_lines() -> None:
    (problem,) = parse("a: 1\nb: 2\na: 3\n", "f.yaml").problems
    assert str(problem) == "f.yaml:3: a: duplicate key 'a'; it stands already in line 1"


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        pytest.param("a:\n\tb: 1\n", 2, "a tab", id="tab"),
        pytest.param("a: [1, 2\nb: 3\n", 2, "not YAML", id="open bracket"),
        pytest.param("a: {b: ${env:X}}\n", 1, "in quotes", id="unquoted placeholder in braces"),
        pytest.param("a: 1\n---\nb: 2\n", 2, "single document", id="two documents"),
        pytest.param("a: *nothing\n", 1, "alias", id="unknown alias"),
    ],
)
def test_what_is_not_yaml_is_named_with_its_line(text: str, line: int, words: str) -> None:
    with pytest.raises(ProblemsFound, match=words) as caught:
        parse(text, "f.yaml")
    assert caught.value.problems[0].line == line


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("a: !!python/object:os.system x\n", "tag", id="python tag"),
        pytest.param("a: &x {b: 1}\nc: {<<: *x}\n", "merge keys", id="merge key"),
        pytest.param("a: &x [*x]\n", "contains itself", id="recursive alias"),
        pytest.param("? [a, b]\n: 1\n", "plain text", id="list as key"),
    ],
)
def test_unsupported_yaml_is_a_problem(text: str, words: str) -> None:
    (problem,) = parse(text, "f.yaml").problems
    assert words in problem.message


def test_an_alias_repeats_its_value() -> None:
    assert parse("a: &x [1, 2]\nb: *x\n", "f.yaml").data == {"a": [1, 2], "b": [1, 2]}


def test_environment_variables_are_filled_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EPOCHS", "12")
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.delenv("NOPE", raising=False)
    text = 'a: ${env:EPOCHS}\nb: "${env:EPOCHS}"\nc: ${env:NOPE:-x}/y\nd: "${env:EMPTY:-z}"\ne: ${env:EMPTY}\n'
    source = parse(text, "f.yaml")
    assert source.data == {"a": 12, "b": "12", "c": "x/y", "d": "z", "e": None}
    assert not source.problems


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("a: ${env:NOPE}\n", "NOPE is not set", id="missing variable"),
        pytest.param("a: ${HOME}\n", "only", id="another kind of placeholder"),
    ],
)
def test_what_cannot_be_filled_in_is_a_problem(text: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOPE", raising=False)
    source = parse(text, "f.yaml")
    assert words in source.problems[0].message
    assert source.unresolved == {("a",)}


def test_a_missing_file_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "detection.yaml").write_text("name: x\n")
    with pytest.raises(ConfigError, match=r"did you mean 'detection.yaml'\?"):
        read_source(tmp_path / "detecton.yaml")


def test_a_folder_and_a_binary_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "picture.yaml").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(ConfigError, match="UTF-8"):
        read_source(tmp_path / "picture.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_source(tmp_path)
