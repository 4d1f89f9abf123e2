"""Where the tracking store lies. No MLflow here: `plan` and `validate` may ask too."""

import re
from pathlib import Path
from urllib.parse import urlsplit

from foundation.errors import ConfigError

DATABASE_FILE = "mlflow.db"
SCHEMES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql", "databricks")
_USER_INFO = re.compile(r"(?<=://)[^/@\s]+:[^/@\s]+@")


def tracking_uri(storage: Path, uri: str | None) -> str:
    """Return the store to use: `uri` as given, or the SQLite database inside `storage`.

    Raises:
        ConfigError: if `uri` has a scheme that MLflow has no store for.
    """
    if uri is None:
        return f"sqlite:///{storage.resolve() / DATABASE_FILE}"
    scheme = uri.partition(":")[0].partition("+")[0]
    if scheme in ("http", "https") and not urlsplit(uri).hostname:
        raise ConfigError(f"{uri!r} names no host; expected {scheme}://HOST:PORT of an MLflow server.")
    if scheme not in SCHEMES:
        raise ConfigError(
            f"{without_password(uri)!r} is no address of a tracking store; expected null (a SQLite database inside "
            f"`storage`), http://HOST:PORT of an MLflow server, or one of {', '.join(SCHEMES)}."
        )
    return uri


def artifact_folder(storage: Path) -> Path:
    """Return where artifacts lie when the store is the database inside `storage`."""
    return storage.resolve() / "mlartifacts"


def database_file(uri: str) -> Path | None:
    """Return the file behind a `sqlite:///` URI, or None for every other store."""
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


def without_password(text: str) -> str:
    """Replace `user:password@` in every URI of `text`."""
    return _USER_INFO.sub("***@", text)
