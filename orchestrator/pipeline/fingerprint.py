"""Under which fingerprint a stage's result is kept: everything that can change the result, nothing that cannot.

Left out: where and how safely a stage runs (`resources`, `failure`, `checkpoint`) and what only reports or loads
(`loop.log_every_steps`, `loop.ledger`, `loop.num_loader_workers`, `cache`): the engine promises the same result for all
of them.
A data set's own place on disk is left out too; its contents count through the digest. A `file:` address counts by the
contents of what it names.
"""

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from foundation.settings import StrictModel
from orchestrator.pipeline.addresses import FILE_SCHEME

DISTRIBUTION = "orchestrator-vision"
CODE_ROOMS = ("foundation", "engine", "vision", "detection", "classification")
UNCOUNTED_STAGE_KEYS = {"resources", "failure", "checkpoint", "data", "max_concurrent", "cache", "cache_limit_gb"}
UNCOUNTED_LOOP_KEYS = {"log_every_steps", "ledger", "num_loader_workers"}
UNCOUNTED_DATA_KEYS = {"root", "splits", "download"}


def fingerprint_parts(
    stage: StrictModel,
    *,
    seed: int,
    upstream: Mapping[str, str],
    code: str,
    data: StrictModel | None = None,
    data_digests: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return all that a stage's result depends on, as plain JSON data, so that a later run can say what changed.

    Args:
        stage: the resolved stage.
        seed: the pipeline's seed.
        upstream: fingerprints of its inputs by their address or stage name; for a registry address the version
            it stands for, so that a moved alias is noticed.
        code: `code_version()`.
        data: the settings of its data set, if it has one.
        data_digests: digests of that data set's contents by split.
    """
    return {
        "stage": _counted(stage),
        "seed": seed,
        "upstream": dict(upstream),
        "code": code,
        "data": data.model_dump(mode="json", exclude=UNCOUNTED_DATA_KEYS) if data else None,
        "data_digests": dict(data_digests or {}),
    }


def fingerprint_of(parts: Mapping[str, Any]) -> str:
    """Return the sha256 of `fingerprint_parts`, as 64 hex digits."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@cache
def code_version() -> str:
    """Return our version and a hash over the sources that compute results; read once per process."""
    house = Path(__file__).resolve().parents[2]
    digest = hashlib.sha256()
    for room in CODE_ROOMS:
        for path in sorted((house / room).rglob("*.py")):
            digest.update(f"{path.relative_to(house).as_posix()}\0".encode())
            digest.update(path.read_bytes())
    return f"{version(DISTRIBUTION)}+{digest.hexdigest()[:16]}"


def _counted(stage: StrictModel) -> dict[str, Any]:
    counted: dict[str, Any] = _with_file_contents(_trimmed(stage.model_dump(mode="json")))
    return counted


def _trimmed(stage: Mapping[str, Any]) -> dict[str, Any]:
    content = {key: value for key, value in stage.items() if key not in UNCOUNTED_STAGE_KEYS}
    if isinstance(content.get("loop"), dict):
        content["loop"] = {key: value for key, value in content["loop"].items() if key not in UNCOUNTED_LOOP_KEYS}
    if isinstance(content.get("base"), dict):
        content["base"] = _trimmed(content["base"])
    if content.get("base") is None:
        content.pop("base", None)
    return content


def _with_file_contents(value: Any) -> Any:
    if isinstance(value, str) and value.startswith(FILE_SCHEME):
        return f"{FILE_SCHEME}sha256:{_content_hash(Path(value.removeprefix(FILE_SCHEME)))}"
    if isinstance(value, dict):
        return {key: _with_file_contents(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_with_file_contents(inner) for inner in value]
    return value


def _content_hash(path: Path) -> str:
    """Hash a file, or all files of a folder with their names; a path that is gone hashes as its name."""
    if path.is_file():
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    digest = hashlib.sha256()
    for inner in sorted(item for item in path.rglob("*") if item.is_file()):
        digest.update(f"{inner.relative_to(path).as_posix()}\0{_content_hash(inner)}\n".encode())
    return digest.hexdigest() if path.is_dir() else hashlib.sha256(str(path).encode()).hexdigest()
