"""What a register stage takes along and tells; the registry itself is in `test_register`."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.execution import stages
from orchestrator.execution.folders import StageRecord
from orchestrator.execution.plan import PlannedStage
from orchestrator.pipeline.load import load_pipeline
from orchestrator.pipeline.settings import RegisterStage
from orchestrator.register import GateResult, RegisteredVersion

TEXT = """
name: p
data: {scenes: {format: scenes}}
stages:
  a: {kind: train, task: detection, data: scenes}
  b: {kind: train, task: detection, data: scenes}
  test_a: {kind: evaluate, model: "stage:a", data: scenes}
  test_b: {kind: evaluate, model: "stage:b", data: scenes}
  other: {kind: evaluate, model: "models:/old@champion", data: scenes}
  register_a: {kind: register, model: "stage:a", name: cells, gate: [{metric: other.map, max: 1.0}]}
"""


def test_it_takes_the_metrics_of_its_model_and_its_gates_and_tells_what_it_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {}
    said: list[dict[str, Any]] = []

    def register_bundle(*_: Any, **keywords: Any) -> RegisteredVersion:
        given.update(keywords)
        gates = (GateResult(True, "other.map = 0.1000, at most 1 asked"),)
        return RegisteredVersion("cells", "2", "champion", "models:/cells@champion", gates, None)

    monkeypatch.setattr(stages, "register_bundle", register_bundle)
    (tmp_path / "p.yaml").write_text(TEXT)
    loaded = load_pipeline(tmp_path / "p.yaml")
    stage = loaded.pipeline.stages["register_a"]
    assert isinstance(stage, RegisterStage)
    planned = {name: PlannedStage(name, "", "run", "", tmp_path, "f", {}, None) for name in loaded.order}
    context: Any = SimpleNamespace(
        loaded=loaded,
        tracker=None,
        show=said.append,
        planned=planned,
        records={"a": StageRecord("a", "train", "f", {}, run_id="r")},
        metrics={f"{name}.map": 0.1 for name in ("a", "b", "test_a", "test_b", "other")},
    )
    run: Any = SimpleNamespace(run_id="r", log_tags=lambda *_: None, log_text=lambda *_: None)
    result = stages.run_register(context, planned["register_a"], stage, run)
    assert sorted(given["metrics"]) == ["a.map", "other.map", "test_a.map"]
    assert [record["message"] for record in said] == ["gate passed: other.map = 0.1000, at most 1 asked"]
    assert result.outcome == "registered cells version 2, alias champion: models:/cells@champion"
