"""The register stage: ask the gates, then turn a bundle into a version of a registered model and move the alias."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.bundle import Manifest, load_manifest
from foundation.errors import ConfigError, GateRefused, RegistryError
from orchestrator.pipeline.settings import GateSettings, RegisterStage
from orchestrator.tracking.client import CallRefused, Client
from orchestrator.tracking.model_version import create_version, find_same_version, find_version
from orchestrator.tracking.runs import Tracker

METRICS_TAG = "metrics"
SAME = ("sha256", "fingerprint", METRICS_TAG)
"""A version that agrees in these tags is the same model: registering again gives no second version."""


@dataclass(frozen=True)
class Champion:
    """A version that holds an alias, with the metrics it was registered with."""

    alias: str
    version: str
    metrics: dict[str, float]


@dataclass(frozen=True)
class GateResult:
    """What one gate said."""

    passed: bool
    sentence: str


@dataclass(frozen=True)
class RegisteredVersion:
    """What the register stage made."""

    name: str
    version: str
    alias: str | None
    uri: str
    """`models:/NAME@ALIAS`, or `models:/NAME/VERSION` without an alias."""
    gates: tuple[GateResult, ...]
    champion: Champion | None
    """Who held the alias before; None if nobody did."""


def register_bundle(
    tracker: Tracker,
    settings: RegisterStage,
    bundle_folder: Path,
    metrics: dict[str, float],
    lineage: dict[str, Any],
    source_run_id: str,
) -> RegisteredVersion:
    """Register `bundle_folder` if every gate agrees, and give it the stage's alias.

    Args:
        tracker: The open tracker; its store holds the registry.
        settings: The stage.
        bundle_folder: A bundle, as a train stage writes it.
        metrics: `STAGE.METRIC` to value, of all evaluations so far.
        lineage: Plain values that become tags: `pipeline`, `stage`, `fingerprint`, `data_digest`, `git_commit`, …
        source_run_id: The MLflow run that trained the model.

    Raises:
        GateRefused: if a gate said no; nothing is registered then.
        ConfigError: if a gate names a metric that no stage made.
        RegistryError: if the registry refuses the name or the alias.
        InfrastructureError: if the registry is away.
    """
    manifest = load_manifest(bundle_folder)
    gates = check_gates(tracker.client, settings, metrics)
    champion = find_champion(tracker.client, settings.name, settings.alias) if settings.alias else None
    tags = _tags(settings, manifest, metrics, lineage)
    try:
        version = find_same_version(tracker.client, settings.name, tags, SAME) or create_version(
            tracker.client, settings.name, bundle_folder, source_run_id, tags, metrics
        )
        number = str(version.version)
        if settings.alias:
            alias = settings.alias
            tracker.client.call(lambda api: api.set_registered_model_alias(settings.name, alias, number))
    except CallRefused as error:
        raise RegistryError(
            f"the registry refused model {settings.name!r} with alias {settings.alias!r}: {error}. "
            "Mend `name` or `alias` of the register stage."
        ) from error
    address = f"{settings.name}@{settings.alias}" if settings.alias else f"{settings.name}/{number}"
    return RegisteredVersion(settings.name, number, settings.alias, f"models:/{address}", gates, champion)


def check_gates(client: Client, settings: RegisterStage, metrics: dict[str, float]) -> tuple[GateResult, ...]:
    """Ask every gate and return what they said.

    Raises:
        GateRefused: if one said no; the message lists all of them with their values.
        ConfigError: if a gate names an unknown metric.
    """
    results = tuple(
        result for gate in settings.gate for result in _ask(client, settings.name, gate, _value(gate, metrics))
    )
    refusals = sum(not result.passed for result in results)
    if refusals:
        said = "; ".join(f"{'passed' if result.passed else 'REFUSED'}: {result.sentence}" for result in results)
        raise GateRefused(
            f"{settings.name} was not registered: {refusals} of {len(results)} gates refused. {said}. "
            "Train a better model, or change `gate` of the register stage."
        )
    return results


def find_champion(client: Client, name: str, alias: str) -> Champion | None:
    """Return who holds `alias` of the model `name`, or None."""
    version = find_version(client, name, alias)
    if version is None:
        return None
    return Champion(alias, str(version.version), json.loads(version.tags.get(METRICS_TAG, "{}")))


def _value(gate: GateSettings, metrics: dict[str, float]) -> float:
    if gate.metric not in metrics:
        known = ", ".join(sorted(key for key in metrics if "/" not in key)) or "none"
        raise ConfigError(
            f"a gate asks for the metric {gate.metric!r}, which no stage of this run made; made were: {known}. "
            "Mend `gate` of the register stage: STAGE.METRIC, of an evaluate stage."
        )
    return metrics[gate.metric]


def _ask(client: Client, name: str, gate: GateSettings, value: float) -> Sequence[GateResult]:
    shown = f"{gate.metric} = {value:.4f}"
    if math.isnan(value):
        return [GateResult(False, f"{shown} is no number")]
    results = []
    if gate.min is not None:
        results.append(GateResult(value >= gate.min, f"{shown}, at least {gate.min:g} asked"))
    if gate.max is not None:
        results.append(GateResult(value <= gate.max, f"{shown}, at most {gate.max:g} asked"))
    if gate.vs is not None and gate.max_drop is not None:
        results.append(_compare(find_champion(client, name, gate.vs), gate.vs, gate.max_drop, gate.metric, value))
    return results


def _compare(champion: Champion | None, alias: str, max_drop: float, metric: str, value: float) -> GateResult:
    shown = f"{metric} = {value:.4f}"
    if champion is None:
        return GateResult(True, f"{shown}, with no {alias} yet to compare it with")
    if metric not in champion.metrics:
        return GateResult(
            False,
            f"{shown}, but {alias} (version {champion.version}) has no {metric} to compare it with: "
            "keep the stage's name, or leave this gate out once",
        )
    least = champion.metrics[metric] - max_drop
    return GateResult(
        value >= least,
        f"{shown}, at least {least:.4f} asked ({champion.metrics[metric]:.4f} of {alias}, version {champion.version}, "
        f"less {max_drop:g})",
    )


def _tags(
    settings: RegisterStage, manifest: Manifest, metrics: dict[str, float], lineage: dict[str, Any]
) -> dict[str, str]:
    plain = {key: value if isinstance(value, str) else json.dumps(value, default=str) for key, value in lineage.items()}
    own = {
        "sha256": manifest.sha256,
        "task": manifest.task,
        "classes": json.dumps(manifest.classes),
        METRICS_TAG: json.dumps(metrics, sort_keys=True),
    }
    return {**settings.tags, **plain, **own}
