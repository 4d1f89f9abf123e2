"""The outbox of one MLflow run: everything goes to `tracking.json` first and to the store as soon as it answers.

Training never waits for the store, and nothing is lost when it is away: the next `run` or `resume` delivers the rest.
"""

import fcntl
import json
import logging
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any

from engine.journal import read_records
from foundation.errors import InfrastructureError
from orchestrator.tracking.client import CallRefused, Client
from orchestrator.tracking.journal_writer import fresh_points, points_from_record
from orchestrator.tracking.operations import OPERATIONS, create_run, log_points

logger = logging.getLogger(__name__)

STATE_FILE = "tracking.json"
LOCK_FILE = "tracking.lock"
MAX_ATTEMPTS = 5
"""An operation that fails so often while the store answers is given up: it must not block those behind it."""
FINAL = ("FINISHED", "FAILED", "KILLED")


@dataclass
class OutboxState:
    """What `tracking.json` holds."""

    uri: str
    creation: dict[str, Any]
    """Arguments of `create_run`, used once the store answers."""
    run_id: str | None = None
    status: str = "RUNNING"
    journal: str | None = None
    offset: int = 0
    """Bytes of the journal that are delivered."""
    last_steps: dict[str, int] = field(default_factory=dict)
    """Last delivered step of every metric."""
    pending: list[dict[str, Any]] = field(default_factory=list)
    """Operations not delivered yet: `{"kind": ..., "arguments": {...}}`."""


class Outbox:
    """Owns one run's state in `folder`; safe to use from the driver's thread and the journal's."""

    def __init__(self, client: Client, folder: Path, state: OutboxState) -> None:
        self.state = state
        self.folder = folder
        self.on_created: Callable[[str], None] = lambda _run_id: None
        """Told the run's id as soon as there is one."""
        self.refused: list[str] = []
        self._client = client
        self._mutex = threading.RLock()
        self._away_was_said = False
        folder.mkdir(parents=True, exist_ok=True)
        self._lock_stream = (folder / LOCK_FILE).open("a")
        self.is_mine = _try_lock(self._lock_stream)
        """False when another live process works on the same folder."""

    @classmethod
    def load(cls, client: Client, folder: Path) -> "Outbox | None":
        """Open the outbox that an earlier run left in `folder`; None if there is none, or one for another store."""
        state = load_state(folder)
        return None if state is None or state.uri != client.uri else cls(client, folder, state)

    @property
    def is_empty(self) -> bool:
        """Nothing waits: no operation and no byte of the journal."""
        if self.state.pending or self.state.run_id is None:
            return False
        return self.state.journal is None or not read_records(Path(self.state.journal), self.state.offset, limit=1)[0]

    def add(self, kind: str, **arguments: Any) -> None:
        """Put an operation at the end of the queue, on disk. `deliver` carries it out."""
        with self._mutex:
            self.state.pending.append({"kind": kind, "arguments": arguments})
            self._save()

    def follow(self, journal: Path) -> None:
        """Deliver the points of `journal` too, from where an earlier delivery stopped."""
        with self._mutex:
            if self.state.journal != str(journal):
                self.state.journal, self.state.offset = str(journal), 0
            self._save()

    def deliver(self) -> bool:
        """Deliver what waits: the run itself, then the journal, then the queue. Return False if the store is away."""
        with self._mutex:
            try:
                if self._ensure_created():
                    self._deliver_journal()
                    self._deliver_queue()
            except InfrastructureError as error:
                if not self._away_was_said:
                    logger.warning("%s Until then the records stay in %s.", error, self.folder / STATE_FILE)
                self._away_was_said = True
                return False
            self._away_was_said = False
            return True

    def close(self) -> None:
        """Let other processes have the folder."""
        self._lock_stream.close()

    def _ensure_created(self) -> bool:
        if self.state.run_id is None and self.refused:
            return False
        if self.state.run_id is None:
            try:
                self.state.run_id = self._client.call(partial(create_run, creation=self.state.creation))
            except CallRefused as error:
                self._give_up("create the run", error)
                return False
            self._save()
            self.on_created(self.state.run_id)
        return True

    def _deliver_journal(self) -> None:
        if self.state.journal is None:
            return
        journal, run_id = Path(self.state.journal), self.state.run_id or ""
        while True:
            records, offset = read_records(journal, self.state.offset)
            if offset == self.state.offset:
                return
            last_steps = dict(self.state.last_steps)
            points = [point for record in records for point in fresh_points(points_from_record(record), last_steps)]
            if points:
                try:
                    self._client.call(partial(log_points, run_id=run_id, points=points))
                except CallRefused as error:
                    self._give_up(f"log {len(points)} metric points", error)
            self.state.offset, self.state.last_steps = offset, last_steps
            self._save()

    def _deliver_queue(self) -> None:
        run_id = self.state.run_id
        while self.state.pending:
            first = self.state.pending[0]
            try:
                self._client.call(partial(OPERATIONS[first["kind"]], run_id=run_id, **first["arguments"]))
            except CallRefused as error:
                self._give_up(first["kind"], error)
            except InfrastructureError as error:
                if not self._client.answers():
                    raise
                first["attempts"] = first.get("attempts", 0) + 1
                if first["attempts"] < MAX_ATTEMPTS:
                    self._save()
                    return
                self._give_up(first["kind"], error)
            self.state.pending.pop(0)
            self._save()

    def _give_up(self, what: str, error: Exception) -> None:
        self.refused.append(f"{what}: {error}")
        logger.warning("the MLflow store refused to %s of run %s: %s", what, self.state.run_id, error)

    def _save(self) -> None:
        temporary = self.folder / f"{STATE_FILE}.part"
        temporary.write_text(json.dumps(asdict(self.state)))
        temporary.replace(self.folder / STATE_FILE)


def load_state(folder: Path) -> OutboxState | None:
    """Read `tracking.json`; None if there is none, or one that cannot be read."""
    try:
        content = json.loads((folder / STATE_FILE).read_text())
        return OutboxState(**{item.name: content[item.name] for item in fields(OutboxState) if item.name in content})
    except (OSError, ValueError, TypeError):
        return None


def _try_lock(stream: Any) -> bool:
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
