"""A bundle: the self-describing folder that is shipped. `model.safetensors` and `bundle.json`, no pickle anywhere."""

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from engine.task import TaskSpec
from foundation.errors import WeightsError

FORMAT_VERSION = 1
WEIGHTS_FILE = "model.safetensors"
MANIFEST_FILE = "bundle.json"


@dataclass(frozen=True)
class Manifest:
    """What `bundle.json` says."""

    task: str
    settings: dict[str, Any]
    """The task's settings; with `classes` they rebuild the architecture. Weights URIs in it are set to null."""
    classes: tuple[str, ...]
    preprocessing: dict[str, Any]
    metrics: dict[str, float] = field(default_factory=dict)
    lineage: dict[str, Any] = field(default_factory=dict)
    """Pipeline, stage, fingerprint, data digest, git commit, MLflow run id, versions."""
    sha256: str = ""
    """Of the weights file; verified on load."""
    format_version: int = FORMAT_VERSION

    def spec(self) -> TaskSpec:
        """The task that this bundle's model was made by, without data."""
        return TaskSpec(task=self.task, settings=self.settings, data={})


def save_bundle(folder: Path, state: dict[str, Tensor], manifest: Manifest) -> Manifest:
    """Write a bundle into `folder` (made if missing) and return its manifest with the weights' sha256.

    Its files are written under other names first, so that a bundle that lies there is not torn by a crash.
    Tensors are stored contiguous and on the CPU; tensors that share memory are stored once each.
    """
    folder.mkdir(parents=True, exist_ok=True)
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}
    new_weights, new_manifest = folder / f".{WEIGHTS_FILE}.new", folder / f".{MANIFEST_FILE}.new"
    save_file(plain, new_weights)
    manifest = replace(manifest, settings=_without_weights(manifest.settings))
    complete = {**asdict(manifest), "sha256": _sha256(new_weights)}
    new_manifest.write_text(json.dumps(complete, indent=2, sort_keys=True) + "\n")
    new_weights.replace(folder / WEIGHTS_FILE)
    new_manifest.replace(folder / MANIFEST_FILE)
    return Manifest(**{**complete, "classes": tuple(complete["classes"])})


def load_manifest(folder: Path) -> Manifest:
    """Read `bundle.json`.

    Raises:
        WeightsError: if the folder is no bundle, or one of a newer format.
    """
    path = folder / MANIFEST_FILE
    if not path.is_file():
        raise WeightsError(
            f"{folder} is no bundle: it has no {MANIFEST_FILE}. Give the folder that a train stage wrote."
        )
    try:
        content = json.loads(path.read_text())
        manifest = Manifest(**{**content, "classes": tuple(content["classes"])})
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise WeightsError(f"{path} is not a bundle's manifest ({error}); export the bundle again.") from error
    if manifest.format_version > FORMAT_VERSION:
        raise WeightsError(
            f"{path} has format version {manifest.format_version}, this release reads up to {FORMAT_VERSION}; upgrade."
        )
    return manifest


def load_bundle(folder: Path) -> tuple[Manifest, dict[str, Tensor]]:
    """Read a bundle and verify its weights.

    Raises:
        WeightsError: if a file is missing, damaged, or not the one the manifest was written for.
    """
    manifest = load_manifest(folder)
    weights = folder / WEIGHTS_FILE
    if not weights.is_file():
        raise WeightsError(f"{folder} has no {WEIGHTS_FILE}; copy the whole bundle folder.")
    found = _sha256(weights)
    if manifest.sha256 and found != manifest.sha256:
        raise WeightsError(
            f"{weights} is damaged or was replaced: sha256 {found[:12]}…, the manifest says {manifest.sha256[:12]}…. "
            "Copy or export the bundle again."
        )
    try:
        return manifest, load_file(weights)
    except SafetensorError as error:
        raise WeightsError(f"{weights} cannot be read ({error}); copy or export the bundle again.") from error


def _without_weights(value: Any) -> Any:
    """Set every `weights` to null: the bundle holds them all, wherever training began."""
    if isinstance(value, dict):
        return {key: None if key == "weights" else _without_weights(inner) for key, inner in value.items()}
    return value


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
