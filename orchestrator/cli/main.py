"""The entry of the command line: the list of commands, and the one place where errors become words and exit codes."""

import sys
from collections.abc import Sequence

import click

from foundation.errors import OrchestratorError
from orchestrator.cli.failure import (
    INTERRUPTED,
    State,
    escape_what_cannot_be_shown,
    report_own,
    report_unexpected,
    report_usage,
)
from orchestrator.cli.lazy import LazyCommand, LazyGroup

SECTIONS = {
    "Pipelines": {
        "init": LazyCommand("orchestrator.cli.init:init", "Write a commented pipeline file to start from."),
        "validate": LazyCommand(
            "orchestrator.cli.pipeline:validate", "Check a pipeline file; report all errors at once."
        ),
        "plan": LazyCommand("orchestrator.cli.pipeline:plan", "Say which stages would run, and why."),
        "run": LazyCommand("orchestrator.cli.run:run", "Run a pipeline; skip what is done."),
        "resume": LazyCommand("orchestrator.cli.run:resume", "Carry on a run that was interrupted."),
        "tune": LazyCommand("orchestrator.cli.tune:tune", "Look at a hyperparameter search, or steer one that runs."),
        "schema": LazyCommand("orchestrator.cli.pipeline:schema", "Print the JSON schema of the pipeline file."),
    },
    "Cluster": {
        "submit": LazyCommand("orchestrator.cli.jobs:submit", "Run a pipeline on a Ray cluster."),
        "status": LazyCommand("orchestrator.cli.jobs:status", "Show how submitted jobs are doing."),
        "logs": LazyCommand("orchestrator.cli.jobs:logs", "Print the log of a submitted job."),
        "stop": LazyCommand("orchestrator.cli.jobs:stop", "Stop a submitted job."),
    },
    "Data and models": {
        "data": LazyCommand("orchestrator.cli.data:data", "Check, count, look at, convert and split data sets."),
        "zoo": LazyCommand("orchestrator.cli.models:zoo", "List the models that can be trained."),
        "profile": LazyCommand("orchestrator.cli.profile:profile", "Say what a backbone costs and sees."),
        "models": LazyCommand("orchestrator.cli.models:models", "List and show registered models."),
        "ui": LazyCommand("orchestrator.cli.models:ui", "Open MLflow's user interface on the right store."),
    },
    "Machine": {
        "doctor": LazyCommand("orchestrator.cli.doctor:doctor", "Check this machine and what is installed."),
    },
}


def _print_version(ctx: click.Context, _: click.Parameter, is_wanted: bool) -> None:
    if is_wanted and not ctx.resilient_parsing:
        from importlib.metadata import version

        click.echo(f"orchestrator {version('orchestrator-vision')}")
        ctx.exit()


@click.group(cls=LazyGroup, sections=SECTIONS, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_print_version, help="Print the version."
)
@click.pass_obj
def root(state: State, debug: bool) -> None:
    """Train, evaluate and register computer-vision models from one YAML file, on one machine or a Ray cluster."""
    state.is_debug |= debug


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; no exception leaves this function."""
    state = State()
    escape_what_cannot_be_shown()
    try:
        result = root.main(args=args, prog_name="orchestrator", standalone_mode=False, obj=state)
    except click.ClickException as error:
        return report_usage(error)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except OrchestratorError as error:
        return report_own(error, state)
    except Exception as error:
        return report_unexpected(error, state)
    return result if isinstance(result, int) else 0


if __name__ == "__main__":
    sys.exit(main())
