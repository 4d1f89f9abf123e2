"""Checkpoints: everything needed to continue exactly. Written atomically, verified on load, never the only copy.

A checkpoint is a folder `step-00001234` with `state.pt` (read with `weights_only=True`) and `checkpoint.json`, which
holds the file's sha256. It is written under a temporary name, flushed to disk and renamed.
"""

import hashlib
import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

STATE_FILE = "state.pt"
META_FILE = "checkpoint.json"
PREFIX = "step-"
TEMPORARY = ".tmp-"
DAMAGED = "damaged-"


@dataclass(frozen=True, slots=True)
class Position:
    """Where training stands. `epoch` and `step_in_epoch` name the next step; samples before it are consumed."""

    epoch: int
    step_in_epoch: int
    step: int
    """Optimizer steps done since the start of the run."""


class CheckpointStore:
    """The checkpoints of one stage, in one folder."""

    def __init__(self, folder: Path, num_to_keep: int) -> None:
        self.folder = folder
        self.num_to_keep = num_to_keep

    def save(self, step: int, state: dict[str, Any]) -> Path:
        """Write a checkpoint and drop the oldest ones beyond `num_to_keep`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        final = self.folder / f"{PREFIX}{step:08d}"
        for left_behind in self.folder.glob(f"{TEMPORARY}*"):  # by a writer that was killed
            shutil.rmtree(left_behind, ignore_errors=True)
        temporary = self.folder / f"{TEMPORARY}{final.name}-{os.getpid()}"
        temporary.mkdir()
        torch.save(state, temporary / STATE_FILE)
        meta = {"step": step, "sha256": _sha256(temporary / STATE_FILE)}
        (temporary / META_FILE).write_text(json.dumps(meta))
        for path in (temporary / STATE_FILE, temporary / META_FILE, temporary):
            _fsync(path)
        replaced = self.folder / f"{TEMPORARY}replaced-{final.name}"
        if final.exists():
            final.rename(replaced)
        temporary.rename(final)
        _fsync(self.folder)
        for old in (replaced, *self.paths()[: -self.num_to_keep]):
            shutil.rmtree(old, ignore_errors=True)
        return final

    def paths(self) -> list[Path]:
        """Complete checkpoints, oldest first."""
        return sorted(self.folder.glob(f"{PREFIX}*")) if self.folder.is_dir() else []

    def newest_good(self, on_corrupt: Callable[[str], None]) -> Path | None:
        """The newest checkpoint whose contents are what was written; tells `on_corrupt` of those that are not.

        Those are renamed, so that they no longer count among the `num_to_keep`.
        """
        for path in reversed(self.paths()):
            problem = verify(path)
            if problem is None:
                return path
            on_corrupt(f"checkpoint {path.name} is damaged ({problem}); using the one before it")
            aside = self.folder / f"{DAMAGED}{path.name}"
            shutil.rmtree(aside, ignore_errors=True)
            path.rename(aside)
        return None


def verify(path: Path) -> str | None:
    """What is wrong with a checkpoint, or None."""
    try:
        meta = json.loads((path / META_FILE).read_text())
        return None if _sha256(path / STATE_FILE) == meta["sha256"] else "its contents changed after it was written"
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except (OSError, ValueError, KeyError) as error:
        return f"{type(error).__name__}: {error}"


def load_checkpoint(path: Path, device: torch.device) -> dict[str, Any]:
    """Read a checkpoint that `newest_good` returned."""
    try:
        state: dict[str, Any] = torch.load(path / STATE_FILE, map_location=device, weights_only=True)
    except (pickle.UnpicklingError, zipfile.BadZipFile) as error:
        raise RuntimeError(f"{path} passed its check but cannot be read") from error
    return state


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
