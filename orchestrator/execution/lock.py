"""One run at a time in a pipeline's folder: two writers would tear each other's checkpoints and journals."""

import fcntl
import os
from pathlib import Path
from typing import TextIO

from foundation.errors import InfrastructureError

LOCK_FILE = "run.lock"


class RunLock:
    """Holds a pipeline's folder until `release`, or until this process ends in whatever way."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    @classmethod
    def take(cls, folder: Path) -> "RunLock":
        """Lock the folder (made if missing).

        Raises:
            InfrastructureError: if another process runs the pipeline here, or the folder cannot be written.
        """
        path = folder / LOCK_FILE
        try:
            folder.mkdir(parents=True, exist_ok=True)
            stream = path.open("a+", encoding="utf-8")
        except OSError as error:
            raise InfrastructureError(
                f"the folder of results {folder} cannot be written ({error.strerror}). Give it the right permissions, "
                "or set `storage` to another folder."
            ) from error
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            stream.seek(0)
            owner = stream.read().strip() or "another process"
            stream.close()
            raise InfrastructureError(
                f"this pipeline is being run by {owner} with the same storage, {folder}. Wait for it, stop it, or set "
                "`storage` to another folder."
            ) from error
        stream.seek(0)
        stream.truncate()
        stream.write(f"process {os.getpid()} on {os.uname().nodename}")
        stream.flush()
        return cls(stream)

    def release(self) -> None:
        """Let others in."""
        self._stream.close()
