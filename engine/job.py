"""What one training or evaluation needs to know, as plain data that travels to any runtime."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from engine.settings import CheckpointSettings, LoopSettings, RandomSamplerSettings, SamplerSettings
from engine.task import TaskSpec

STOP_FILE = "stop.request"
FAILURE_FILE = "failure.json"
LEDGER_PATTERN = "ledger-{}.jsonl"


@dataclass(frozen=True)
class TrainJob:
    """A training: build the task from `spec`, follow `loop`, keep everything in `folder`."""

    spec: TaskSpec
    loop: LoopSettings
    checkpoint: CheckpointSettings
    folder: Path
    """The stage's folder, on storage that every worker reaches."""
    train_split: str
    val_split: str | None
    main_metric: str
    sampler: SamplerSettings = field(default_factory=RandomSamplerSettings)
    lineage: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain data for another process."""
        return {
            **{name: getattr(self, name) for name in ("train_split", "val_split", "main_metric", "lineage")},
            "spec": asdict(self.spec),
            "loop": self.loop.model_dump(mode="json"),
            "checkpoint": self.checkpoint.model_dump(mode="json"),
            "sampler": self.sampler.model_dump(mode="json"),
            "folder": str(self.folder),
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "TrainJob":
        """The job that `to_json` wrote."""
        return cls(
            **{
                **content,
                "spec": TaskSpec(**content["spec"]),
                "loop": LoopSettings.model_validate(content["loop"]),
                "checkpoint": CheckpointSettings.model_validate(content["checkpoint"]),
                "sampler": TypeAdapter(SamplerSettings).validate_python(content["sampler"]),
                "folder": Path(content["folder"]),
            }
        )


@dataclass(frozen=True)
class EvaluateJob:
    """An evaluation of a bundle on one split."""

    bundle: Path
    data: dict[str, Any]
    split: str
    batch_size: int
    precision: str
    folder: Path
    overrides: dict[str, Any] = field(default_factory=dict)
    """Keys of the task's `evaluation` settings that count instead of the bundle's own."""

    def to_json(self) -> dict[str, Any]:
        """Plain data for another process."""
        return {**asdict(self), "bundle": str(self.bundle), "folder": str(self.folder)}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "EvaluateJob":
        """The job that `to_json` wrote."""
        return cls(**{**content, "bundle": Path(content["bundle"]), "folder": Path(content["folder"])})
