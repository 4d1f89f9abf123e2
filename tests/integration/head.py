"""A Ray cluster of the tests' own: its ports, temporary folder and token, and how it is ended."""

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

START_TIMEOUT_S = 240.0
STOP_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Head:
    """A running cluster of one node."""

    address: str
    """`HOST:PORT`, for RAY_ADDRESS."""
    dashboard: str
    """`http://HOST:PORT`, for Ray Jobs."""
    environment: dict[str, str]
    """What a process needs to be let in."""


@contextmanager
def running_head(num_cpus: int) -> Iterator[Head]:
    """Start a cluster; end it, and nothing else, afterwards."""
    port, dashboard, agent, client = _free_ports(4)
    environment = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    head = Head(f"127.0.0.1:{port}", f"http://127.0.0.1:{dashboard}", environment)
    folder = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))  # short: Ray keeps unix sockets in it
    command = [str(Path(sys.executable).parent / "ray"), "start", "--head", "--block", "--num-cpus", str(num_cpus)]
    command += ["--node-ip-address", "127.0.0.1", "--port", str(port), "--temp-dir", str(folder)]
    command += ["--dashboard-port", str(dashboard), "--dashboard-agent-listen-port", str(agent)]
    command += ["--ray-client-server-port", str(client)]
    with (folder / "head.log").open("wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, env={**os.environ, **environment}, start_new_session=True
        )
    try:
        _wait_until_ready(head, process, folder / "head.log")
        yield head
    finally:
        _end(process)
        shutil.rmtree(folder, ignore_errors=True)


def _end(head: subprocess.Popen[bytes]) -> None:
    """Kill the head and all that it started: nothing in it is worth the half minute that a kind end may take."""
    own = psutil.Process(head.pid).children(recursive=True) if head.poll() is None else []
    head.kill()
    for process in own:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    head.wait()
    psutil.wait_procs(own, STOP_TIMEOUT_S)


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def _wait_until_ready(head: Head, process: subprocess.Popen[bytes], log: Path) -> None:
    request = urllib.request.Request(f"{head.dashboard}/api/jobs/")
    request.add_header("Authorization", f"Bearer {head.environment['RAY_AUTH_TOKEN']}")
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(request, timeout=10).close()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise RuntimeError(f"the Ray head did not start: {log.read_text()}")
