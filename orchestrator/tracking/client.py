"""MLflow calls that are bounded in time and fail in one of two ways: the store is away, or it said no."""

import logging
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from foundation.errors import InfrastructureError
from orchestrator.tracking.location import database_file, without_password

T = TypeVar("T")

FAIL_FAST_S = 15.0
"""After a failed call, others fail at once for so long, so that a dead server costs one timeout and not hundreds."""
CONNECT_TIMEOUT_S = 5.0
UPLOAD_TIMEOUT_S = "300"
DATABASE_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
REFUSALS = frozenset(
    {
        "BAD_REQUEST",
        "ENDPOINT_NOT_FOUND",
        "FEATURE_DISABLED",
        "INVALID_PARAMETER_VALUE",
        "INVALID_STATE",
        "MALFORMED_REQUEST",
        "NOT_FOUND",
        "PERMISSION_DENIED",
        "RESOURCE_ALREADY_EXISTS",
        "RESOURCE_CONFLICT",
        "RESOURCE_DOES_NOT_EXIST",
        "UNAUTHENTICATED",
    }
)
CHATTY_LOGGERS = ("mlflow", "alembic", "sqlalchemy.engine", "huey", "urllib3")


class CallRefused(Exception):
    """The store answered and refused the call; the same call would be refused again."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class Client:
    """One tracking store with its registry. Thread-safe: MLflow's client is, and the clock below only delays."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._retry_at = 0.0
        _check_database_host(uri)
        self._mlflow = self._guarded(lambda: MlflowClient(tracking_uri=uri, registry_uri=uri))

    def call(self, action: Callable[[MlflowClient], T]) -> T:
        """Run `action` with MLflow's client.

        Raises:
            InfrastructureError: if the store cannot be reached; at once if it could not a moment ago.
            CallRefused: if the store answered and said no.
        """
        if time.monotonic() < self._retry_at:
            raise InfrastructureError(f"{self._name()} did not answer a moment ago; it will be asked again later.")
        return self._guarded(lambda: action(self._mlflow))

    def upload(self, action: Callable[[MlflowClient], T]) -> T:
        """Run `action` as `call` does, with time for a large file to arrive.

        A server answers an upload only when its own storage has taken the file.
        """
        name = "MLFLOW_HTTP_REQUEST_TIMEOUT"
        before = os.environ[name]
        os.environ[name] = UPLOAD_TIMEOUT_S
        try:
            return self.call(action)
        finally:
            os.environ[name] = before

    def answers(self) -> bool:
        """Ask the store something small, now."""
        self.ask_again_now()
        try:
            self.call(lambda api: api.search_experiments(max_results=1))
        except (InfrastructureError, CallRefused):
            return False
        return True

    def ask_again_now(self) -> None:
        """Let the next call through even if the store was away a moment ago."""
        self._retry_at = 0.0

    def _guarded(self, action: Callable[[], T]) -> T:
        try:
            return action()
        except MlflowException as error:
            if error.error_code in REFUSALS:
                raise CallRefused(_first_line(error), error.error_code) from error
            raise self._away(error) from error
        except Exception as error:  # database drivers and artifact stores raise kinds of their own
            raise self._away(error) from error

    def _away(self, error: Exception) -> InfrastructureError:
        self._retry_at = time.monotonic() + FAIL_FAST_S
        return InfrastructureError(
            f"{self._name()} cannot be reached: {_root_cause(error)}. Start it, or mend `tracking.uri` "
            "(null keeps the runs in a SQLite database inside `storage`)."
        )

    def _name(self) -> str:
        return f"the MLflow store at {without_password(self.uri)}"


def log_to_file(log_file: Path) -> None:
    """Send what MLflow and its libraries log to `log_file` instead of the terminal."""
    log_file.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(log_file, delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    for name in CHATTY_LOGGERS:
        logger = logging.getLogger(name)
        for old in logger.handlers:
            old.close()
        logger.handlers = [handler]
        logger.propagate = False


def _check_database_host(uri: str) -> None:
    """Ask the host first: MLflow itself tries an unreachable database for minutes."""
    address = urlsplit(uri)
    scheme = address.scheme.partition("+")[0]
    file = database_file(uri)
    if file is not None:
        _check_database_folder(file.parent)
    if scheme not in DATABASE_PORTS or not address.hostname:
        return
    try:
        target = (address.hostname, address.port or DATABASE_PORTS[scheme])
        socket.create_connection(target, timeout=CONNECT_TIMEOUT_S).close()
    except OSError as error:
        raise InfrastructureError(
            f"the MLflow database at {without_password(uri)} cannot be reached: {_root_cause(error)}. Start it, or "
            "mend `tracking.uri`."
        ) from error


def _check_database_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InfrastructureError(
            f"the folder {folder} of the MLflow database cannot be made ({error.strerror}). Mend `storage`, or "
            "`tracking.uri` where it names that database."
        ) from error


def _root_cause(error: Exception) -> str:
    """Return what the operating system said at the bottom of a chain of errors, else the first error's own words."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return _first_line(error)


def _first_line(error: Exception) -> str:
    text = without_password(str(error)).strip()
    return text.splitlines()[0][:300].rstrip(".") if text else type(error).__name__
