"""The ledger: which samples each rank consumed in which step, to prove that none is lost, repeated or different."""

import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from engine.job import LEDGER_PATTERN
from engine.journal import append_lines, read_lines
from engine.task import Batch


class Ledger:
    """Appends one line per micro-batch to `ledger-RANK.jsonl`."""

    def __init__(self, folder: Path, rank: int, attempt: int) -> None:
        self.attempt = attempt
        self._stream = append_lines(folder / LEDGER_PATTERN.format(rank))

    def write(self, epoch: int, step: int, batch: Batch) -> None:
        """Record the samples of 0-based step `step`, as they left the loader."""
        entry = {
            "attempt": self.attempt,
            "epoch": epoch,
            "step": step,
            "sample_ids": list(batch.sample_ids),
            "checksums": sample_checksums(batch),
        }
        self._stream.write(json.dumps(entry, separators=(",", ":")) + "\n")

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


def sample_checksums(batch: Batch) -> list[int]:
    """The CRC-32 of all that a batch holds of each sample: augmented pixels, boxes, labels.

    Args:
        batch: on the CPU. What counts are the fields of its dataclass that are tensors or lists with one entry per
            sample; in which batch and at which place a sample stands changes nothing.
    """
    count = len(batch.sample_ids)
    columns = [getattr(batch, field.name) for field in fields(batch)]  # type: ignore[arg-type]
    per_sample = [column for column in columns if _length(column) == count]
    return [_checksum([column[index] for column in per_sample]) for index in range(count)]


def _length(column: Any) -> int | None:
    if isinstance(column, Tensor):
        return len(column) if column.ndim else None
    return len(column) if isinstance(column, list) else None


def _checksum(value: Any) -> int:
    checksum = 0
    for part in _parts(value):
        checksum = zlib.crc32(part, checksum)
    return checksum


def _parts(value: Any) -> Iterator[Any]:
    """Yield what a value consists of as buffers of bytes; arrays with their shapes, mappings in their keys' order."""
    if isinstance(value, Tensor):
        value = value.detach().numpy()
    if isinstance(value, np.ndarray):
        yield repr(value.shape).encode()
        yield np.ascontiguousarray(value).data.cast("B") if value.size else b""
    elif isinstance(value, Mapping):
        for key in sorted(value):
            yield str(key).encode()
            yield from _parts(value[key])
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _parts(item)
    else:
        yield repr(value).encode()


def effective_samples(folder: Path) -> dict[int, list[int]]:
    """Sample ids that count for each step, over all ranks: those of the step's last attempt."""
    return {step: [sample_id for sample_id, _ in pairs] for step, pairs in effective_content(folder).items()}


def effective_content(folder: Path) -> dict[int, list[tuple[int, int]]]:
    """The same as pairs (sample id, checksum of the augmented sample), sorted."""
    steps: dict[int, tuple[int, list[tuple[int, int]]]] = {}
    for path in sorted(folder.glob(LEDGER_PATTERN.format("*"))):
        for entry in read_lines(path):
            content = list(zip(entry["sample_ids"], entry["checksums"], strict=True))
            attempt, found = steps.get(entry["step"], (-1, []))
            if entry["attempt"] > attempt:
                steps[entry["step"]] = (entry["attempt"], content)
            elif entry["attempt"] == attempt:
                found.extend(content)
    return {step: sorted(content) for step, (_, content) in sorted(steps.items())}
