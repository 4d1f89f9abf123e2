"""Where a run came from: who started it, which package version, which commit of the pipeline file's repository."""

import getpass
import json
import socket
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from orchestrator.tracking.location import without_password
from orchestrator.tracking.operations import valid_key

PACKAGE = "orchestrator-vision"
GIT_TIMEOUT_S = 5


def package_version(package: str = PACKAGE) -> str:
    """Return the installed version of `package` without its local part (`2.8.0+cpu` is `2.8.0`), or `unknown`."""
    try:
        return version(package).partition("+")[0]
    except PackageNotFoundError:
        return "unknown"


def git_commit(path: Path) -> str | None:
    """Return the commit of the repository that `path` lies in, with `-dirty` if it has changes; None without one."""
    commit = _git(path, "rev-parse", "HEAD")
    if not commit:
        return None
    return f"{commit}-dirty" if _git(path, "status", "--porcelain", "--untracked-files=no") else commit


def provenance_tags(pipeline_file: Path | None) -> dict[str, str]:
    """Return tags that MLflow's pages show by their own names, and ours."""
    tags = {
        "mlflow.user": _user(),
        "mlflow.source.type": "LOCAL",
        "orchestrator.version": package_version(),
        "orchestrator.host": socket.gethostname(),
    }
    if pipeline_file is not None:
        tags["mlflow.source.name"] = str(pipeline_file)
        commit = git_commit(pipeline_file)
        if commit:
            tags["mlflow.source.git.commit"] = commit
    return tags


def flat_params(config: Any, prefix: str = "") -> dict[str, str]:
    """Flatten nested settings to `a.b.c: text`; lists become JSON, null is kept as `null`, passwords in URIs go."""
    if isinstance(config, dict) and config:
        pairs = [flat_params(value, f"{prefix}.{key}" if prefix else str(key)) for key, value in config.items()]
        return {key: value for pair in pairs for key, value in pair.items()}
    text = config if isinstance(config, str) else json.dumps(config, default=str)
    return {valid_key(prefix): without_password(text)}


def _git(path: Path, *arguments: str) -> str:
    folder = path if path.is_dir() else path.parent
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=GIT_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
