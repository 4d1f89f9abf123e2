"""What each kind of stage does when its turn comes."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine import catalog
from engine.bundle import load_manifest
from engine.evaluation_job import PREDICTIONS_FILE
from engine.job import EvaluateJob, TrainJob
from engine.journal import JOURNAL_FILE
from engine.settings import FailureSettings
from engine.task import TaskSpec
from foundation.errors import ConfigError
from orchestrator.cluster import Cluster
from orchestrator.curves import draw_curves
from orchestrator.execution.conduct import Record, conduct
from orchestrator.execution.folders import StageRecord
from orchestrator.execution.plan import PlannedStage
from orchestrator.execution.summary import registered
from orchestrator.pipeline.graph import strings
from orchestrator.pipeline.load import LoadedPipeline
from orchestrator.pipeline.settings import EnsembleStage, EvaluateStage, RegisterStage, TrainStage
from orchestrator.register import register_bundle
from orchestrator.registry import resolve_model
from orchestrator.tracking.provenance import git_commit
from orchestrator.tracking.runs import StageRun, Tracker
from orchestrator.tune.result import with_winner
from orchestrator.tune.words import described

PICTURES = "pictures"
BUNDLE = "bundle"


@dataclass
class Context:
    """What the stages of one run share."""

    loaded: LoadedPipeline
    tracker: Tracker
    tracking_uri: str
    log_file: Path
    cluster: Cluster
    show: Callable[[Record], None]
    planned: dict[str, PlannedStage] = field(default_factory=dict)
    records: dict[str, StageRecord] = field(default_factory=dict)
    """Of the stages that are done."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Of all stages so far, as `STAGE.METRIC`."""


@dataclass(frozen=True)
class StageResult:
    """What a stage leaves behind."""

    metrics: dict[str, float]
    outputs: dict[str, Any]
    pictures: list[Path]
    outcome: str = ""
    """What was done, in words, where metrics do not say it."""


def run_train(context: Context, planned: PlannedStage, stage: TrainStage, run: StageRun) -> StageResult:
    """Train; the bundle lies in the stage's folder."""
    pipeline = context.loaded.pipeline
    if stage.base is not None:
        values = context.records[stage.base.removeprefix("stage:")].outputs["values"]
        stage = with_winner(stage, values)
        context.show({"kind": "event", "name": "base", "message": f"with {described(values)} from {stage.base}"})
    settings = _with_local_weights(stage.task_settings().model_dump(mode="json"), context)
    spec = TaskSpec(
        task=stage.task,
        settings=settings,
        data=pipeline.data[stage.data].model_dump(mode="json"),
        seed=pipeline.seed,
        epochs=stage.loop.epochs,
    )
    job = TrainJob(
        spec=spec,
        loop=stage.loop,
        checkpoint=stage.checkpoint,
        folder=planned.folder,
        train_split=stage.train_split,
        val_split=stage.val_split,
        main_metric=catalog.entry(stage.task).main_metric,
        sampler=stage.sampler,
        lineage=lineage_of(context, planned, run.run_id),
    )
    run.follow(planned.folder / JOURNAL_FILE)
    outcome = conduct("train", job, stage.resources, stage.failure, context.cluster, planned.name, context.show)
    pictures = draw_curves(planned.folder / JOURNAL_FILE, planned.folder / PICTURES)
    metrics = {name: float(value) for name, value in outcome["metrics"].items()}
    figures = {name: outcome[name] for name in ("step", "train_cpu_s", "train_s", "best_metric")}
    return StageResult(metrics, {"bundle": str(planned.folder / BUNDLE), **figures}, pictures)


def run_evaluate(context: Context, planned: PlannedStage, stage: EvaluateStage, run: StageRun) -> StageResult:
    """Evaluate a model on a split and draw its report."""
    bundle = locate_model(stage.model, context)
    manifest = load_manifest(bundle)
    data = context.loaded.pipeline.data[stage.data].model_dump(mode="json")
    job = EvaluateJob(
        bundle=bundle,
        data=data,
        split=stage.split,
        batch_size=stage.batch_size,
        precision="fp32",
        folder=planned.folder,
        overrides=stage.overrides,
    )
    outcome = conduct("evaluate", job, stage.resources, FailureSettings(), context.cluster, planned.name, context.show)
    draw = catalog.load(catalog.entry(manifest.task).report)
    spec = TaskSpec(manifest.task, {**manifest.settings, **stage.overrides}, data)
    predictions = planned.folder / PREDICTIONS_FILE
    drawn: list[Path] = draw(spec, manifest.classes, stage.split, predictions, planned.folder / PICTURES)
    tables = [path for path in drawn if path.suffix == ".csv"]
    metrics = {name: float(value) for name, value in outcome["metrics"].items()}
    run.log_metrics({f"{stage.split}/{name}": value for name, value in metrics.items()})
    run.log_artifacts([predictions, *tables])
    outputs = {"predictions": str(predictions), **{path.stem: str(path) for path in tables}}
    return StageResult(metrics, outputs, [path for path in drawn if path not in tables])


