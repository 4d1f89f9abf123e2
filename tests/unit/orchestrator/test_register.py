"""Gates, versions and aliases on a real registry."""

import importlib
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.catalog import TASKS
from foundation.errors import ConfigError, GateRefused, RegistryError
from orchestrator.pipeline.settings import RegisterStage
from orchestrator.register import RegisteredVersion, register_bundle
from orchestrator.registry import (
    champion_metrics,
    list_models,
    parse_address,
    resolve_model,
    resolve_version,
    show_model,
)
from orchestrator.tracking.model_version import signature
from orchestrator.tracking.runs import Tracker
from tests.fakes import save_fake_bundle

LINEAGE = {"pipeline": "cells", "stage": "register", "data_digests": {"train": "abc"}}
Register = Callable[..., RegisteredVersion]


@pytest.fixture
def register(open_tracker: Callable[[], Tracker], tmp_path: Path) -> Register:
    """Register a small bundle under the test's own model name."""
    tracker = open_tracker()
    tracker.start_pipeline("cells", {"name": "cells"})
    run = tracker.start_stage("detector", "train", {}, tmp_path / "stage")

    def register_one(score: float, label: float = 1.0, **settings: Any) -> RegisteredVersion:
        name = f"model-{tmp_path.name}"
        stage = RegisterStage.model_validate({"kind": "register", "model": "stage:detector", "name": name, **settings})
        bundle = save_fake_bundle(tmp_path / f"made-{label}", label)
        return register_bundle(tracker, stage, bundle, {"test.map": score, "test.ap/x": 0.1}, LINEAGE, str(run.run_id))

    return register_one


@pytest.mark.parametrize("task", TASKS)
def test_mlflow_hears_of_every_option_of_a_predictor(task: str) -> None:
    """It drops parameters that a model does not declare."""
    module, _, _ = TASKS[task].predictor.partition(":")
    (kind,) = (value for key, value in vars(importlib.import_module(module)).items() if key.endswith("Predictor"))
    options = set(inspect.signature(kind.predict).parameters) - {"self", "images"}
    declared = signature(task)
    assert declared is not None
    assert {parameter.name for parameter in declared.params} == options


def test_version_gets_alias_tags_metrics_and_no_pickle(register: Register, store_uri: str, tmp_path: Path) -> None:
    made = register(0.5, tags={"team": "blue"})
    assert (made.version, made.uri) == ("1", f"models:/{made.name}@champion")
    shown = show_model(made.uri, store_uri)
    assert shown["aliases"] == ["champion"]
    assert shown["metrics"] == {"test.map": 0.5, "test.ap/x": 0.1}
    assert shown["tags"]["team"] == "blue"
    assert shown["tags"]["data_digests"] == '{"train": "abc"}'
    assert len(shown["tags"]["sha256"]) == 64
    files = [path for path in (tmp_path / "runs" / "mlartifacts").rglob("*") if path.is_file()]
    assert any(path.name == "MLmodel" for path in files)
    assert not [path for path in files if path.suffix in (".pkl", ".pickle", ".pt", ".pth")]
    requirements = next(path for path in files if path.name == "requirements.txt").read_text()
    assert "orchestrator-vision==" in requirements and "torch==" in requirements


def test_bundle_comes_back_and_is_fetched_once(register: Register, store_uri: str, tmp_path: Path) -> None:
    made = register(0.5)
    folder = resolve_model(made.uri, store_uri, tmp_path / "cache")
    assert json.loads((folder / "bundle.json").read_text())["classes"] == ["ruby", "opal"]
    assert sorted(path.name for path in folder.iterdir()) == ["bundle.json", "model.safetensors"]
    (folder / "mark").touch()
    assert (resolve_model(f"models:/{made.name}/1", store_uri, tmp_path / "cache") / "mark").exists()


