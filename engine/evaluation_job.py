"""Evaluating a bundle on a split, as a job of its own: `evaluate` stages run this on any runtime."""

import json
from dataclasses import replace
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from engine import catalog
from engine.bundle import Manifest, load_bundle
from engine.evaluation import evaluate
from engine.job import EvaluateJob
from engine.precision import resolve_precision
from engine.task import Runtime, Task
from engine.weights import load_into
from foundation.errors import ConfigError

PREDICTIONS_FILE = "predictions.json"


def _build_task(manifest: Manifest, job: EvaluateJob) -> Task:
    """Build the bundle's task with the job's data and overrides.

    Raises:
        ConfigError: if the task has no such keys, or their values do not fit it.
    """
    spec, entry = replace(manifest.spec(), data=job.data), catalog.entry(manifest.task)
    build = catalog.load(entry.task)
    if job.overrides:
        try:
            catalog.load(entry.evaluation).model_validate(job.overrides)
            spec = replace(spec, settings={**spec.settings, **job.overrides})
            return build(spec, classes=manifest.classes)
        except ValidationError as error:
            faults = "; ".join(f"{_place(fault)}{fault['msg']}" for fault in error.errors(include_url=False))
            raise ConfigError(
                f"{' and '.join(job.overrides)} of the evaluate stage cannot be put over the settings of {job.bundle}, "
                f"a model for {manifest.task}: {faults}. Mend the stage, or leave the keys out."
            ) from error
    return build(spec, classes=manifest.classes)


def _place(fault: ErrorDetails) -> str:
    return f"{'.'.join(map(str, fault['loc']))}: " if fault["loc"] else ""


def evaluate_bundle(job: EvaluateJob, runtime: Runtime) -> dict[str, Any]:
    """Evaluate; rank 0 writes the predictions into the job's folder for reports and later comparison.

    Returns:
        `{"status": "done", "metrics": …}`, the same on every rank.
    """
    manifest, weights = load_bundle(job.bundle)
    task = _build_task(manifest, job)
    model = task.build_model()
    load_into(model, weights, what=str(job.bundle), allow_head_mismatch=False)
    precision = resolve_precision(job.precision, runtime.device)
    metrics, metric = evaluate(task, model.to(runtime.device), job.split, job.batch_size, precision, runtime)
    if runtime.rank == 0:
        job.folder.mkdir(parents=True, exist_ok=True)
        (job.folder / PREDICTIONS_FILE).write_text(json.dumps(metric.to_json()))
    return {"status": "done", "metrics": metrics}
