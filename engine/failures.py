"""Which failures are worth another attempt, and the note that one attempt leaves for the next."""

import json
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from engine.job import FAILURE_FILE
from engine.journal import next_attempt
from foundation.errors import ConfigError, NonFiniteLossError, OrchestratorError, RunFailed, UserError

NO_CPU_MEMORY = "DefaultCPUAllocator: can't allocate memory"
"""PyTorch has no class of its own for this error."""
MAX_NON_FINITE = 2
"""A loss that is NaN this often was no fluke of the hardware."""


@dataclass(frozen=True)
class FailureNote:
    """Why an attempt ended."""

    kind: str
    """Name of the exception's class."""
    message: str
    is_final: bool
    """Another attempt would end the same way."""
    count: int = 1
    """How many attempts ended with this kind."""
    exit_code: int = 4
    """Of the error, so that what the user can mend stays distinguishable from what failed."""
    attempt: int = 0
    """How many attempts had begun by then; several workers may fail in one."""


def note_failure(folder: Path, error: BaseException) -> FailureNote:
    """Write a note on `error` into the stage's folder, unless a final one lies there, and return what lies there."""
    previous = read_failure(folder)
    if previous is not None and previous.is_final:
        return previous
    kind = type(error).__name__
    attempt, count = next_attempt(folder), 1
    if previous is not None and previous.kind == kind:
        count = previous.count + (previous.attempt != attempt)
    message = str(error) if isinstance(error, OrchestratorError) else f"{kind}: {error}"
    if isinstance(error, torch.OutOfMemoryError):
        message = f"the GPU has too little memory: {error} Set loop.micro_batch to fewer images per worker."
    exit_code = error.exit_code if isinstance(error, OrchestratorError) else RunFailed.exit_code
    note = FailureNote(kind, message, _is_final(error, count), count, exit_code, attempt)
    if note.is_final or isinstance(error, OrchestratorError):
        temporary = folder / f".{FAILURE_FILE}.{uuid.uuid4().hex}"
        temporary.write_text(json.dumps(asdict(note)))
        temporary.replace(folder / FAILURE_FILE)
    return note


def read_failure(folder: Path) -> FailureNote | None:
    """The note in the folder, if there is one."""
    path = folder / FAILURE_FILE
    return FailureNote(**json.loads(path.read_text())) if path.exists() else None


def last_failure(folder: Path) -> FailureNote | None:
    """The note that tells why the last attempt ended; None where an earlier one left it and was overcome."""
    note = read_failure(folder)
    return note if note is not None and (note.is_final or note.attempt == next_attempt(folder)) else None


def error_from_note(note: FailureNote) -> OrchestratorError:
    """The error that a note tells of, to be raised where the user sees it."""
    for known in (NonFiniteLossError, ConfigError):
        if note.kind == known.__name__:
            return known(note.message)
    return (UserError if note.exit_code == UserError.exit_code else RunFailed)(note.message)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation was refused, on a GPU or by the operating system."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or NO_CPU_MEMORY in str(error)


def _is_final(error: BaseException, count: int) -> bool:
    """Lost peers, devices and files (RuntimeError, OSError) may come back; memory, wrong data and bugs will not."""
    if is_out_of_memory(error):
        return True
    if isinstance(error, NonFiniteLossError):
        return count >= MAX_NON_FINITE
    if isinstance(error, OrchestratorError):
        return error.exit_code != 5
    return not isinstance(error, RuntimeError | OSError)