def test_better_model_moves_the_alias(register: Register, store_uri: str) -> None:
    gate = [{"metric": "test.map", "vs": "champion", "max_drop": 0.005}]
    first = register(0.5, gate=gate)
    assert first.champion is None
    assert "no champion yet" in first.gates[0].sentence
    second = register(0.6, label=2.0, gate=gate)
    assert second.champion is not None and second.champion.metrics["test.map"] == 0.5
    assert resolve_version(second.uri, store_uri) == "2"
    assert champion_metrics(second.name, "champion", store_uri) == {"test.map": 0.6, "test.ap/x": 0.1}
    rows = [row for row in list_models(store_uri) if row["name"] == second.name]
    assert [(row["version"], row["aliases"], row["metrics"]) for row in rows] == [
        ("2", ["champion"], {"test.map": 0.6}),
        ("1", [], {"test.map": 0.5}),
    ]


def test_same_bundle_and_metrics_make_no_second_version(register: Register) -> None:
    assert [register(0.5).version, register(0.5).version] == ["1", "1"]


@pytest.mark.parametrize(
    ("score", "gate", "message"),
    [
        pytest.param(0.4, {"min": 0.5}, r"REFUSED: test\.map = 0\.4000, at least 0\.5 asked", id="below min"),
        pytest.param(0.9, {"max": 0.5}, "at most 0.5 asked", id="above max"),
        pytest.param(float("nan"), {"min": 0.5}, "is no number", id="nan"),
        pytest.param(
            0.48, {"vs": "champion", "max_drop": 0.01}, r"at least 0\.4900 asked \(0\.5000 of champion", id="drop"
        ),
    ],
)
def test_refused_gate_registers_nothing(
    register: Register, store_uri: str, score: float, gate: dict[str, object], message: str
) -> None:
    first = register(0.5)
    gates = [{"metric": "test.map", "min": 0.0}, {"metric": "test.map", **gate}]
    with pytest.raises(GateRefused, match=message) as caught:
        register(score, label=2.0, gate=gates)
    assert "1 of 2 gates refused" in str(caught.value) or score != score  # nan fails both
    assert resolve_version(first.uri, store_uri) == "1"
    assert len([row for row in list_models(store_uri) if row["name"] == first.name]) == 1


@pytest.mark.parametrize("score", [pytest.param(0.5, id="equal"), pytest.param(0.496, id="within the drop")])
def test_comparison_passes(register: Register, score: float) -> None:
    register(0.5)
    again = register(score, label=2.0, gate=[{"metric": "test.map", "vs": "champion", "max_drop": 0.005}])
    assert again.gates[0].passed


def test_gate_on_an_unknown_metric_names_those_there_are(register: Register) -> None:
    with pytest.raises(ConfigError, match=r"'test\.mab'.*made were: test\.map\."):
        register(0.5, gate=[{"metric": "test.mab", "min": 0.1}])


def test_reserved_alias_is_refused_in_words(register: Register) -> None:
    with pytest.raises(RegistryError, match="latest"):
        register(0.5, alias="latest")


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        pytest.param("models:/nothing@champion", r"no model 'nothing'", id="model"),
        pytest.param(
            "models:/{name}@prod", r"no such alias; its versions: 1; its aliases: champion \(version 1\)", id="alias"
        ),
        pytest.param("{name}/9", "no such version; its versions: 1", id="version"),
        pytest.param("models:/a/b/c", "is no model address", id="address"),
    ],
)
def test_missing_models_are_named(register: Register, store_uri: str, reference: str, message: str) -> None:
    made = register(0.5)
    with pytest.raises(RegistryError, match=message):
        resolve_model(reference.format(name=made.name), store_uri)


def test_looking_into_a_store_that_is_not_there_creates_nothing(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    assert list_models(uri) == []
    with pytest.raises(RegistryError, match="models there: none"):
        show_model("cells", uri)
    assert not (tmp_path / "mlflow.db").exists()


def test_parse_address() -> None:
    assert parse_address("cells").name == parse_address("models:/cells@champion").name == "cells"
    assert parse_address("models:/cells/3").version == "3"
    assert parse_address("cells@champion").alias == "champion"
