"""From a stage's journal to metric points, and the thread that carries them to MLflow while the stage runs."""

import logging
import math
import threading
from collections.abc import Callable
from typing import Any

from orchestrator.tracking.operations import Point, valid_key

logger = logging.getLogger(__name__)

POLL_S = 1.0
NOT_POINTS = frozenset({"kind", "attempt", "time", "step", "metrics"})


def points_from_record(record: dict[str, Any]) -> list[Point]:
    """Turn a `step` record into `train/…` points and an `epoch` record into `val/…` and `epoch/…` points.

    All carry the global optimizer step. The time is the record's own, so that a repeated delivery is no new point.
    Values that are no finite numbers are left out.
    """
    if record.get("kind") not in ("step", "epoch"):
        return []
    prefix = {"step": "train", "epoch": "epoch"}[record["kind"]]
    values = {f"{prefix}/{key}": value for key, value in record.items() if key not in NOT_POINTS}
    values.pop("epoch/epoch", None)
    values.update({f"val/{key}": value for key, value in (record.get("metrics") or {}).items()})
    timestamp = int(record["time"] * 1000)
    return [
        (valid_key(key), float(value), timestamp, record["step"]) for key, value in values.items() if _is_number(value)
    ]


def fresh_points(points: list[Point], last_steps: dict[str, int]) -> list[Point]:
    """Keep the first point of every step of every metric, and note the steps in `last_steps`.

    After a restart, steps since the last checkpoint stand in the journal a second time: they are left out.
    """
    kept = []
    for key, value, timestamp, step in points:
        if step > last_steps.get(key, -1):
            last_steps[key] = step
            kept.append((key, value, timestamp, step))
    return kept


class JournalWriter(threading.Thread):
    """Calls `deliver` every second until stopped. Training never waits for it."""

    def __init__(self, deliver: Callable[[], bool], poll_s: float = POLL_S) -> None:
        super().__init__(name="journal-writer", daemon=True)
        self._deliver = deliver
        self._poll_s = poll_s
        self._stopped = threading.Event()

    def run(self) -> None:
        """Deliver until `stop`."""
        while not self._stopped.wait(self._poll_s):
            try:
                self._deliver()
            except Exception:
                logger.exception("delivering the journal failed; trying again")

    def stop(self, timeout_s: float) -> None:
        """End the thread, waiting for a call in flight at most `timeout_s`."""
        self._stopped.set()
        self.join(timeout_s)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
