"""Look into MLflow's model registry: list, show, and bring a version's bundle to a local folder."""

import json
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from engine.catalog import TASKS
from foundation.errors import RegistryError
from orchestrator.tracking.client import CallRefused, Client
from orchestrator.tracking.location import database_file, without_password
from orchestrator.tracking.model_version import ModelVersion, download_version

MANIFEST_FILE = "bundle.json"
_ADDRESS = re.compile(r"^models:/(?P<name>[^/@]+)(?:@(?P<alias>[^/@]+)|/(?P<version>[^/@]+))?$")


@dataclass(frozen=True)
class ModelAddress:
    """`models:/NAME@ALIAS`, `models:/NAME/VERSION`, or a bare name, which means the newest version."""

    name: str
    alias: str | None = None
    version: str | None = None


def parse_address(text: str) -> ModelAddress:
    """Read a model address.

    Raises:
        RegistryError: if it is none.
    """
    match = _ADDRESS.match(text if text.startswith("models:") else f"models:/{text}")
    if match is None:
        raise RegistryError(f"{text!r} is no model address; expected models:/NAME@ALIAS, models:/NAME/VERSION or NAME.")
    return ModelAddress(**match.groupdict())


def list_models(uri: str) -> list[dict[str, Any]]:
    """Return one JSON-able dict per version of every registered model, the newest first.

    Keys: `name`, `version`, `aliases`, `task`, `metrics` (the task's main one, of every evaluate stage), `created`.
    """
    client = _existing_store(uri)
    if client is None:
        return []
    names = sorted(model.name for model in client.call(lambda api: list(api.search_registered_models())))
    return [
        _row(version, _aliases(client, name))
        for name in names
        for version in sorted(_versions(client, name), key=lambda version: -int(version.version))
    ]


def show_model(reference: str, uri: str) -> dict[str, Any]:
    """Return everything that is known of one version, JSON-able.

    Keys: `name`, `version`, `aliases`, `created`, `run_id`, `source`, `metrics`, `tags`.

    Raises:
        RegistryError: if there is no such model, version or alias; the message names those that exist.
    """
    _, version = _find(reference, uri)
    return _describe_version(version)


def resolve_version(reference: str, uri: str) -> str:
    """Return the number of the version that an address stands for now.

    Raises:
        RegistryError: if there is no such model, version or alias.
    """
    return str(_find(reference, uri)[1].version)


def resolve_model(reference: str, uri: str, cache: Path | None = None) -> Path:
    """Return a local folder with the bundle of a model version, downloading it once into the cache.

    Raises:
        RegistryError: if there is no such version, or it holds no bundle of ours.
    """
    client, version = _find(reference, uri)
    folder = (cache or cache_folder()) / version.name / f"{version.version}-{version.tags.get('sha256', '')[:12]}"
    if (folder / MANIFEST_FILE).is_file():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        address = f"models:/{version.name}/{version.version}"
        try:
            download_version(client, version.name, str(version.version), Path(temporary))
        except CallRefused as error:
            raise RegistryError(f"{address} cannot be fetched: {error}. Register the model again.") from error
        manifest = next(Path(temporary).glob(f"**/{MANIFEST_FILE}"), None)
        if manifest is None:
            raise RegistryError(f"{address} holds no bundle of ours (no {MANIFEST_FILE}); choose another version.")
        shutil.rmtree(folder, ignore_errors=True)
        manifest.parent.replace(folder)
    return folder


def champion_metrics(name: str, alias: str, uri: str) -> dict[str, float] | None:
    """Return the metrics that the holder of `alias` was registered with; None if nobody holds it."""
    try:
        return _describe_version(_find(f"models:/{name}@{alias}", uri)[1])["metrics"]
    except RegistryError:
        return None


def cache_folder() -> Path:
    """Return where downloaded models are kept: below ORCHESTRATOR_CACHE, or ~/.cache/orchestrator."""
    root = os.environ.get("ORCHESTRATOR_CACHE")
    return (Path(root) if root else Path.home() / ".cache" / "orchestrator") / "models"


def _find(reference: str, uri: str) -> tuple[Client, ModelVersion]:
    address = parse_address(reference)
    client = _existing_store(uri)
    versions = [] if client is None else _versions(client, address.name)
    if client is None or not versions:
        known = ", ".join(sorted({row["name"] for row in list_models(uri)})) or "none"
        raise RegistryError(
            f"{reference}: there is no model {address.name!r} in {without_password(uri)}; models there: {known}. "
            "See `orchestrator models ls`."
        )
    wanted = address.version
    if address.alias is not None:
        wanted = _aliases(client, address.name).get(address.alias)
    elif wanted is None:
        wanted = max((str(version.version) for version in versions), key=int)
    found = next((version for version in versions if str(version.version) == wanted), None)
    if found is None:
        numbers = ", ".join(sorted((str(version.version) for version in versions), key=int))
        aliases = ", ".join(f"{alias} (version {number})" for alias, number in _aliases(client, address.name).items())
        raise RegistryError(
            f"{reference}: model {address.name!r} has no such {'alias' if address.alias else 'version'}; "
            f"its versions: {numbers}; its aliases: {aliases or 'none'}."
        )
    return client, client.call(lambda api: api.get_model_version(address.name, wanted))


def _existing_store(uri: str) -> Client | None:
    """Open a store; None for a database file that is not there, which looking must not create."""
    file = database_file(uri)
    return None if file is not None and not file.is_file() else Client(uri)


def _versions(client: Client, name: str) -> list[ModelVersion]:
    return list(client.call(lambda api: api.search_model_versions(f"name='{name}'")))


def _aliases(client: Client, name: str) -> dict[str, str]:
    aliases = client.call(lambda api: api.get_registered_model(name)).aliases
    return {alias: str(version) for alias, version in sorted(aliases.items())}


def _row(version: ModelVersion, aliases: dict[str, str]) -> dict[str, Any]:
    task = version.tags.get("task", "")
    main_metric = f".{TASKS[task].main_metric}" if task in TASKS else ""
    described = _describe_version(version)
    return {
        **{key: described[key] for key in ("name", "version")},
        "aliases": [alias for alias, number in aliases.items() if number == str(version.version)],
        "task": task,
        "metrics": {key: value for key, value in described["metrics"].items() if key.endswith(main_metric)},
        "created": described["created"],
    }


def _describe_version(version: ModelVersion) -> dict[str, Any]:
    tags = dict(version.tags)
    return {
        "name": version.name,
        "version": str(version.version),
        "aliases": list(version.aliases),
        "created": datetime.fromtimestamp(version.creation_timestamp / 1000, UTC).isoformat(timespec="seconds"),
        "run_id": version.run_id,
        "source": version.source,
        "metrics": json.loads(tags.pop("metrics", "{}")),
        "tags": tags,
    }
