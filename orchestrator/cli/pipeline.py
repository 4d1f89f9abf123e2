"""`validate`, `plan` and `schema`: all that looks at a pipeline file without running it."""

import functools
from pathlib import Path

import click

from foundation.errors import ConfigError
from orchestrator.cli.options import debug_option, json_option, pipeline_argument, print_json, set_option
from orchestrator.pipeline.load import LoadedPipeline, load_pipeline
from orchestrator.pipeline.problems import ProblemsFound
from orchestrator.pipeline.schema import json_schema
from orchestrator.text_table import table_of
from orchestrator.tracking.location import tracking_uri


@click.command()
@pipeline_argument
@set_option
@json_option
@debug_option
def validate(file: Path, overrides: tuple[str, ...], as_json: bool) -> int:
    """Check FILE and report all errors at once, each with its line, its key and the nearest known key.

    Exit code 2 if there are any. Nothing is imported that trains; a machine without a GPU or cluster can validate.
    """
    if as_json:
        return _validate_as_json(file, overrides)
    click.echo(_praise(file, load_pipeline(file, overrides)))
    return 0


@click.command()
@pipeline_argument
@set_option
@json_option
@debug_option
def plan(file: Path, overrides: tuple[str, ...], as_json: bool) -> int:
    """Say for each stage of FILE whether it would run, go on or be skipped, and why."""
    loaded = load_pipeline(file, overrides)
    from orchestrator.execution.plan import plan as plan_stages
    from orchestrator.execution.plan import registry_addresses

    resolve = None
    if any(registry_addresses(stage) for stage in loaded.pipeline.stages.values()):
        from orchestrator.registry import resolve_version  # slow: imports MLflow

        store = tracking_uri(loaded.pipeline.storage, loaded.pipeline.tracking.uri)
        resolve = functools.partial(resolve_version, uri=store)
    keys = ("name", "kind", "action", "reason", "folder", "fingerprint")
    stages = [{key: getattr(planned, key) for key in keys} for planned in plan_stages(loaded, resolve_version=resolve)]
    if as_json:
        print_json(stages)
    else:
        click.echo(table_of(stages, keys[:4]))
    return 0


@click.command()
@debug_option
def schema() -> int:
    """Print the JSON schema of the pipeline file.

    `orchestrator schema > orchestrator.schema.json`, and this as a file's first line, make an editor complete its keys:
    `# yaml-language-server: $schema=orchestrator.schema.json`.
    """
    print_json(json_schema())
    return 0


def _validate_as_json(file: Path, overrides: tuple[str, ...]) -> int:
    try:
        loaded = load_pipeline(file, overrides)
    except ProblemsFound as error:
        print_json({"valid": False, "problems": [problem.to_json() for problem in error.problems]})
        return error.exit_code
    except ConfigError as error:
        problem = {"origin": str(file), "line": None, "key": "", "message": str(error)}
        print_json({"valid": False, "problems": [problem]})
        return error.exit_code
    print_json({"valid": True, "problems": [], "order": loaded.order})
    return 0


def _praise(file: Path, loaded: LoadedPipeline) -> str:
    data_sets = ", ".join(f"{name} ({data.format})" for name, data in loaded.pipeline.data.items())
    return f"{file} is valid: stages {' -> '.join(loaded.order)}; data {data_sets or 'none'}"
