"""The pipeline's parent run and its stages' child runs. Every call is bounded; a store that dies stops no training."""

import logging
import time
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, Protocol

import yaml
from mlflow import MlflowClient
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

from foundation.errors import InfrastructureError
from orchestrator.tracking.client import CallRefused, Client, log_to_file
from orchestrator.tracking.journal_writer import POLL_S, JournalWriter, fresh_points
from orchestrator.tracking.location import artifact_folder, tracking_uri, without_password
from orchestrator.tracking.operations import valid_key
from orchestrator.tracking.outbox import FINAL, STATE_FILE, Outbox, OutboxState, load_state
from orchestrator.tracking.provenance import flat_params, provenance_tags
from orchestrator.tracking.sentinel import Sentinel

logger = logging.getLogger(__name__)

Status = Literal["FINISHED", "FAILED", "KILLED"]
STOP_TIMEOUT_S = 25.0
"""Two HTTP timeouts and a little: the longest that a call in flight can take."""


class StoreSettings(Protocol):
    """The part of a pipeline's settings that the tracker reads (`orchestrator.pipeline.settings.TrackingSettings`)."""

    @property
    def uri(self) -> str | None: ...

    @property
    def experiment(self) -> str | None: ...


class StageRun:
    """One stage's MLflow run. Nothing here raises when the store is away."""

    def __init__(self, client: Client, outbox: Outbox, sentinel: Sentinel) -> None:
        self._client = client
        self._outbox = outbox
        self._sentinel = sentinel
        self._writer: JournalWriter | None = None
        self._monitor: SystemMetricsMonitor | None = None

    @property
    def run_id(self) -> str | None:
        """MLflow's id; None while the store has not answered yet."""
        return self._outbox.state.run_id

    def log_metrics(self, metrics: dict[str, float], step: int = 0) -> None:
        """Log numbers at `step`; a metric that already has a point there, or later, keeps it."""
        now = int(time.time() * 1000)
        points = [(valid_key(key), float(value), now, step) for key, value in metrics.items()]
        kept = fresh_points(points, self._outbox.state.last_steps)
        if kept:
            self._do("points", points=kept)

    def log_params(self, params: dict[str, Any]) -> None:
        """Log settings, flattened; those the run already has are left as they are."""
        self._do("params", params=flat_params(params))

    def log_tags(self, tags: dict[str, str]) -> None:
        """Set tags."""
        self._do("tags", tags=tags)

    def log_artifacts(self, paths: Path | Iterable[Path], artifact_path: str | None = None) -> None:
        """Store files and folders (a folder's content) below `artifact_path` of the run."""
        for path in [paths] if isinstance(paths, Path) else paths:
            self._outbox.add("path", path=str(path.resolve()), artifact_path=artifact_path)
        self._outbox.deliver()

    def log_text(self, text: str, artifact_file: str) -> None:
        """Store `text` as `artifact_file` of the run."""
        self._do("text", text=text, artifact_file=artifact_file)

    def follow(self, journal: Path, poll_s: float = POLL_S) -> None:
        """Carry the points of `journal` to MLflow from a thread, until `finish`."""
        self._outbox.follow(journal.resolve())
        self._writer = JournalWriter(self._outbox.deliver, poll_s)
        self._writer.start()

    def watch_system(self) -> None:
        """Record the machine's CPU, memory, disk, network and GPUs with MLflow's own monitor, until `finish`."""
        if self.run_id is not None:
            self._monitor = SystemMetricsMonitor(self.run_id, resume_logging=True, tracking_uri=self._client.uri)
            self._monitor.start()

    def finish(self, status: Status) -> None:
        """Deliver the rest and give the run its last status."""
        if self._outbox.state.status in FINAL:
            return
        if self._writer is not None:
            self._writer.stop(STOP_TIMEOUT_S)
        if self._monitor is not None:
            self._monitor.finish()
        self._outbox.state.status = status
        self._do("close", status=status, end_time=int(time.time() * 1000))
        if self.run_id is not None:
            self._sentinel.closed(self.run_id)

    def _do(self, kind: str, **arguments: Any) -> None:
        self._outbox.add(kind, **arguments)
        self._outbox.deliver()


