"""`orchestrator ui`: MLflow's own server on the right store, small, and gone with Ctrl-C."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import click

from foundation.errors import ConfigError, InfrastructureError
from orchestrator.tracking.location import artifact_folder, database_file, without_password

START_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 10.0
PORTS_TO_TRY = 50
SETTINGS = {
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # a queue with eleven processes that training runs have no use for
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


def open_ui(uri: str, port: int = 5000, host: str = "127.0.0.1") -> None:
    """Show the store at `uri` in the browser's reach until Ctrl-C.

    A store that is a server already has its own pages: then its address is printed, and nothing is started.

    Raises:
        ConfigError: if the store is a database file that does not exist.
        InfrastructureError: if no port is free or the server does not come up.
    """
    if uri.startswith(("http://", "https://")):
        click.echo(f"The store is an MLflow server already: {without_password(uri)}")
        return
    file = database_file(uri)
    if file is not None and not file.is_file():
        raise ConfigError(f"there are no runs in {file.parent} yet (no {file.name}); run a pipeline first.")
    free = _free_port(host, port)
    if free != port:
        click.echo(f"Port {port} is taken; using {free}.")
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell starts background programs with SIGINT ignored
        signal.signal(number, _interrupt)
    with tempfile.TemporaryFile() as log:
        server = _start(uri, host, free, log.fileno())
        try:
            _wait_until_ready(server, f"http://{_reachable(host)}:{free}")
            click.echo(f"MLflow is at http://{_reachable(host)}:{free} (Ctrl-C ends it).")
            server.wait()
        except TimeoutError as error:
            log.seek(0)
            tail = log.read().decode(errors="replace").strip()[-1500:]
            raise InfrastructureError(f"MLflow's server did not come up: {error}. It wrote: {tail}") from error
        except KeyboardInterrupt:
            click.echo("Ended.")
        finally:
            _stop(server)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _start(uri: str, host: str, port: int, log: int) -> subprocess.Popen[bytes]:
    file = database_file(uri)
    artifacts = artifact_folder(file.parent if file else Path.cwd())
    command = [sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", uri, "--artifacts-destination", str(artifacts)]
    environment = {**os.environ, **SETTINGS}
    return subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)


def _wait_until_ready(server: subprocess.Popen[bytes], address: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise TimeoutError(f"it ended with code {server.returncode}")
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise TimeoutError(f"no answer at {address}/health within {START_TIMEOUT_S:.0f} s")


def _stop(server: subprocess.Popen[bytes]) -> None:
    """End the server and its worker, which share a process group of their own."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(server.pid, how)
            server.wait(STOP_TIMEOUT_S)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def _free_port(host: str, first: int) -> int:
    for port in range(first, min(first + PORTS_TO_TRY, 65536)):
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return port
    raise InfrastructureError(f"no free port from {first} on at {host}; give another --port or --host.")


def _reachable(host: str) -> str:
    return "127.0.0.1" if host in ("0.0.0.0", "::") else host
