"""Evaluating a bundle on a split, as a job of its own: `evaluate` stages run this on any runtime."""

import json
from dataclasses import replace
from typing import Any

from engine import catalog
from engine.bundle import load_bundle
from engine.evaluation import evaluate
from engine.job import EvaluateJob
from engine.precision import resolve_precision
from engine.task import Runtime
from engine.weights import load_into

PREDICTIONS_FILE = "predictions.json"


def evaluate_bundle(job: EvaluateJob, runtime: Runtime) -> dict[str, Any]:
    """Evaluate; rank 0 writes the predictions into the job's folder for reports and later comparison.

    Returns:
        `{"status": "done", "metrics": …}`, the same on every rank.
    """
    manifest, weights = load_bundle(job.bundle)
    spec = replace(manifest.spec(), data=job.data)
    task = catalog.load(catalog.entry(spec.task).task)(spec, classes=manifest.classes)
    model = task.build_model()
    load_into(model, weights, what=str(job.bundle), allow_head_mismatch=False)
    precision = resolve_precision(job.precision, runtime.device)
    metrics, metric = evaluate(task, model.to(runtime.device), job.split, job.batch_size, precision, runtime)
    if runtime.rank == 0:
        job.folder.mkdir(parents=True, exist_ok=True)
        (job.folder / PREDICTIONS_FILE).write_text(json.dumps(metric.to_json()))
    return {"status": "done", "metrics": metrics}
