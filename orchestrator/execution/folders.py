"""Where a stage's results lie, and `stage.json`, which says what they are."""

import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

STAGE_FILE = "stage.json"
RUN_FILE = "run.json"
ORIGIN_VARIABLE = "ORCHESTRATOR_ORIGIN"
"""Tells a job which file and overrides it came from; its own file is a resolved copy that goes with the job."""


@dataclass(frozen=True)
class StageRecord:
    """What `stage.json` says of a stage's result."""

    name: str
    kind: str
    fingerprint: str
    parts: dict[str, Any]
    """What the fingerprint was made of, to say later what changed."""
    status: str = "running"
    """`running`, `done`, `failed` or `interrupted`."""
    run_id: str | None = None
    """MLflow's id of the stage's run."""
    metrics: dict[str, float] = field(default_factory=dict)
    outputs: dict[str, Any] = field(default_factory=dict)
    """What later stages and readers may want: a version's URI, figures of the training, …"""
    message: str = ""
    started: float = field(default_factory=time.time)
    finished: float | None = None

    def save(self, folder: Path) -> None:
        """Write the record atomically."""
        write_json(folder / STAGE_FILE, asdict(self))

    def ended(self, status: str, **changes: Any) -> "StageRecord":
        """The record of the same stage after its end."""
        return replace(self, status=status, finished=time.time(), **changes)


@dataclass(frozen=True)
class RunRecord:
    """What `run.json` says of a pipeline's latest run."""

    pipeline_file: str
    overrides: tuple[str, ...]
    run_id: str | None
    """MLflow's id of the parent run."""
    status: str
    only: str | None = None
    """The one stage that was wanted, with those it needs."""
    pid: int = field(default_factory=os.getpid)

    def save(self, folder: Path) -> None:
        """Write the record atomically."""
        write_json(folder / RUN_FILE, asdict(self))


def origin_to_text(file: Path, overrides: Sequence[str]) -> str:
    """The value of `ORIGIN_VARIABLE` for a job."""
    return json.dumps({"pipeline_file": str(file), "overrides": list(overrides)})


def origin(file: Path, overrides: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """The file and overrides to run again for `resume`: those of `ORIGIN_VARIABLE` in a job, else the given ones."""
    text = os.environ.get(ORIGIN_VARIABLE)
    told: dict[str, Any] = json.loads(text) if text else {"pipeline_file": str(file), "overrides": overrides}
    return told["pipeline_file"], tuple(told["overrides"])


def stage_folder(storage: Path, pipeline: str, stage: str, fingerprint: str) -> Path:
    """The folder of one result of a stage."""
    return storage / pipeline / stage / fingerprint[:12]


def load_stage_record(folder: Path) -> StageRecord | None:
    """Read a stage's record; None where there is none, or a half-written one of an older release."""
    content = _read_json(folder / STAGE_FILE)
    return StageRecord(**content) if content else None


def load_run_record(folder: Path) -> RunRecord | None:
    """Read a pipeline's latest run; None where there is none."""
    content = _read_json(folder / RUN_FILE)
    return RunRecord(**{**content, "overrides": tuple(content["overrides"])}) if content else None


def latest_stage_record(storage: Path, pipeline: str, stage: str) -> StageRecord | None:
    """The record of a stage that was started last, under whatever fingerprint."""
    records = [load_stage_record(path.parent) for path in (storage / pipeline / stage).glob(f"*/{STAGE_FILE}")]
    return max((record for record in records if record), key=lambda record: record.started, default=None)


def write_json(path: Path, content: Any) -> None:
    """Write JSON under a temporary name and rename it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
    temporary.replace(path)


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return content
