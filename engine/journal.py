"""The run's local truth: one JSON object a line, appended by rank 0, read by whoever shows or stores the run."""

import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

JOURNAL_FILE = "journal.jsonl"


class Journal:
    """Appends records; a no-op on ranks other than 0."""

    def __init__(self, folder: Path, is_writer: bool, attempt: int = 0) -> None:
        self.attempt = attempt
        self._stream = (folder / JOURNAL_FILE).open("a", buffering=1, encoding="utf-8") if is_writer else None

    def write(self, kind: str, **fields: Any) -> None:
        """Append one record; non-finite numbers become null."""
        if self._stream is None:
            return
        record = {"kind": kind, "attempt": self.attempt, "time": time.time(), **fields}
        self._stream.write(json.dumps(_finite(record), separators=(",", ":")) + "\n")

    def event(self, name: str, message: str) -> None:
        """Append something a user should hear of."""
        self.write("event", name=name, message=message)

    def close(self) -> None:
        """Close the file."""
        if self._stream is not None:
            self._stream.close()


def read_journal(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the records of a journal; a half-written last line is left out."""
    if not path.exists():
        return
    with path.open(encoding="utf-8") as stream:
        for line in stream:
            if line.endswith("\n"):
                yield json.loads(line)


def next_attempt(folder: Path) -> int:
    """0 for a fresh folder, else one more than the last attempt in its journal."""
    return max(
        (record["attempt"] + 1 for record in read_journal(folder / JOURNAL_FILE) if record["kind"] == "start"),
        default=0,
    )


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return value
