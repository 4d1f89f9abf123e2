"""Pipelines as Ray Jobs: submit, status, logs, stop. What runs on the cluster is the same command line as here."""

import asyncio
import contextlib
import logging
import os
import shlex
import sys
import tempfile
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import click
import yaml

from foundation.errors import InfrastructureError, UserError
from orchestrator.cli.options import print_json
from orchestrator.execution.folders import ORIGIN_VARIABLE, origin_to_text
from orchestrator.pipeline.load import load_pipeline
from orchestrator.text_table import table_of

DEFAULT_ADDRESS = "http://127.0.0.1:8265"
ADDRESS_VARIABLES = ("RAY_DASHBOARD_URL", "RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
RAYS_LOGGERS = ("ray.dashboard.modules.dashboard_sdk", "ray.dashboard.modules.job.sdk")
"""Each sets a level of its own when it is imported, and tells of what is no news to a user."""
PASSED_ON = "MLFLOW_TRACKING_"
"""Variables that begin so go along with the job: it must reach the same tracking server."""
JOB_ENVIRONMENT = {
    "PYTHONUNBUFFERED": "1",
    "RAY_AUTH_MODE": "token",
    "RAY_JOB_STOP_WAIT_TIME_S": "60",  # time to write a checkpoint after SIGTERM; Ray's own three seconds are too few
}
END_STATES = ("SUCCEEDED", "FAILED", "STOPPED")
EXIT_CODES = {"SUCCEEDED": 0, "FAILED": 4, "STOPPED": 130}
"""Used where the job has no exit code of its own."""
STOP_TIMEOUT_S = 90.0
POLL_S = 0.5
PIPELINE_FILE = "pipeline.yaml"


def submit(
    file: Path,
    address: str | None = None,
    wait: bool = False,
    overrides: Sequence[str] = (),
    entrypoint: Sequence[str] = (sys.executable, "-m", "orchestrator", "run", PIPELINE_FILE, "--plain"),
) -> int:
    """Run a pipeline file as a job on the cluster, with all its paths made absolute.

    The cluster's nodes need this package in the same interpreter path, and must reach `storage` and the data.

    Args:
        file: The pipeline file.
        address: The cluster's dashboard, `http://HOST:8265`.
        wait: Print the job's log until it ends, and return its exit code.
        overrides: `KEY=VALUE` each.
        entrypoint: The command on the cluster; the resolved file lies in its working directory.

    Raises:
        UserError: if the file is faulty.
        InfrastructureError: if the cluster cannot be reached or refuses the job.
    """
    loaded = load_pipeline(file, overrides)
    passed_on = {name: value for name, value in os.environ.items() if name.startswith(PASSED_ON)}
    come_from = {ORIGIN_VARIABLE: origin_to_text(loaded.path, overrides)}
    with _cluster(address) as (client, where), tempfile.TemporaryDirectory() as folder:
        (Path(folder) / PIPELINE_FILE).write_text(yaml.safe_dump(loaded.resolved(), sort_keys=False))
        job_id: str = client.submit_job(
            entrypoint=shlex.join(entrypoint),
            runtime_env={"working_dir": folder, "env_vars": {**JOB_ENVIRONMENT, **passed_on, **come_from}},
            metadata={"pipeline": loaded.pipeline.name, "file": str(loaded.path)},
        )
        click.echo(f"Submitted {loaded.pipeline.name} to {where} as {job_id}.")
        option = f" --address {address}" if address else ""
        click.echo(f"Follow it: orchestrator logs {job_id} --follow{option}")
        return _follow(client, job_id) if wait else 0


def status(job_id: str | None = None, address: str | None = None, as_json: bool = False) -> int:
    """Print the state of one job, or of all, the newest first."""
    with _cluster(address) as (client, where):
        jobs = [_info(client, job_id)] if job_id else [job for job in client.list_jobs() if job.submission_id]
        rows = [_row(job) for job in sorted(jobs, key=lambda job: -(job.start_time or 0))]
        if as_json:
            print_json(rows)
        else:
            click.echo(table_of(rows) if rows else f"no jobs at {where}")
    return 0


def logs(job_id: str, address: str | None = None, follow: bool = False) -> int:
    """Print what a job has written; with `follow` until it ends, returning its exit code then."""
    with _cluster(address) as (client, _):
        _info(client, job_id)
        if follow:
            return _follow(client, job_id)
        click.echo(client.get_job_logs(job_id), nl=False)
    return 0


def stop(job_id: str, address: str | None = None) -> int:
    """Ask a job to stop and wait until it has."""
    with _cluster(address) as (client, _):
        state = _info(client, job_id).status.value
        if state in END_STATES:
            click.echo(f"{job_id} has ended already: {state}.")
            return 0
        client.stop_job(job_id)
        state = asyncio.run(_wait_for_end(client, job_id, STOP_TIMEOUT_S))
        if state not in END_STATES:
            raise InfrastructureError(f"{job_id} is still {state} after {STOP_TIMEOUT_S:.0f} s; see its log.")
        click.echo(f"{job_id}: {state}.")
    return 0


def dashboard_address(address: str | None) -> str:
    """Return the dashboard to talk to: `address`, else the environment's, else this machine's."""
    candidates = [address, *(os.environ.get(name) for name in ADDRESS_VARIABLES[:2])]
    from_ray = os.environ.get(ADDRESS_VARIABLES[2], "")
    candidates.append(from_ray if from_ray.startswith("http") else None)  # else it names the cluster's other port
    chosen = next((candidate for candidate in candidates if candidate), DEFAULT_ADDRESS)
    return chosen if "://" in chosen else f"http://{chosen}"


@contextlib.contextmanager
def _cluster(address: str | None) -> Iterator[tuple[Any, str]]:
    """Yield a client and the address it talks to; Ray's errors become ours."""
    os.environ.setdefault("RAY_AUTH_MODE", "token")  # read when Ray is imported
    from ray.job_submission import JobSubmissionClient

    for name in RAYS_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    where = dashboard_address(address)
    try:
        yield JobSubmissionClient(where), where
    except (ConnectionError, RuntimeError, OSError) as error:
        raise InfrastructureError(
            f"the Ray cluster at {where} cannot be used: {_first_line(error)}. Start it with `ray start --head`, or "
            f"give --address http://HOST:8265 (or set {ADDRESS_VARIABLES[0]})."
        ) from error


def _info(client: Any, job_id: str) -> Any:
    try:
        return client.get_job_info(job_id)
    except RuntimeError as error:
        if "404" not in str(error):
            raise
        known = ", ".join(job.submission_id for job in client.list_jobs() if job.submission_id) or "none"
        raise UserError(f"there is no job {job_id!r} on this cluster; jobs there: {known}.") from error


def _follow(client: Any, job_id: str) -> int:
    """Print the log until the job ends; return its exit code."""
    try:
        state = asyncio.run(_print_log(client, job_id))
    except KeyboardInterrupt:
        click.echo(f"\nThe job goes on. To end it: orchestrator stop {job_id}")
        return EXIT_CODES["STOPPED"]
    info = _info(client, job_id)
    if state == "SUCCEEDED" or info.driver_exit_code is None or info.driver_exit_code < 0:
        if state == "FAILED":
            click.echo(f"{job_id} failed: {info.message}", err=True)
        return EXIT_CODES[state]
    return int(info.driver_exit_code) or EXIT_CODES[state]


async def _print_log(client: Any, job_id: str) -> str:
    async for text in client.tail_job_logs(job_id):
        click.echo(text, nl=False)
    return await _wait_for_end(client, job_id, timeout_s=None)


async def _wait_for_end(client: Any, job_id: str, timeout_s: float | None) -> str:
    waited = 0.0
    while True:
        state: str = client.get_job_status(job_id).value
        if state in END_STATES or (timeout_s is not None and waited >= timeout_s):
            return state
        await asyncio.sleep(POLL_S)
        waited += POLL_S


def _row(job: Any) -> dict[str, Any]:
    begun = datetime.fromtimestamp(job.start_time / 1000) if job.start_time else None
    ended = datetime.fromtimestamp(job.end_time / 1000) if job.end_time else datetime.now()
    return {
        "job": job.submission_id,
        "pipeline": (job.metadata or {}).get("pipeline", ""),
        "state": job.status.value,
        "exit": job.driver_exit_code,
        "begun": begun.isoformat(" ", "seconds") if begun else None,
        "minutes": f"{(ended - begun).total_seconds() / 60:.1f}" if begun else None,
    }


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300].rstrip(".")
