"""Which tasks exist, as strings: `orchestrator` and `deploy` reach a task by name, and nothing is imported early."""

import importlib
from dataclasses import dataclass
from typing import Any

from foundation.errors import ConfigError


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
    """Callable(TaskSpec, classes, split, predictions file, folder) -> paths of the pictures it drew."""
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


TASKS: dict[str, TaskEntry] = {
    "detection": TaskEntry(
        settings="detection.settings:DetectionSettings",
        task="detection.task:DetectionTask",
        predictor="detection.predictor:build_predictor",
        report="detection.report:report_evaluation",
        preview="detection.preview:preview_sheet",
        zoo="detection.zoo:list_models",
        main_metric="map",
        metrics=(
            *("map", "map_50", "map_75", "map_small", "map_medium", "map_large"),
            *("mar_1", "mar_10", "mar_100", "mar_small", "mar_medium", "mar_large"),
        ),
        metric_families=("ap/", "ap_50/"),
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
