"""A bundle as a version of a registered model: an MLflow pyfunc folder without pickle, tied to the run that made it."""

import json
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import mlflow.pyfunc
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities import LoggedModelOutput, Metric
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.types.schema import ParamSchema, ParamSpec

from engine.catalog import TASKS
from orchestrator.tracking.client import CallRefused, Client
from orchestrator.tracking.operations import valid_key
from orchestrator.tracking.provenance import PACKAGE, package_version

__all__ = ["ModelVersion", "create_version", "download_version", "find_same_version", "find_version"]

LOADER_MODULE = "deploy.pyfunc"


def requirements() -> list[str]:
    """Return what a process needs to load a bundle; given to MLflow so that it infers nothing."""
    return [f"{package}=={package_version(package)}" for package in (PACKAGE, "torch", "torchvision")]


def signature(task: str | None) -> ModelSignature | None:
    """Declare what `predict` takes besides images: MLflow drops parameters that a model does not declare.

    Images are not declared, because MLflow would then refuse all but one kind of them.
    """
    options = TASKS[task].predict_options if task in TASKS else ()
    schema = ParamSchema([ParamSpec(name, kind, None) for name, kind in options])
    return ModelSignature(params=schema) if options else None


def create_version(
    client: Client, name: str, bundle: Path, run_id: str, tags: dict[str, str], metrics: dict[str, float]
) -> ModelVersion:
    """Upload `bundle` as a logged model of run `run_id` and make it the next version of the model `name`.

    Raises:
        CallRefused, InfrastructureError: as `Client.call`.
    """
    model_id = client.call(partial(_create_logged_model, name=name, run_id=run_id, tags=tags))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "model"
        mlflow.pyfunc.save_model(
            folder,
            loader_module=LOADER_MODULE,
            data_path=str(bundle),
            mlflow_model=Model(run_id=run_id, model_id=model_id, signature=signature(tags.get("task"))),
            pip_requirements=requirements(),
            metadata={key: tags[key] for key in ("task", "sha256") if key in tags},
        )
        client.upload(lambda api: api.log_model_artifacts(model_id, str(folder)))
    return client.upload(lambda api: _publish(api, name, model_id, run_id, tags, metrics))


def _create_logged_model(api: MlflowClient, name: str, run_id: str, tags: dict[str, str]) -> str:
    experiment_id = api.get_run(run_id).info.experiment_id
    model = api.create_logged_model(
        experiment_id, name=name, source_run_id=run_id, tags=tags, model_type=tags.get("task")
    )
    return str(model.model_id)


def _publish(
    api: MlflowClient, name: str, model_id: str, run_id: str, tags: dict[str, str], metrics: dict[str, float]
) -> ModelVersion:
    source = api.finalize_logged_model(model_id, "READY").artifact_location  # a models:/ID would be looked up globally
    api.log_outputs(run_id, [LoggedModelOutput(model_id, step=0)])
    now = int(time.time() * 1000)
    points = [
        Metric(valid_key(f"model/{key}"), value, now, 0, model_id=model_id, run_id=run_id)
        for key, value in metrics.items()
    ]
    api.log_batch(run_id, metrics=points)
    ensure_model(api, name, tags)
    version = api.create_model_version(name, source=source, run_id=run_id, tags=tags, model_id=model_id)
    link = json.dumps([{"name": name, "version": int(version.version)}])
    api.set_logged_model_tags(model_id, {"mlflow.modelVersions": link})  # MLflow's pages go by it from run to version
    return version


def ensure_model(api: MlflowClient, name: str, tags: dict[str, Any]) -> None:
    """Make the registered model `name` if there is none."""
    try:
        api.create_registered_model(name, tags={key: tags[key] for key in ("task", "pipeline") if key in tags})
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def download_version(client: Client, name: str, version: str, folder: Path) -> None:
    """Download the files of a model version into `folder`.

    Raises:
        CallRefused, InfrastructureError: as `Client.call`.
    """

    def download(api: MlflowClient) -> None:
        address = api.get_model_version_download_uri(name, version)
        download_artifacts(address, dst_path=str(folder), tracking_uri=client.uri)

    client.upload(download)


def find_version(client: Client, name: str, alias: str) -> ModelVersion | None:
    """Return the version that holds `alias`, or None if the model or the alias does not exist."""
    try:
        return client.call(lambda api: api.get_model_version_by_alias(name, alias))
    except CallRefused:
        return None


def find_same_version(client: Client, name: str, tags: dict[str, str], keys: tuple[str, ...]) -> ModelVersion | None:
    """Return the newest version of `name` whose tags `keys` equal those in `tags`, or None."""
    versions = client.call(lambda api: api.search_model_versions(f"name='{name}'"))
    same = [version for version in versions if all(version.tags.get(key) == tags.get(key) for key in keys)]
    return max(same, key=lambda version: int(version.version), default=None)
