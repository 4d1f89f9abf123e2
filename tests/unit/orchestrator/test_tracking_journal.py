"""From journal lines to metric points: names, half-written lines, repeated steps."""

import json
from pathlib import Path

import pytest

from engine.journal import read_records
from orchestrator.tracking.journal_writer import fresh_points, points_from_record
from orchestrator.tracking.operations import valid_key


def test_step_becomes_train_points_with_its_own_time() -> None:
    record = {"kind": "step", "attempt": 1, "time": 2.5, "epoch": 0, "step": 7, "loss": 0.5, "loss_cls": 0.25}
    assert points_from_record(record) == [
        ("train/epoch", 0.0, 2500, 7),
        ("train/loss", 0.5, 2500, 7),
        ("train/loss_cls", 0.25, 2500, 7),
    ]


def test_epoch_becomes_val_and_epoch_points() -> None:
    record = {"kind": "epoch", "time": 1.0, "epoch": 3, "step": 40, "metrics": {"map": 0.5, "ap/a(b)": 1}, "train_s": 9}
    assert points_from_record(record) == [
        ("epoch/train_s", 9.0, 1000, 40),
        ("val/map", 0.5, 1000, 40),
        ("val/ap/a_b_", 1.0, 1000, 40),
    ]


@pytest.mark.parametrize(
    "record",
    [
        pytest.param({"kind": "start", "time": 0, "world_size": 2}, id="start"),
        pytest.param({"kind": "event", "time": 0, "name": "warning", "message": "x"}, id="event"),
        pytest.param({"kind": "step", "time": 0, "step": 1, "loss": None, "note": "x", "ok": True}, id="no number"),
    ],
)
def test_records_without_numbers_give_no_points(record: dict[str, object]) -> None:
    assert points_from_record(record) == []


def test_a_repeated_step_keeps_its_first_point() -> None:
    last_steps: dict[str, int] = {}
    first = fresh_points([("train/loss", 1.0, 0, 1), ("train/loss", 0.9, 1, 2)], last_steps)
    again = fresh_points([("train/loss", 5.0, 2, 2), ("train/loss", 0.8, 3, 3), ("val/map", 0.1, 3, 2)], last_steps)
    assert [point[3] for point in first] == [1, 2]
    assert again == [("train/loss", 0.8, 3, 3), ("val/map", 0.1, 3, 2)]
    assert last_steps == {"train/loss": 3, "val/map": 2}


def test_reading_stops_before_a_half_written_line_and_goes_on_later(tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    whole = json.dumps({"kind": "step", "step": 1}) + "\n"
    journal.write_text(whole + '{"kind": "st')
    records, offset = read_records(journal, 0)
    assert (len(records), offset) == (1, len(whole))
    with journal.open("a") as stream:
        stream.write('ep", "step": 2}\n')
    assert read_records(journal, offset)[0] == [{"kind": "step", "step": 2}]


@pytest.mark.parametrize(
    ("content", "offset", "expected"),
    [
        pytest.param(None, 5, ([], 5), id="no journal yet"),
        pytest.param("", 0, ([], 0), id="empty"),
        pytest.param('{"a": 1}\n', 99, ([{"a": 1}], 9), id="begun anew: shorter than the offset"),
        pytest.param('{"a{"b": 2}\n{"a": 1}\n', 0, ([{"a": 1}], 21), id="a line cut by a kill is skipped"),
    ],
)
def test_reading_odd_journals(tmp_path: Path, content: str | None, offset: int, expected: tuple) -> None:
    journal = tmp_path / "journal.jsonl"
    if content is not None:
        journal.write_text(content)
    assert read_records(journal, offset) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param("val/ap/red blood-cell", "val/ap/red blood-cell", id="allowed"),
        pytest.param("ap/a(1)", "ap/a_1_", id="brackets"),
        pytest.param("/a//../b", "a/b", id="no path tricks"),
        pytest.param("", "_", id="empty"),
        pytest.param("x" * 300, "x" * 250, id="long"),
    ],
)
def test_valid_key(name: str, expected: str) -> None:
    assert valid_key(name) == expected
