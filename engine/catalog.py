"""Which tasks exist, as strings: `orchestrator` and `deploy` reach a task by name, and nothing is imported early."""

import importlib
from dataclasses import dataclass
from typing import Any

from foundation.errors import ConfigError

MEMBER_FAMILY, WEIGHT_FAMILY, OUT_OF_FOLD_FAMILY = "member/", "weight/", "out_of_fold/"
"""Beginnings of the names of metrics that only ensemble stages have: the main one of each member, each member's weight,
and what the fit gave for images that it was not fitted to."""


@dataclass(frozen=True)
class TaskEntry:
    """Where to find the parts of one task, each as `module:attribute`."""

    settings: str
    """The pydantic class of the task's own keys in a `train` stage (no torch behind it)."""
    task: str
    """Callable(TaskSpec) -> engine.task.Task; has a classmethod `from_bundle(settings, classes, data)`."""
    predictor: str
    """Callable(bundle folder, device) -> deploy.predictor.Predictor protocol."""
    report: str
    """Callable(TaskSpec, classes, split, predictions file, folder) -> paths of its pictures and tables (.csv)."""
    preview: str
    """Callable(DataSettings, split, task settings, *, seed, count) -> (H, W, 3) uint8 RGB sheet of training samples."""
    zoo: str
    """Callable() -> list of dicts, one per model the task offers."""
    main_metric: str
    """The metric that schedules, early stopping and selection watch unless told otherwise; higher is better."""
    metrics: tuple[str, ...] = ()
    """Names of all metrics, so that a misspelt one is found before anything runs."""
    metric_families: tuple[str, ...] = ()
    """Beginnings of names that end in a class, such as `ap/`."""
    ensemble: str = ""
    """Callable(bundle folders by member name) -> joins trained models into one; empty = the task has no ensembles."""
    lower_is_better: tuple[str, ...] = ()
    """Metrics that nothing can watch and no gate compare, because more of them is worse; `min` and `max` may bound
    them."""
    reader: str = "vision.formats:read_dataset"
    """Callable(DataSettings, split) -> the split as the task reads it; a DataError or ConfigError where it cannot."""
    evaluation: str = ""
    """The pydantic class of those of the task's keys that an `evaluate` stage may give anew (no torch behind it)."""
    has_boxes: bool = False
    """Whether it is about objects in images, rather than whole images."""
    predict_options: tuple[tuple[str, str], ...] = (("score_threshold", "double"),)
    """What the predictor's `predict` takes besides images, each by name and MLflow's name of its type."""


TASKS: dict[str, TaskEntry] = {
    "detection": TaskEntry(
        settings="detection.settings:DetectionSettings",
        task="detection.task:DetectionTask",
        predictor="detection.predictor:build_predictor",
        report="detection.report:report_evaluation",
        evaluation="detection.tiling_settings:EvaluationSettings",
        has_boxes=True,
        preview="detection.preview:preview_sheet",
        zoo="detection.zoo:list_models",
        main_metric="map",
        metrics=(
            *("map", "map_50", "map_75", "map_small", "map_medium", "map_large"),
            *("mar_1", "mar_10", "mar_100", "mar_small", "mar_medium", "mar_large"),
        ),
        metric_families=("ap/", "ap_50/"),
    ),
    "classification": TaskEntry(
        settings="classification.settings:ClassificationTraining",
        task="classification.task:ClassificationTask",
        predictor="classification.predictor:build_predictor",
        report="classification.report:report_evaluation",
        evaluation="classification.settings:EvaluationSettings",
        preview="classification.preview:preview_sheet",
        zoo="classification.zoo:list_models",
        reader="vision.formats.labels:read_labels",
        main_metric="top1",
        metrics=(
            *("top1", "top5", "balanced_accuracy", "f1_macro", "precision_macro", "recall_macro", "ece", "nll"),
            *("top1_head", "top1_medium", "top1_tail"),
        ),
        lower_is_better=("ece", "nll"),
        metric_families=("recall/", "precision/", "f1/"),
        ensemble="classification.ensemble:Ensemble",
        predict_options=(("score_threshold", "double"), ("top_k", "long")),
    ),
}


def entry(task: str) -> TaskEntry:
    """Return the entry of `task`.

    Raises:
        ConfigError: if there is no such task.
    """
    if task not in TASKS:
        raise ConfigError(f"unknown task {task!r}; known: {', '.join(sorted(TASKS))}")
    return TASKS[task]


def load(reference: str) -> Any:
    """Import what `module:attribute` names."""
    module, _, attribute = reference.partition(":")
    return getattr(importlib.import_module(module), attribute)
