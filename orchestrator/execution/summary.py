"""What a run ends with."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.execution.folders import StageRecord
from orchestrator.headline import SummaryRow, summary_rows


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

    def table(self) -> list[SummaryRow]:
        """The lines of the final table."""
        return summary_rows(self.stages, self.champion_metrics)

    def registrations(self) -> list[str]:
        """What is in the registry now because of this run or an earlier one, and what the gates said."""
        made = [record.outputs for record in self.stages.values() if "uri" in record.outputs]
        return [
            line
            for outputs in made
            for line in (registered(outputs), *(f"  gate passed: {sentence}" for sentence in outputs["gates"]))
        ]

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


def registered(outputs: Mapping[str, Any]) -> str:
    """Say what a register stage's outputs stand for: name, version, alias and address."""
    alias = f", alias {outputs['alias']}" if outputs["alias"] else ""
    return f"{outputs['name']} version {outputs['version']}{alias}: {outputs['uri']}"
