"""The ledger: which sample ids each rank consumed in which step, to prove that none is lost or repeated."""

import json
from pathlib import Path

from engine.job import LEDGER_PATTERN
from engine.journal import append_lines, read_lines


class Ledger:
    """Appends one line per micro-batch to `ledger-RANK.jsonl`."""

    def __init__(self, folder: Path, rank: int, attempt: int) -> None:
        self.attempt = attempt
        self._stream = append_lines(folder / LEDGER_PATTERN.format(rank))

    def write(self, epoch: int, step: int, sample_ids: tuple[int, ...]) -> None:
        """Record the samples of 0-based step `step`."""
        entry = {"attempt": self.attempt, "epoch": epoch, "step": step, "sample_ids": list(sample_ids)}
        self._stream.write(json.dumps(entry, separators=(",", ":")) + "\n")

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


def effective_samples(folder: Path) -> dict[int, list[int]]:
    """Sample ids that count for each step, over all ranks: those of the step's last attempt."""
    steps: dict[int, tuple[int, list[int]]] = {}
    for path in sorted(folder.glob(LEDGER_PATTERN.format("*"))):
        for entry in read_lines(path):
            attempt, ids = steps.get(entry["step"], (-1, []))
            if entry["attempt"] > attempt:
                steps[entry["step"]] = (entry["attempt"], list(entry["sample_ids"]))
            elif entry["attempt"] == attempt:
                ids.extend(entry["sample_ids"])
    return {step: sorted(ids) for step, (_, ids) in sorted(steps.items())}
