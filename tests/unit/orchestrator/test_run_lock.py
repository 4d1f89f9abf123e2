"""Two runs of one pipeline in one storage do not meet."""

import os
from pathlib import Path

import pytest

from foundation.errors import InfrastructureError
from orchestrator.execution.lock import RunLock


def test_a_second_run_is_told_who_holds_the_folder(tmp_path: Path) -> None:
    first = RunLock.take(tmp_path / "digits")
    with pytest.raises(InfrastructureError, match=f"being run by process {os.getpid()} on "):
        RunLock.take(tmp_path / "digits")
    first.release()
    RunLock.take(tmp_path / "digits").release()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InfrastructureError, match="cannot be written"):
        RunLock.take(tmp_path / "file" / "digits")
