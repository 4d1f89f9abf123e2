"""Runs one job while the terminal stays alive: signals, the journal's tail, in-process or on Ray."""

import threading
from collections.abc import Callable
from typing import Any

from engine.failures import error_from_note, note_failure
from engine.job import FAILURE_FILE, STOP_FILE, EvaluateJob, TrainJob
from engine.journal import JOURNAL_FILE, read_records
from engine.settings import FailureSettings, ResourceSettings
from foundation.errors import Interrupted, OrchestratorError
from orchestrator.cluster import Cluster, check_resources
from orchestrator.execution.signals import on_stop

POLL_S = 0.25
Record = dict[str, Any]


def conduct(
    kind: str,
    job: TrainJob | EvaluateJob,
    resources: ResourceSettings,
    failure: FailureSettings,
    cluster: Cluster,
    stage: str,
    show: Callable[[Record], None],
) -> dict[str, Any]:
    """Run a job to its end and show its journal on the way; blocks the main thread, which keeps Ctrl-C.

    The first Ctrl-C (or SIGTERM) asks a training to write a checkpoint and stop; it may still come to its end. The
    second ends at once, and so does the first in an evaluation, which has nothing to keep.

    Raises:
        Interrupted: the user stopped it.
        OrchestratorError: what ended it otherwise.
    """
    job.folder.mkdir(parents=True, exist_ok=True)
    for name in (STOP_FILE, FAILURE_FILE):
        (job.folder / name).unlink(missing_ok=True)
    if resources.num_workers != 0:
        cluster.connect(failure.hang_timeout_s)
        check_resources(resources, stage)
    work = Work(lambda: _launch(kind, job, resources, failure))
    journal = job.folder / JOURNAL_FILE
    offset = journal.stat().st_size if journal.exists() else 0
    with on_stop(lambda: _ask_to_stop(job, show)):
        work.start()
        while True:
            work.join(POLL_S)
            is_over = not work.is_alive()  # asked before reading: its last records are in the journal by then
            records, offset = read_records(journal, offset)
            for record in records:
                show(record)
            if is_over and not records:
                break
    return work.result()


class Work(threading.Thread):
    """A thread that keeps what its function returned or raised."""

    def __init__(self, function: Callable[[], dict[str, Any]]) -> None:
        super().__init__(daemon=True, name="work")
        self._function = function
        self._outcome: dict[str, Any] = {}
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self._outcome = self._function()
        except BaseException as error:  # handed to the main thread, which raises it
            self._error = error

    def result(self) -> dict[str, Any]:
        """What the function returned; raises what it raised."""
        if self._error is not None:
            raise self._error
        return self._outcome


def _launch(
    kind: str, job: TrainJob | EvaluateJob, resources: ResourceSettings, failure: FailureSettings
) -> dict[str, Any]:
    if resources.num_workers == 0:
        return _run_here(job, resources, failure)
    from orchestrator.ray_train import run_on_ray  # Ray reads its environment when it is imported

    return run_on_ray(kind, job, resources, failure)


def _run_here(job: TrainJob | EvaluateJob, resources: ResourceSettings, failure: FailureSettings) -> dict[str, Any]:
    """Run in this process; try again after what may have been a passing failure, as Ray would."""
    from engine.evaluation_job import evaluate_bundle
    from engine.loop import train
    from engine.runtimes import InProcessRuntime

    runtime = InProcessRuntime(resources.use_gpu)
    for attempt in range(failure.max_failures + 1):
        try:
            return train(job, runtime) if isinstance(job, TrainJob) else evaluate_bundle(job, runtime)
        except Interrupted:
            raise
        except Exception as error:
            note = note_failure(job.folder, error)
            if note.is_final or attempt == failure.max_failures:
                if isinstance(error, OrchestratorError):
                    raise
                raise error_from_note(note) from error
    raise AssertionError("the last attempt returns or raises")


def _ask_to_stop(job: TrainJob | EvaluateJob, show: Callable[[Record], None]) -> None:
    stop_file = job.folder / STOP_FILE
    if isinstance(job, EvaluateJob) or stop_file.exists():
        raise Interrupted("stopped at once; `orchestrator resume` continues from the last checkpoint.")
    stop_file.touch()
    text = "stopping after this step, with a checkpoint; press Ctrl-C again to stop at once"
    show({"kind": "event", "name": "stopping", "message": text})