class Tracker:
    """One pipeline's runs in one store."""

    def __init__(self, client: Client, storage: Path, settings: StoreSettings, sentinel: Sentinel, owner: str) -> None:
        self.client = client
        self._storage = storage
        self._settings = settings
        self._sentinel = sentinel
        self._owner = owner
        self._outboxes: list[Outbox] = []
        self._parent: StageRun | None = None
        self._experiment_id = ""

    @classmethod
    def open(cls, storage: Path, settings: StoreSettings, log_file: Path) -> "Tracker":
        """Reach the store, or say at once that it cannot be reached.

        Raises:
            ConfigError: if MLflow has no store for the URI.
            InfrastructureError: if the store does not answer.
        """
        log_to_file(log_file)
        client = Client(tracking_uri(storage, settings.uri))
        try:
            client.call(lambda api: api.search_experiments(max_results=1))
        except CallRefused as error:
            raise InfrastructureError(
                f"{without_password(client.uri)} answers, but not as an MLflow server would: {error}. "
                "Mend `tracking.uri`."
            ) from error
        owner = uuid.uuid4().hex
        return cls(client, storage, settings, Sentinel(client.uri, owner, log_file), owner)

    def start_pipeline(
        self,
        name: str,
        resolved_config: dict[str, Any],
        run_id: str | None = None,
        pipeline_file: Path | None = None,
    ) -> str:
        """Open the parent run, new or `run_id` again, and deliver first what earlier runs could not.

        A `run_id` that the store does not know (any more) gives a new run.

        Raises:
            InfrastructureError: if the store is away.
        """
        folder = self._storage / name
        deliver_leftovers(self.client, folder)
        self._experiment_id = self._ensure_experiment(self._settings.experiment or name)
        tags = provenance_tags(pipeline_file) | {"orchestrator.pipeline": name}
        self._parent = self._open_run(folder, name, tags, run_id, parent_id=None)
        self._parent.log_params({key: value for key, value in resolved_config.items() if key != "stages"})
        self._parent.log_params({"stages": resolved_config.get("stages", {})})
        self._parent.log_text(without_password(yaml.safe_dump(resolved_config, sort_keys=False)), "pipeline.yaml")
        return self.run_id

    @property
    def run_id(self) -> str:
        """The parent run's id.

        Raises:
            InfrastructureError: if the store went away before the run was made.
        """
        run_id = self._parent.run_id if self._parent else None
        if run_id is None:
            raise InfrastructureError(f"{without_password(self.client.uri)} went away before the run was opened.")
        return run_id

    def start_stage(
        self,
        stage_name: str,
        kind: str,
        params: dict[str, Any],
        folder: Path,
        dataset: dict[str, str] | None = None,
        run_id: str | None = None,
    ) -> StageRun:
        """Open a stage's child run, new or `run_id` again. Works while the store is away: it is made later.

        Args:
            stage_name: Name of the run.
            kind: `train`, `evaluate` or `register`.
            params: The stage's resolved settings.
            folder: The stage's folder; `tracking.json` is kept there.
            dataset: `name`, `digest`, `source`, `split` and `context` (`training`, `evaluation`, …).
            run_id: The run to open again.
        """
        self._deliver_all()
        tags = {"orchestrator.stage": stage_name, "orchestrator.kind": kind}
        run = self._open_run(folder, stage_name, tags, run_id, parent_id=self.run_id)
        run.log_params(params)
        if dataset is not None:
            run.log_tags({"orchestrator.data_digest": dataset["digest"]})
            if run_id is None:
                run._do("dataset", dataset=dataset)
        run.watch_system()
        return run

    def start_trial(self, name: str, parent: StageRun, folder: Path, tags: dict[str, str]) -> StageRun:
        """Open the run of one trial of a stage's search, below the stage's run; again where `folder` has one."""
        known = load_state(folder)
        run_id = known.run_id if known is not None and known.uri == self.client.uri else None
        return self._open_run(folder, name, tags, run_id, parent_id=parent.run_id or self.run_id)

    def finish(self, status: Status) -> None:
        """Close the parent run, deliver what is left and send the sentinel home."""
        self.client.ask_again_now()
        if self._parent is not None:
            self._parent.finish(status)
        self._deliver_all()
        for outbox in self._outboxes:
            outbox.close()
        self._sentinel.finish()

    def undelivered(self) -> str | None:
        """Say what the store did not take, in one paragraph; None when everything arrived."""
        waiting = [box for box in self._outboxes if not box.is_empty]
        refused = [reason for box in self._outboxes for reason in box.refused]
        lines = []
        if waiting:
            files = ", ".join(str(box.folder / STATE_FILE) for box in waiting)
            lines.append(
                f"The MLflow store at {without_password(self.client.uri)} was away: records of {len(waiting)} run(s) "
                f"are kept in {files} and go out with the next `orchestrator run` or `resume` of this pipeline."
            )
        if refused:
            lines.append(f"The MLflow store refused: {'; '.join(refused)}.")
        return " ".join(lines) or None

    def _open_run(
        self, folder: Path, name: str, tags: dict[str, str], run_id: str | None, parent_id: str | None
    ) -> StageRun:
        tags = tags | {"orchestrator.owner": self._owner} | ({"mlflow.parentRunId": parent_id} if parent_id else {})
        creation = {
            "experiment_id": self._experiment_id,
            "name": name,
            "start_time": int(time.time() * 1000),
            "tags": tags,
        }
        if run_id is not None and not self._is_known(run_id):
            logger.warning("MLflow run %s of %s is gone from %s; a new one is made", run_id, name, self.client.uri)
            run_id = None
        state = OutboxState(uri=self.client.uri, creation=creation, run_id=run_id)
        earlier = Outbox.load(self.client, folder) if run_id else None
        if earlier is not None and earlier.state.run_id == run_id:
            outbox = earlier
            outbox.state.status = "RUNNING"
        else:
            outbox = Outbox(self.client, folder, state)
            if run_id is not None:
                outbox.state.last_steps = self._last_steps(run_id)
        outbox.on_created = self._sentinel.opened
        self._outboxes.append(outbox)
        if run_id is not None:
            outbox.add("reopen", owner=self._owner)
            self._sentinel.opened(run_id)
        outbox.deliver()
        return StageRun(self.client, outbox, self._sentinel)

    def _last_steps(self, run_id: str) -> dict[str, int]:
        """Read back the last step of every metric of a run whose `tracking.json` is gone."""

        def read(api: MlflowClient) -> dict[str, int]:
            keys = [key for key in api.get_run(run_id).data.metrics if not key.startswith("system/")]
            return {key: max(point.step for point in api.get_metric_history(run_id, key)) for key in keys}

        return self.client.call(read)

    def _is_known(self, run_id: str) -> bool:
        try:
            return bool(self.client.call(lambda api: api.get_run(run_id)).info.lifecycle_stage == "active")
        except CallRefused:
            return False
        except InfrastructureError:
            return True

    def _ensure_experiment(self, name: str) -> str:
        has_server = self.client.uri.startswith(("http", "databricks"))  # a database knows no place for files
        location = None if has_server else artifact_folder(self._storage).as_uri()

        def ensure(api: MlflowClient) -> str:
            found = api.get_experiment_by_name(name)
            if found is None:
                return str(api.create_experiment(name, artifact_location=location))
            if found.lifecycle_stage == "deleted":
                api.restore_experiment(found.experiment_id)
            return str(found.experiment_id)

        try:
            return self.client.call(ensure)
        except CallRefused as error:
            raise InfrastructureError(
                f"the MLflow experiment {name!r} cannot be opened: {error}. Choose another `tracking.experiment`."
            ) from error

    def _deliver_all(self) -> None:
        for outbox in self._outboxes:
            if not outbox.is_empty:
                outbox.deliver()


def deliver_leftovers(client: Client, folder: Path) -> None:
    """Deliver what earlier runs left below a pipeline's `folder`, and close runs whose driver is gone as KILLED."""
    states = (STATE_FILE, f"*/*/{STATE_FILE}", f"*/*/trials/*/{STATE_FILE}")
    for path in sorted({path for pattern in states for path in folder.glob(pattern)}):
        outbox = Outbox.load(client, path.parent)
        if outbox is None:
            continue
        if outbox.is_mine:
            if outbox.state.status not in FINAL:
                outbox.state.status = "KILLED"
                outbox.add("close", status="KILLED", end_time=int(time.time() * 1000))
            if not outbox.is_empty:
                outbox.deliver()
        outbox.close()
