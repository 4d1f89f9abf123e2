"""What an outbox can do to an MLflow run: one function per kind, with JSON arguments that can wait on disk."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag

Point = tuple[str, float, int, int]
"""(key, value, timestamp in milliseconds, step)."""

MAX_KEY = 250
MAX_VALUE = 6000
MAX_DIGEST = 36
"""MLflow keeps so many characters of a data set's digest; the whole one goes into the profile."""
_NOT_ALLOWED = re.compile(r"[^/\w.\- :]")


def valid_key(name: str) -> str:
    """Make `name` a metric or parameter name that MLflow takes: other characters become `_`."""
    parts = [part for part in _NOT_ALLOWED.sub("_", name).split("/") if part not in ("", ".", "..")]
    return "/".join(parts)[:MAX_KEY] or "_"


def log_points(api: MlflowClient, run_id: str, points: list[Point]) -> None:
    """Log metric points. Repeating a call changes nothing: MLflow knows a point by key, value, time and step."""
    api.log_batch(run_id, metrics=[Metric(*point) for point in points])


def log_params(api: MlflowClient, run_id: str, params: dict[str, str]) -> None:
    """Log the parameters that the run does not have yet; MLflow refuses to change one."""
    known = api.get_run(run_id).data.params
    fresh = [Param(key, value) for key, value in params.items() if key not in known]
    changed = sorted(key for key, value in params.items() if known.get(key, value) != value)
    tags = [RunTag("orchestrator.changed_params", ", ".join(changed)[:MAX_VALUE])] if changed else []
    api.log_batch(run_id, params=fresh, tags=tags)


def log_tags(api: MlflowClient, run_id: str, tags: dict[str, str]) -> None:
    """Set tags, replacing older values."""
    api.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])


def log_dataset(api: MlflowClient, run_id: str, dataset: dict[str, str]) -> None:
    """Record a data set as input of the run: `name`, `digest`, `source`, `split`, `context`."""
    profile = {"sha256": dataset["digest"], "split": dataset["split"]}
    entity = Dataset(
        name=dataset["name"],
        digest=dataset["digest"][:MAX_DIGEST],
        source_type="local",
        source=json.dumps({"uri": dataset["source"]}),
        profile=json.dumps(profile),
    )
    tags = [InputTag("mlflow.data.context", dataset["context"])]
    api.log_inputs(run_id, [DatasetInput(dataset=entity, tags=tags)])


def log_path(api: MlflowClient, run_id: str, path: str, artifact_path: str | None) -> None:
    """Store a file or a whole folder; one that is gone by now is left out."""
    if Path(path).is_dir():
        api.log_artifacts(run_id, path, artifact_path)
    elif Path(path).is_file():
        api.log_artifact(run_id, path, artifact_path)


def log_text(api: MlflowClient, run_id: str, text: str, artifact_file: str) -> None:
    """Store `text` as a file."""
    api.log_text(run_id, text, artifact_file)


def reopen(api: MlflowClient, run_id: str, owner: str) -> None:
    """Set the run back to RUNNING under a new owner."""
    api.set_tag(run_id, "orchestrator.owner", owner)
    api.update_run(run_id, status="RUNNING")


def close(api: MlflowClient, run_id: str, status: str, end_time: int) -> None:
    """Give the run its last status."""
    api.set_terminated(run_id, status=status, end_time=end_time)


OPERATIONS: dict[str, Callable[..., None]] = {
    "points": log_points,
    "params": log_params,
    "tags": log_tags,
    "dataset": log_dataset,
    "path": log_path,
    "text": log_text,
    "reopen": reopen,
    "close": close,
}


def create_run(api: MlflowClient, creation: dict[str, Any]) -> str:
    """Create a run from `experiment_id`, `name`, `start_time` and `tags`, and return its id."""
    run = api.create_run(
        creation["experiment_id"],
        start_time=creation["start_time"],
        tags=creation["tags"],
        run_name=creation["name"],
    )
    return str(run.info.run_id)
