"""The run's local truth: one JSON object a line, appended by rank 0, read by whoever shows or stores the run."""

import json
import logging
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

logger = logging.getLogger(__name__)

JOURNAL_FILE = "journal.jsonl"
LINES_PER_BATCH = 200


class Journal:
    """Appends records; a no-op on ranks other than 0."""

    def __init__(self, folder: Path, is_writer: bool, attempt: int = 0) -> None:
        self.attempt = attempt
        self._stream = append_lines(folder / JOURNAL_FILE) if is_writer else None

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


def append_lines(path: Path) -> TextIO:
    """Open a file of JSON lines for writing; a line that a killed writer left half-written is ended first."""
    is_cut = False
    if path.exists() and path.stat().st_size:
        with path.open("rb") as written:
            written.seek(-1, os.SEEK_END)
            is_cut = written.read(1) != b"\n"
    stream = path.open("a", buffering=1, encoding="utf-8")
    if is_cut:
        stream.write("\n")
    return stream


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the records of a file of JSON lines; a line that was left half-written is passed over."""
    if not path.exists():
        return
    with path.open(encoding="utf-8", errors="replace") as stream:
        for line in stream:
            try:
                record = json.loads(line) if line.endswith("\n") else None
            except json.JSONDecodeError:
                logger.warning("%s: passed over a half-written line", path)
                continue
            if record is not None:
                yield record


def read_journal(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the records of a journal; half-written lines are left out."""
    return read_lines(path)


def read_records(journal: Path, offset: int, limit: int = LINES_PER_BATCH) -> tuple[list[dict[str, Any]], int]:
    """Read up to `limit` whole lines from byte `offset` on.

    Returns:
        The records, and the offset behind the last one. A half-written last line is left for the next call;
        a line that is no JSON (a writer was killed in it) is skipped. A journal shorter than `offset` was begun
        anew and is read from its start.
    """
    if not journal.exists():
        return [], offset
    if journal.stat().st_size < offset:
        offset = 0
    records: list[dict[str, Any]] = []
    with journal.open("rb") as stream:
        stream.seek(offset)
        for _ in range(limit):
            line = stream.readline()
            if not line.endswith(b"\n"):
                break
            offset += len(line)
            try:
                records.append(json.loads(line))
            except json.JSONDecodeError:
                logger.warning("%s: skipped a line that is no JSON, before byte %d", journal, offset)
    return records, offset


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
