"""What a run ends with."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.execution.folders import StageRecord


@dataclass
class RunSummary:
    """What a run ended with."""

    run_id: str
    tracking_uri: str
    metrics: dict[str, float] = field(default_factory=dict)
    """`STAGE.METRIC`."""
    champion_metrics: dict[str, float] = field(default_factory=dict)
    """The same metrics of the model that held the alias before."""
    pictures: list[Path] = field(default_factory=list)
    stages: dict[str, StageRecord] = field(default_factory=dict)
    registered: list[str] = field(default_factory=list)
    """URIs of new and known model versions."""

    def to_json(self) -> dict[str, Any]:
        """Plain data for `--json`."""
        return {
            "run_id": self.run_id,
            "tracking_uri": self.tracking_uri,
            "metrics": self.metrics,
            "champion_metrics": self.champion_metrics,
            "pictures": [str(path) for path in self.pictures],
            "registered": self.registered,
            "stages": {name: {"status": r.status, "outputs": r.outputs} for name, r in self.stages.items()},
        }
