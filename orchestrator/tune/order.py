"""What a trial needs to know of its sweep, as plain data that travels to the process it runs in."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from engine import catalog
from engine.job import TrainJob
from engine.settings import ResourceSettings
from engine.task import TaskSpec
from orchestrator.pipeline.settings import TrainStage, train_stage_class
from orchestrator.tune.goals import Goals
from orchestrator.tune.ledger import trial_folder
from orchestrator.tune.values import Values, with_values

OUTCOME_FILE = "outcome.json"
"""What a trial's own process says of its end."""
REPORTED_FILE = "reported.json"
"""Which epochs the running search has heard of."""


@dataclass(frozen=True)
class SweepOrder:
    """The same for all trials of one run of a sweep."""

    folder: str
    """The stage's folder."""
    base: dict[str, Any]
    """The train stage as it was written, without defaults."""
    data: dict[str, Any]
    seed: int
    goals: Goals
    session: str
    """Names one run of the sweep: what an earlier one was told must be told again."""
    lineage: dict[str, Any] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)
    """Local bundles behind the `stage:` and `models:/` addresses in base and space."""
    is_population: bool = False
    """The trials take over each other's weights: each offers its checkpoint with every report."""

    def dumps(self) -> str:
        """Text that `loads` reads."""
        return json.dumps(asdict(self))

    @classmethod
    def loads(cls, text: str) -> "SweepOrder":
        """The order that `dumps` wrote."""
        content = json.loads(text)
        goals = Goals(**{key: tuple(value) for key, value in content.pop("goals").items()})
        return cls(**content, goals=goals)

    def trial_folder(self, number: int) -> Path:
        """Where a trial keeps everything."""
        return trial_folder(Path(self.folder), number)

    def stage(self, values: Values, resources: dict[str, Any] | None = None) -> TrainStage:
        """Return the train stage of a trial.

        Raises:
            pydantic.ValidationError: if the values do not fit together.
        """
        settings = with_values(self.base, _replaced(values, self.addresses))
        if resources:
            settings = with_values(settings, resources)
        return train_stage_class(settings["task"]).model_validate(settings)

    def job(self, number: int, stage: TrainStage) -> TrainJob:
        """Return the training of a trial: an ordinary one, in a folder of its own."""
        settings = _replaced(stage.task_settings().model_dump(mode="json"), self.addresses)
        return TrainJob(
            spec=TaskSpec(stage.task, settings, self.data, self.seed, stage.loop.epochs),
            loop=stage.loop,
            checkpoint=stage.checkpoint,
            folder=self.trial_folder(number),
            train_split=stage.train_split,
            val_split=stage.val_split,
            main_metric=catalog.entry(stage.task).main_metric,
            sampler=stage.sampler,
            lineage={**self.lineage, "trial": number},
        )


def is_nested(resources: ResourceSettings) -> bool:
    """Whether a trial is a group of Ray Train workers, and not one process."""
    return resources.num_workers not in (0, 1)


def write_outcome(folder: Path, status: str, reason: str = "", values: list[float] | None = None) -> None:
    """Say how a trial ended; atomic."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{OUTCOME_FILE}"
    temporary.write_text(json.dumps({"status": status, "reason": reason, "values": values}))
    temporary.replace(folder / OUTCOME_FILE)


def read_outcome(folder: Path) -> dict[str, Any] | None:
    """What a trial's process said of its end; None if it said nothing."""
    try:
        content: dict[str, Any] = json.loads((folder / OUTCOME_FILE).read_text())
    except (OSError, ValueError):
        return None
    return content


def _replaced(value: Any, addresses: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _replaced(inner, addresses) for key, inner in value.items()}
    if isinstance(value, list):
        return [_replaced(inner, addresses) for inner in value]
    return addresses.get(value, value) if isinstance(value, str) else value
