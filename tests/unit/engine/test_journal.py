"""Journal and ledger survive a writer that was killed in the middle of a line; the ledger knows a sample again."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.journal import JOURNAL_FILE, Journal, next_attempt, read_journal
from engine.ledger import Ledger, effective_content, effective_samples, sample_checksums
from tests.unit.engine.tiny_task import TinyBatch


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
    first.write(0, 0, _batch(1, 2))
    first._stream.write('{"attempt":0,"epo')
    first.close()
    second = Ledger(tmp_path, rank=0, attempt=1)
    second.write(0, 1, _batch(3))
    second.close()
    assert effective_samples(tmp_path) == {0: [1, 2], 1: [3]}


def _batch(*sample_ids: int, x: float = 0.0) -> TinyBatch:
    return TinyBatch(torch.full((len(sample_ids), 4), x), torch.tensor(sample_ids), sample_ids)


def test_of_a_step_that_was_repeated_the_last_attempt_counts(tmp_path: Path) -> None:
    for attempt, x in ((0, 0.0), (1, 1.0)):
        ledger = Ledger(tmp_path, rank=attempt, attempt=attempt)
        ledger.write(0, 0, _batch(2, 1, x=x))
        ledger.close()
    two, one = sample_checksums(_batch(2, 1, x=1.0))
    assert effective_content(tmp_path) == {0: [(1, one), (2, two)]}


def test_a_checksum_knows_the_sample_in_any_batch() -> None:
    together, apart = sample_checksums(_batch(7, 8, 9)), sample_checksums(_batch(9, 7))
    assert together == [apart[1], together[1], apart[0]]
    assert len(set(together)) == 3


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"images": torch.ones(2, 1, 2, 2, dtype=torch.uint8)}, id="a pixel"),
        pytest.param({"targets": [{"boxes": torch.ones(1, 4)}, {"boxes": torch.zeros(0, 4)}]}, id="a box"),
        pytest.param({"targets": [{"boxes": torch.zeros(0, 4)}, {"boxes": torch.zeros(0, 4)}]}, id="no box any more"),
        pytest.param({"infos": ["upright", "upright"]}, id="a plain value"),
    ],
)
def test_a_checksum_shows_what_changed(change: dict[str, Any]) -> None:
    before = ObjectsBatch(
        images=torch.zeros(2, 1, 2, 2, dtype=torch.uint8),
        targets=[{"boxes": torch.zeros(1, 4)}, {"boxes": torch.zeros(0, 4)}],
        infos=["turned", "upright"],
        sample_ids=(0, 1),
    )
    first, second = sample_checksums(before)
    changed_first, changed_second = sample_checksums(replace(before, **change))
    assert changed_first != first
    assert (changed_second == second) == ("images" not in change)


@dataclass
class ObjectsBatch(TinyBatch):
    """Like a detector's: some fields are lists of tensors; `x` and `y` belong to no sample."""

    x: Tensor = field(default_factory=lambda: torch.tensor(0.0))
    y: Tensor = field(default_factory=lambda: torch.zeros(5))
    sample_ids: tuple[int, ...] = ()
    images: Tensor = field(default_factory=lambda: torch.zeros(0))
    targets: list[dict[str, Tensor]] = field(default_factory=list)
    infos: list[str] = field(default_factory=list)
