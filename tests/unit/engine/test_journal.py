"""The journal survives a writer that was killed in the middle of a line."""

from pathlib import Path

from engine.journal import JOURNAL_FILE, Journal, next_attempt, read_journal
from engine.ledger import Ledger, effective_samples


def test_a_half_written_line_costs_only_itself(tmp_path: Path) -> None:
    first = Journal(tmp_path, is_writer=True)
    first.write("start")
    first.close()
    with (tmp_path / JOURNAL_FILE).open("a") as stream:
        stream.write('{"kind":"step","st')
    assert [record["kind"] for record in read_journal(tmp_path / JOURNAL_FILE)] == ["start"]
    assert next_attempt(tmp_path) == 1
    journal = Journal(tmp_path, is_writer=True, attempt=1)
    journal.write("start")
    journal.close()
    assert [record["kind"] for record in read_journal(tmp_path / JOURNAL_FILE)] == ["start", "start"]
    assert next_attempt(tmp_path) == 2


def test_numbers_that_json_does_not_know_become_null(tmp_path: Path) -> None:
    journal = Journal(tmp_path, is_writer=True)
    journal.write("epoch", metrics={"map": float("nan")}, loss=float("inf"))
    journal.close()
    (record,) = read_journal(tmp_path / JOURNAL_FILE)
    assert record["metrics"] == {"map": None}
    assert record["loss"] is None


def test_a_half_written_line_of_the_ledger_costs_only_itself(tmp_path: Path) -> None:
    first = Ledger(tmp_path, rank=0, attempt=0)
    first.write(0, 0, (1, 2))
    first._stream.write('{"attempt":0,"epo')
    first.close()
    second = Ledger(tmp_path, rank=0, attempt=1)
    second.write(0, 1, (3,))
    second.close()
    assert effective_samples(tmp_path) == {0: [1, 2], 1: [3]}
