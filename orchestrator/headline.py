"""Which metrics of a run are worth a line: the main one of each task and its variants, where they are defined."""

from collections.abc import Iterator, Mapping

from engine.catalog import OUT_OF_FOLD_FAMILY, TASKS
from orchestrator.execution.folders import StageRecord

SHOWN_METRICS = 3
UNDEFINED = -1.0
"""COCO's value of a metric that has nothing to measure, such as `map_small` without small objects."""
NOT_DEFINED = "n/a"

SummaryRow = tuple[str, float | str, float | None]
"""(metric, value, change against the champion or None)."""


def main_metrics(
    metrics: Mapping[str, float], wanted: str | None = None, count: int = SHOWN_METRICS
) -> dict[str, float]:
    """Return the first `count` metrics, `wanted` before all others.

    Those of single classes (`ap/…`) and undefined ones are left out.
    """
    names = [name for name, value in metrics.items() if "/" not in name and value not in (None, UNDEFINED)]
    names.sort(key=lambda name: name != wanted)
    return {name: metrics[name] for name in names[:count]}


def summary_rows(stages: Mapping[str, StageRecord], champion: Mapping[str, float]) -> list[SummaryRow]:
    """Return the lines of the table that a run ends with.

    A train stage's own metrics, of its validation split, are left out where an evaluate stage measured its model;
    an ensemble's stay, to be compared with those of its members.

    Args:
        stages: the stages that are done, in their order.
        champion: `STAGE.METRIC` of the model that held the alias before.
    """
    measured = {record.parts["stage"]["model"] for record in stages.values() if record.kind == "evaluate"}
    return [
        _row(f"{name}.{metric}", value, champion)
        for name, record in stages.items()
        if record.kind == "ensemble" or f"stage:{name}" not in measured
        for metric, value in _headline(record.metrics)
    ]


def _headline(metrics: Mapping[str, float]) -> Iterator[tuple[str, float]]:
    """Yield a task's main metric and its variants, `map_50` beside `map`, in the task's own order.

    What an ensemble was fitted to looks better than it is, so its estimate for other images follows.
    """
    for entry in TASKS.values():
        variants = [name for name in entry.metrics if f"{name}_".startswith(f"{entry.main_metric}_")]
        for name in (*variants, f"{OUT_OF_FOLD_FAMILY}{entry.main_metric}"):
            if name in metrics:
                yield name, metrics[name]


def _row(name: str, value: float, champion: Mapping[str, float]) -> SummaryRow:
    if value == UNDEFINED:
        return name, NOT_DEFINED, None
    before = champion.get(name, UNDEFINED)
    return name, value, None if before == UNDEFINED else value - before
