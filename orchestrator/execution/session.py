"""One run of a pipeline: its tracker, its record on disk, and stage after stage with a true status for each."""

import logging
import shutil
import time
from pathlib import Path
from types import TracebackType

from engine import catalog
from engine.job import STOP_FILE
from foundation.errors import Interrupted, OrchestratorError, RunFailed, UserError
from orchestrator.cluster import Cluster
from orchestrator.execution.ensemble import run_ensemble
from orchestrator.execution.folders import RunRecord, StageRecord, origin
from orchestrator.execution.lock import RunLock
from orchestrator.execution.plan import PlannedStage, splits_of
from orchestrator.execution.stages import Context, StageResult, run_evaluate, run_register, run_train
from orchestrator.execution.summary import RunSummary
from orchestrator.execution.tune import run_tune
from orchestrator.pipeline.blame import located
from orchestrator.pipeline.load import LoadedPipeline
from orchestrator.pipeline.settings import DataStage, EnsembleStage, EvaluateStage, RegisterStage, TrainStage, TuneStage
from orchestrator.registry import resolve_version
from orchestrator.terminal import Display
from orchestrator.tracking.location import tracking_uri
from orchestrator.tracking.runs import StageRun, Status, Tracker

logger = logging.getLogger(__name__)
LOG_FILE = "run.log"


class Session:
    """Use as a context manager: what happens inside decides the status that the runs end with."""

    def __init__(self, loaded: LoadedPipeline, run_id: str | None, only: str | None, display: Display) -> None:
        pipeline = loaded.pipeline
        self.loaded, self.only, self.display = loaded, only, display
        self.folder = pipeline.storage / pipeline.name
        self._lock = RunLock.take(self.folder)
        try:
            self._open_runs(run_id)
        except BaseException:
            self._lock.release()
            raise

    def _open_runs(self, run_id: str | None) -> None:
        loaded, pipeline = self.loaded, self.loaded.pipeline
        log_file = self.folder / LOG_FILE
        uri = tracking_uri(pipeline.storage, pipeline.tracking.uri)
        self.tracker = Tracker.open(pipeline.storage, pipeline.tracking, log_file)
        self.run_id = self.tracker.start_pipeline(pipeline.name, loaded.resolved(), run_id, loaded.path)
        self.context = Context(loaded, self.tracker, uri, log_file, Cluster(log_file), self.display.record)
        self.summary = RunSummary(self.run_id, uri)
        self._record("running")

    def __enter__(self) -> "Session":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        status = _status_of(error)
        try:
            self.context.cluster.close(keep_logs=status == "FAILED")
        finally:
            self.tracker.finish(status)
            self._record({"FINISHED": "done", "KILLED": "interrupted"}.get(status, "failed"))
            self._lock.release()
        undelivered = self.tracker.undelivered()
        if undelivered:
            self.display.message(undelivered)

    def resolve_version(self, address: str) -> str:
        """Which version a `models:/` address stands for now."""
        return resolve_version(address, self.context.tracking_uri)

    def perform(self, planned: PlannedStage) -> None:
        """Run, continue or skip one stage, and keep its record.

        Raises:
            OrchestratorError: what ended it.
        """
        self.context.planned[planned.name] = planned
        if planned.action == "skip" and planned.record is not None:
            self.display.stage_skipped(planned.name, planned.reason)
            pictures = sorted((planned.folder / "pictures").glob("*.png"))
            self._keep(planned.record, pictures)
            return
        self.display.stage_started(planned.name, planned.announcement, self._main_metric(planned))
        if planned.action == "run":
            shutil.rmtree(planned.folder, ignore_errors=True)
        planned.folder.mkdir(parents=True, exist_ok=True)
        run = self._open(planned)
        record = StageRecord(planned.name, planned.kind, planned.fingerprint, dict(planned.parts), run_id=run.run_id)
        record.save(planned.folder)
        try:
            result = self._execute(planned, run)
        except BaseException as error:
            status = _status_of(error)
            record.ended("interrupted" if status == "KILLED" else "failed", message=str(error)).save(planned.folder)
            run.finish(status)
            if isinstance(error, UserError):
                raise located(error, self.loaded, planned.name) from error
            if isinstance(error, OrchestratorError | KeyboardInterrupt):
                raise
            logger.exception("stage %s failed", planned.name)
            raise RunFailed(
                f"stage {planned.name} failed with {type(error).__name__}: {error}. The log is "
                f"{self.context.log_file}; --debug shows where."
            ) from error
        run.log_artifacts(result.pictures, "pictures")
        run.finish("FINISHED")
        record = record.ended("done", metrics=result.metrics, outputs=result.outputs)
        record.save(planned.folder)
        self._keep(record, result.pictures)
        self.display.stage_finished(record.name, record.metrics, time.time() - record.started, result.outcome)
        if (planned.folder / STOP_FILE).exists():
            raise Interrupted(f"stopped after stage {planned.name} was done; `orchestrator resume` carries on.")

    def _open(self, planned: PlannedStage) -> StageRun:
        stage = self.loaded.pipeline.stages[planned.name]
        dataset = None
        if isinstance(stage, DataStage):
            split = splits_of(stage)[0]
            data = self.loaded.pipeline.data[stage.data]
            root = getattr(data, "root", None)
            dataset = {
                "name": stage.data,
                "digest": str(planned.parts["data_digests"][split]),
                "source": str(root) if root else f"{data.format}:{stage.data}",
                "split": split,
                "context": "training" if isinstance(stage, TrainStage | TuneStage) else "evaluation",
            }
        known = planned.record.run_id if planned.record is not None and planned.action == "continue" else None
        params = stage.model_dump(mode="json")
        return self.tracker.start_stage(planned.name, planned.kind, params, planned.folder, dataset, known)

    def _execute(self, planned: PlannedStage, run: StageRun) -> StageResult:
        stage = self.loaded.pipeline.stages[planned.name]
        if isinstance(stage, TrainStage):
            return run_train(self.context, planned, stage, run)
        if isinstance(stage, EvaluateStage):
            return run_evaluate(self.context, planned, stage, run)
        if isinstance(stage, EnsembleStage):
            return run_ensemble(self.context, planned, stage, run)
        if isinstance(stage, TuneStage):
            return run_tune(self.context, planned, stage, run)
        assert isinstance(stage, RegisterStage)
        return run_register(self.context, planned, stage, run)

    def _keep(self, record: StageRecord, pictures: list[Path]) -> None:
        named = {f"{record.name}.{metric}": value for metric, value in record.metrics.items()}
        self.context.records[record.name] = record
        self.context.metrics.update(named)
        self.summary.metrics.update(named)
        self.summary.stages[record.name] = record
        self.summary.pictures.extend(pictures)
        if "uri" in record.outputs:
            self.summary.registered.append(record.outputs["uri"])
            self.summary.champion_metrics.update(record.outputs.get("champion_metrics") or {})

    def _main_metric(self, planned: PlannedStage) -> str | None:
        stage = self.loaded.pipeline.stages[planned.name]
        return catalog.entry(stage.task).main_metric if isinstance(stage, TrainStage | TuneStage) else None

    def _record(self, status: str) -> None:
        file, overrides = origin(self.loaded.path, self.loaded.overrides)
        RunRecord(file, overrides, self.run_id, status, self.only).save(self.folder)


def _status_of(error: BaseException | None) -> Status:
    if error is None:
        return "FINISHED"
    return "KILLED" if isinstance(error, Interrupted | KeyboardInterrupt | SystemExit) else "FAILED"
