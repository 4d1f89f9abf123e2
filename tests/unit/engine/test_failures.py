"""What one attempt tells the next: attempts are counted, not the workers that failed in one."""

from pathlib import Path

import pytest
import torch

from engine.failures import error_from_note, last_failure, note_failure, read_failure
from engine.journal import Journal
from foundation.errors import ConfigError, DataError, InfrastructureError, NonFiniteLossError, RunFailed, UserError


def _begin(folder: Path, attempt: int) -> None:
    journal = Journal(folder, is_writer=True, attempt=attempt)
    journal.write("start")
    journal.close()


def test_two_workers_with_the_same_bad_loss_are_one_attempt(tmp_path: Path) -> None:
    _begin(tmp_path, 0)
    assert not note_failure(tmp_path, NonFiniteLossError("worker 0")).is_final
    assert not note_failure(tmp_path, NonFiniteLossError("worker 1")).is_final
    _begin(tmp_path, 1)
    assert note_failure(tmp_path, NonFiniteLossError("again")).is_final


@pytest.mark.parametrize(
    ("error", "is_final"),
    [
        pytest.param(DataError("bad"), True, id="the user's mistake"),
        pytest.param(TypeError("bug"), True, id="a bug"),
        pytest.param(InfrastructureError("away"), False, id="worth a retry"),
        pytest.param(RuntimeError("DefaultCPUAllocator: can't allocate memory: you"), True, id="no memory"),
        pytest.param(MemoryError(), True, id="no memory for Python"),
        pytest.param(RuntimeError("peer lost"), False, id="a lost peer"),
        pytest.param(OSError("disk"), False, id="a file"),
    ],
)
def test_what_is_final(tmp_path: Path, error: Exception, is_final: bool) -> None:
    assert note_failure(tmp_path, error).is_final is is_final


def test_a_fault_of_settings_stays_one(tmp_path: Path) -> None:
    error = error_from_note(note_failure(tmp_path, ConfigError("too wide")))
    assert isinstance(error, ConfigError) and str(error) == "too wide"


def test_the_first_final_note_stays(tmp_path: Path) -> None:
    note_failure(tmp_path, DataError("the cause"))
    note_failure(tmp_path, RuntimeError("peer lost"))
    note = read_failure(tmp_path)
    assert note is not None
    error = error_from_note(note)
    assert isinstance(error, UserError)
    assert str(error) == "the cause"


def test_a_failure_that_was_overcome_does_not_explain_a_later_one(tmp_path: Path) -> None:
    _begin(tmp_path, 0)
    note_failure(tmp_path, NonFiniteLossError("a fluke"))
    assert last_failure(tmp_path) is not None
    _begin(tmp_path, 1)
    assert note_failure(tmp_path, RuntimeError("peer lost")).exit_code == RunFailed.exit_code
    assert last_failure(tmp_path) is None


def test_too_little_gpu_memory_is_final_and_says_what_helps(tmp_path: Path) -> None:
    _begin(tmp_path, 0)
    note = note_failure(tmp_path, torch.OutOfMemoryError("CUDA out of memory."))
    assert note.is_final
    assert "loop.micro_batch" in note.message