def run_register(context: Context, planned: PlannedStage, stage: RegisterStage, run: StageRun) -> StageResult:
    """Put the model into the registry, if the gates agree; it takes the metrics along that are about it."""
    source = context.planned[stage.model.removeprefix("stage:")]
    measured_by = {source.name, *(gate.metric.partition(".")[0] for gate in stage.gate)}
    for name, other in context.loaded.pipeline.stages.items():
        if isinstance(other, EvaluateStage) and other.model == stage.model:
            measured_by.add(name)
    trained_by = context.records[source.name].run_id
    version = register_bundle(
        context.tracker,
        stage,
        source.folder / BUNDLE,
        metrics={name: value for name, value in context.metrics.items() if name.partition(".")[0] in measured_by},
        lineage={**lineage_of(context, source, trained_by), "registered_by": planned.name},
        source_run_id=trained_by or context.tracker.run_id,
    )
    gates = [gate.sentence for gate in version.gates]
    run.log_tags({"orchestrator.model": f"models:/{version.name}/{version.version}"})
    run.log_text("\n".join(gates) or "no gates", "gates.txt")
    champion = version.champion.metrics if version.champion is not None else {}
    outputs: dict[str, Any] = {
        "uri": version.uri,
        "name": version.name,
        "version": version.version,
        "alias": version.alias,
    }
    outputs |= {"gates": gates, "champion_metrics": champion}
    for sentence in gates:
        context.show({"kind": "event", "name": "gate", "message": f"gate passed: {sentence}"})
    return StageResult({}, outputs, [], f"registered {registered(outputs)}")


def locate_model(address: str, context: Context) -> Path:
    """The local bundle folder that `stage:`, `models:/` or `file:` names."""
    if address.startswith("stage:"):
        return context.planned[address.removeprefix("stage:")].folder / BUNDLE
    if address.startswith("models:/"):
        return resolve_model(address, context.tracking_uri)
    if address.startswith("file:"):
        return Path(address.removeprefix("file:"))
    raise ConfigError(
        f"{address!r} names no model; give stage:NAME, models:/NAME@ALIAS, models:/NAME/VERSION or file:PATH."
    )


def _with_local_weights(value: Any, context: Context) -> Any:
    """Replace every `stage:` and `models:/` address in the settings by the bundle it stands for."""
    if isinstance(value, dict):
        return {key: _with_local_weights(inner, context) for key, inner in value.items()}
    if isinstance(value, list):
        return [_with_local_weights(inner, context) for inner in value]
    if isinstance(value, str) and value.startswith(("stage:", "models:/")):
        return f"file:{locate_model(value, context)}"
    return value


def local_addresses(settings: Any, context: Context) -> dict[str, str]:
    """Return, for every `stage:` and `models:/` address of a model in `settings`, the `file:` of its bundle."""
    texts = {text for _, text in strings(settings, ()) if text.startswith(("stage:", "models:/"))}
    return {text: f"file:{locate_model(text, context)}" for text in texts}


def lineage_of(context: Context, trained: PlannedStage, run_id: str | None) -> dict[str, Any]:
    """Where a model comes from: pipeline, stage, data and code, and of an ensemble its members."""
    commit = git_commit(context.loaded.path)
    stage = context.loaded.pipeline.stages[trained.name]
    return {
        "pipeline": context.loaded.pipeline.name,
        "stage": trained.name,
        "fingerprint": trained.fingerprint,
        "data_digests": trained.parts.get("data_digests", {}),
        "code": trained.parts.get("code", ""),
        "run_id": run_id or "",
        **({"git_commit": commit} if commit else {}),
        **({"members": list(stage.models)} if isinstance(stage, EnsembleStage) else {}),
    }
