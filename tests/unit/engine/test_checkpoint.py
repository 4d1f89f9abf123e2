"""Checkpoints on disk: which are kept, what a damaged one costs, what a killed writer leaves."""

from pathlib import Path

import pytest
import torch

from engine.checkpoint import STATE_FILE, CheckpointStore, load_checkpoint


def _save(store: CheckpointStore, *steps: int) -> None:
    for step in steps:
        store.save(step, {"step": step, "weight": torch.full((3,), float(step))})


def _names(store: CheckpointStore) -> list[str]:
    return [path.name for path in store.paths()]


def _no_words(_text: str) -> None:
    raise AssertionError("nothing is damaged")


def test_the_oldest_go(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, num_to_keep=2)
    _save(store, 5, 10, 15)
    assert _names(store) == ["step-00000010", "step-00000015"]
    newest = store.newest_good(_no_words)
    assert newest is not None
    assert load_checkpoint(newest, torch.device("cpu"))["step"] == 15


@pytest.mark.parametrize("num_to_keep", [1, 2])
def test_a_damaged_one_does_not_push_out_those_that_follow(tmp_path: Path, num_to_keep: int) -> None:
    store = CheckpointStore(tmp_path, num_to_keep)
    _save(store, 5, 10)
    (store.paths()[-1] / STATE_FILE).write_bytes(b"cut")
    said: list[str] = []
    store.newest_good(said.append)
    assert "step-00000010 is damaged" in said[0]
    _save(store, 7)
    newest = store.newest_good(_no_words)
    assert newest is not None
    assert newest.name == "step-00000007"


def test_saving_a_step_again_replaces_it_and_leaves_nothing_else(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, num_to_keep=1)
    _save(store, 5, 5)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000005"]


def test_what_a_killed_writer_left_goes_with_the_next_one(tmp_path: Path) -> None:
    (tmp_path / ".tmp-step-00000004-1").mkdir()
    (tmp_path / ".tmp-step-00000004-1" / STATE_FILE).write_bytes(b"half")
    store = CheckpointStore(tmp_path, num_to_keep=1)
    assert store.newest_good(_no_words) is None
    _save(store, 5)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000005"]
