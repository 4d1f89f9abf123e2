"""The ensemble stage: measure every member as it will be asked, then join them into a bundle."""

import itertools
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine import catalog
from engine.bundle import load_manifest
from engine.evaluation_job import PREDICTIONS_FILE
from engine.job import EvaluateJob
from engine.settings import FailureSettings
from foundation.errors import ConfigError
from orchestrator.execution.conduct import conduct
from orchestrator.execution.plan import PlannedStage
from orchestrator.execution.stages import BUNDLE, Context, StageResult, lineage_of, locate_model
from orchestrator.pipeline.settings import EnsembleStage
from orchestrator.text_table import number
from orchestrator.tracking.runs import StageRun

MEMBERS = "members"


def run_ensemble(context: Context, planned: PlannedStage, stage: EnsembleStage, run: StageRun) -> StageResult:
    """Join models; the bundle lies in the stage's folder, beside what each member said of the split.

    Raises:
        ConfigError: if the models cannot be joined.
    """
    bundles = {name: locate_model(address, context) for name, address in member_names(stage.models).items()}
    entry = catalog.entry(_common_task(bundles))
    main = entry.main_metric
    ensemble = catalog.load(entry.ensemble)(bundles)
    data = context.loaded.pipeline.data[stage.data].model_dump(mode="json")
    said, measured = {}, {}
    for name in bundles:
        folder = planned.folder / MEMBERS / name
        ensemble.save_member(name, folder / BUNDLE)
        job = EvaluateJob(folder / BUNDLE, data, stage.split, stage.batch_size, precision="fp32", folder=folder)
        failure = FailureSettings()
        outcome = conduct("evaluate", job, stage.resources, failure, context.cluster, planned.name, context.show)
        shutil.rmtree(folder / BUNDLE)
        said[name], measured[name] = folder / PREDICTIONS_FILE, float(outcome["metrics"][main])
    lineage = lineage_of(context, planned, run.run_id)
    seed = context.loaded.pipeline.seed
    fit = ensemble.save(stage.method, said, data, stage.split, seed, planned.folder / BUNDLE, lineage)
    metrics = fit.metrics | {f"{catalog.MEMBER_FAMILY}{name}": value for name, value in measured.items()}
    run.log_metrics({f"{stage.split}/{name}": value for name, value in metrics.items()})
    predictions = planned.folder / PREDICTIONS_FILE
    predictions.write_text(json.dumps(fit.predictions))
    run.log_artifacts(predictions)
    outputs = {"bundle": str(planned.folder / BUNDLE), "predictions": str(predictions)}
    return StageResult(metrics, outputs, [], _told(measured, metrics.get(f"{catalog.OUT_OF_FOLD_FAMILY}{main}")))


def member_names(addresses: tuple[str, ...]) -> dict[str, str]:
    """Return the addresses by a short name each, that also serves as a folder and in a metric's name.

    A stage gives its own name, `models:/cells@champion` gives `cells-champion`, a bundle its folder's; names that
    occur twice are numbered.
    """
    named: dict[str, str] = {}
    for address in addresses:
        plain = _short_name(address)
        numbered = (f"{plain}-{number}" for number in itertools.count(2))
        name = next(candidate for candidate in itertools.chain([plain], numbered) if candidate not in named)
        named[name] = address
    return named


def _told(alone: Mapping[str, float], out_of_fold: float | None) -> str:
    """Say what the members reach alone, and what a fitted method reaches on images that it was not fitted to."""
    words = "alone: " + ", ".join(f"{name} {number(value)}" for name, value in alone.items())
    return words if out_of_fold is None else f"out of fold {number(out_of_fold)}; {words}"


def _short_name(address: str) -> str:
    scheme, _, rest = address.partition(":")
    parts = [part for part in rest.split("/") if part and not (scheme == "file" and part == BUNDLE)]
    text = parts[-1] if scheme == "file" and parts else "-".join(parts)
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-") or scheme


def _common_task(bundles: dict[str, Path]) -> str:
    """Return the task of all members, which must be one that has ensembles."""
    tasks: dict[str, Any] = {name: load_manifest(bundle).task for name, bundle in bundles.items()}
    first = next(iter(tasks.values()))
    able = [task for task, entry in catalog.TASKS.items() if entry.ensemble]
    if first not in able or set(tasks.values()) != {first}:
        given = ", ".join(f"{name} is for {task}" for name, task in tasks.items())
        raise ConfigError(
            f"these models cannot be joined: {given}. Name models of one task, of {' or '.join(able)}, in `models` of "
            "the ensemble stage."
        )
    return str(first)
