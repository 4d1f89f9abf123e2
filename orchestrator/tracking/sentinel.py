"""A small process that outlives the driver: if the driver vanishes, it marks the driver's open MLflow runs KILLED.

The driver holds a pipe to it and writes JSON lines: `{"open": RUN}`, `{"closed": RUN}`, `{"finished": true}`.
Run as `python -m orchestrator.tracking.sentinel OWNER DRIVER_PID` with the store's URI in the environment, since it may
hold a password and every user can read a command line. MLflow is imported only if there is a run to mark.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

ATTEMPTS = 30
"""A server that is away at that moment is asked again, with `PAUSE_S` between the attempts."""
PAUSE_S = 10.0
URI_VARIABLE = "ORCHESTRATOR_SENTINEL_STORE"


class Sentinel:
    """The driver's end of the pipe. A sentinel that died costs the run nothing."""

    def __init__(self, uri: str, owner: str, log_file: Path) -> None:
        log_file.parent.mkdir(parents=True, exist_ok=True)
        with log_file.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "orchestrator.tracking.sentinel", owner, str(os.getpid())],
                env={**os.environ, URI_VARIABLE: uri},
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C and the end of the terminal must not reach it
            )
        assert process.stdin is not None
        self._pipe = process.stdin
        process.wait()  # it forks itself away at once

    def opened(self, run_id: str) -> None:
        """Watch over a run."""
        self._say({"open": run_id})

    def closed(self, run_id: str) -> None:
        """Watch over a run no longer: it has its last status."""
        self._say({"closed": run_id})

    def finish(self) -> None:
        """Send the process home."""
        self._say({"finished": True})
        with contextlib.suppress(OSError):
            self._pipe.close()

    def _say(self, message: dict[str, object]) -> None:
        with contextlib.suppress(OSError, ValueError):  # a sentinel that died, a pipe already closed
            self._pipe.write(json.dumps(message).encode() + b"\n")
            self._pipe.flush()


def watch(pipe: int, driver: int) -> list[str]:
    """Read messages until the driver is done or gone; return the runs it left open (none when it finished).

    The end of the pipe says that the driver is gone. A forked child of the driver may hold the pipe open longer, so
    where the system can wait for a process (Linux), the driver itself is watched too.
    """
    try:
        watched = [pipe, os.pidfd_open(driver)] if hasattr(os, "pidfd_open") else [pipe]
    except ProcessLookupError:
        watched = [pipe]
    open_runs: list[str] = []
    rest = b""
    while pipe in select.select(watched, [], [])[0]:
        chunk = os.read(pipe, 65536)
        if not chunk:
            break
        *lines, rest = (rest + chunk).split(b"\n")
        for message in map(json.loads, lines):
            if message.get("finished"):
                return []
            if "open" in message and message["open"] not in open_runs:
                open_runs.append(message["open"])
            if message.get("closed") in open_runs:
                open_runs.remove(message["closed"])
    return open_runs


def mark_killed(uri: str, owner: str, run_ids: list[str]) -> None:
    """Set the runs that are still RUNNING under `owner` to KILLED; a resumed run has another owner by then."""
    from orchestrator.tracking.client import Client  # MLflow, which a run that ends well never needs here

    client = Client(uri)

    def mark(run_id: str) -> None:
        run = client.call(lambda api: api.get_run(run_id))
        if run.info.status == "RUNNING" and run.data.tags.get("orchestrator.owner") == owner:
            client.call(lambda api: api.set_terminated(run_id, status="KILLED"))

    for run_id in run_ids:
        mark(run_id)


def main(owner: str, driver: str) -> None:
    """Wait for the driver's end and set things right."""
    if os.fork():
        os._exit(0)  # an orphan is not found by those who end the driver with all its descendants, as Ray Jobs does
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    run_ids = watch(sys.stdin.fileno(), int(driver))
    for attempt in range(ATTEMPTS if run_ids else 0):
        try:
            mark_killed(os.environ[URI_VARIABLE], owner, run_ids)
            break
        except Exception as error:
            print(f"sentinel, attempt {attempt}: {error}", file=sys.stderr, flush=True)
            time.sleep(PAUSE_S)


if __name__ == "__main__":
    main(*sys.argv[1:])
