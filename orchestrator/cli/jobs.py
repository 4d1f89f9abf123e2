"""`submit`, `status`, `logs` and `stop`: a pipeline as a job on a Ray cluster."""

from pathlib import Path

import click

from orchestrator.cli.options import address_option, debug_option, json_option, pipeline_argument, set_option


@click.command()
@pipeline_argument
@address_option
@click.option("--wait", is_flag=True, help="Follow the log and end with the job's exit code.")
@set_option
@debug_option
def submit(file: Path, address: str | None, wait: bool, overrides: tuple[str, ...]) -> int:
    """Run FILE as a job on the Ray cluster at --address.

    The nodes need this package, and must reach `storage` and the data.
    """
    from orchestrator import jobs
    from orchestrator.pipeline.load import load_pipeline

    load_pipeline(file, overrides)  # a faulty file is refused before the cluster hears of it
    return jobs.submit(file, address, wait, overrides)


@click.command()
@click.argument("job_id", required=False)
@address_option
@json_option
@debug_option
def status(job_id: str | None, address: str | None, as_json: bool) -> int:
    """Show the state of job JOB_ID, or of all jobs."""
    from orchestrator import jobs

    return jobs.status(job_id, address, as_json)


@click.command()
@click.argument("job_id")
@address_option
@click.option("-f", "--follow", is_flag=True, help="Go on until the job ends.")
@debug_option
def logs(job_id: str, address: str | None, follow: bool) -> int:
    """Print what job JOB_ID has written."""
    from orchestrator import jobs

    return jobs.logs(job_id, address, follow)


@click.command()
@click.argument("job_id")
@address_option
@debug_option
def stop(job_id: str, address: str | None) -> int:
    """Stop job JOB_ID; it writes a checkpoint first and can be resumed."""
    from orchestrator import jobs

    return jobs.stop(job_id, address)
