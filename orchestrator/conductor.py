"""Run a pipeline from its file to its registered model: the conductor of everything below."""

import os
from dataclasses import dataclass
from pathlib import Path

from engine.threads import apply_thread_environment, usable_cpus
from foundation.errors import UserError
from orchestrator.execution.folders import load_run_record
from orchestrator.execution.plan import plan
from orchestrator.execution.signals import terminate_like_ctrl_c
from orchestrator.execution.summary import RunSummary
from orchestrator.pipeline.load import LoadedPipeline, load_pipeline
from orchestrator.terminal import Display

__all__ = ["RunOptions", "RunSummary", "plan", "resume", "run_pipeline"]


@dataclass(frozen=True)
class RunOptions:
    """How to run, as the command line asks."""

    fresh: bool = False
    only: str | None = None
    run_id: str | None = None
    """MLflow's parent run to open again."""


def run_pipeline(loaded: LoadedPipeline, options: RunOptions, display: Display) -> RunSummary:
    """Run what is not done yet, in order.

    Raises:
        GateRefused: a gate said no.
        Interrupted: the user stopped the run; `resume` continues it.
        OrchestratorError: what ended the run otherwise.
    """
    apply_thread_environment(usable_cpus())
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    # MLflow and torch are slow to import, and torch reads its thread settings when it is imported.
    from orchestrator.execution.session import Session

    with terminate_like_ctrl_c(), Session(loaded, options.run_id, options.only, display) as session:
        for planned in plan(loaded, fresh=options.fresh, only=options.only, resolve_version=session.resolve_version):
            session.perform(planned)
        return session.summary


def resume(target: Path, display: Display) -> RunSummary:
    """Finish the latest run of a pipeline file, or of a pipeline's folder inside its storage, with the same overrides.

    Raises:
        UserError: if nothing was ever run there.
    """
    record = load_run_record(_folder_of(target))
    if record is None:
        raise UserError(f"{target} has no run to resume; start one with `orchestrator run`.")
    loaded = load_pipeline(Path(record.pipeline_file), record.overrides)
    return run_pipeline(loaded, RunOptions(only=record.only, run_id=record.run_id), display)


def _folder_of(target: Path) -> Path:
    if target.is_dir():
        return target
    pipeline = load_pipeline(target).pipeline
    return pipeline.storage / pipeline.name
