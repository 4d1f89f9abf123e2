"""A small process that outlives the driver: if the driver vanishes, it marks the driver's open MLflow runs KILLED.

The driver holds a pipe to it and writes JSON lines: `{"open": RUN}`, `{"closed": RUN}`, `{"finished": true}`.
Run as `python -m orchestrator.tracking.sentinel URI OWNER`; MLflow is imported only when there is a run to mark.
"""

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path

WAIT_FOR_SENTINEL_S = 5.0
PARENT_POLL_S = 2.0
ATTEMPTS = 30
"""A server that is away at that moment is asked again, with `PAUSE_S` between the attempts."""
PAUSE_S = 10.0


class Sentinel:
    """The driver's end of the pipe. A sentinel that died costs the run nothing."""

    def __init__(self, uri: str, owner: str, log_file: Path) -> None:
        log_file.parent.mkdir(parents=True, exist_ok=True)
        with log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "orchestrator.tracking.sentinel", uri, owner],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C and the end of the terminal must not reach it
            )

    @property
    def pid(self) -> int:
        """Process id, for tests and `doctor`."""
        return self._process.pid

    def opened(self, run_id: str) -> None:
        """Watch over a run."""
        self._say({"open": run_id})

    def closed(self, run_id: str) -> None:
        """Watch over a run no longer: it has its last status."""
        self._say({"closed": run_id})

    def finish(self) -> None:
        """Send the process home."""
        self._say({"finished": True})
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(WAIT_FOR_SENTINEL_S)

    def _say(self, message: dict[str, object]) -> None:
        if self._process.stdin is None or self._process.stdin.closed:
            return
        with contextlib.suppress(OSError):
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()


def watch(pipe: int, parent: int) -> list[str]:
    """Read messages until the driver is done or gone; return the runs it left open (none when it finished).

    The end of the pipe says that the driver is gone. A forked child of the driver may hold the pipe open a little
    longer, so the parent's id is looked at as well.
    """
    open_runs: list[str] = []
    rest = b""
    while True:
        if not select.select([pipe], [], [], PARENT_POLL_S)[0]:
            if os.getppid() != parent:
                return open_runs
            continue
        chunk = os.read(pipe, 65536)
        if not chunk:
            return open_runs
        *lines, rest = (rest + chunk).split(b"\n")
        for message in map(json.loads, lines):
            if message.get("finished"):
                return []
            if "open" in message and message["open"] not in open_runs:
                open_runs.append(message["open"])
            if message.get("closed") in open_runs:
                open_runs.remove(message["closed"])


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


def main(uri: str, owner: str) -> None:
    """Wait for the driver's end and set things right."""
    run_ids = watch(sys.stdin.fileno(), os.getppid())
    for attempt in range(ATTEMPTS if run_ids else 0):
        try:
            return mark_killed(uri, owner, run_ids)
        except Exception as error:
            print(f"sentinel, attempt {attempt}: {error}", file=sys.stderr, flush=True)
            time.sleep(PAUSE_S)


if __name__ == "__main__":
    main(*sys.argv[1:])
