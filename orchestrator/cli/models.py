"""`zoo`, `models ls|show` and `ui`: the models that can be trained, and those that were registered."""

from pathlib import Path

import click

from engine.catalog import TASKS, load
from orchestrator.cli.options import debug_option, json_option, print_json, store_options, tracking_store
from orchestrator.text_table import outline, table_of


@click.command()
@json_option
@debug_option
def zoo(as_json: bool) -> int:
    """List the models that each task offers."""
    rows = [{"task": task, **model} for task, entry in TASKS.items() for model in load(entry.zoo)()]
    if as_json:
        print_json(rows)
    else:
        click.echo(table_of(rows))
    return 0


@click.group()
def models() -> None:
    """List and show registered models."""


@models.command()
@store_options
@json_option
@debug_option
def ls(storage: Path | None, tracking_uri: str | None, file: Path | None, as_json: bool) -> int:
    """List all versions of all registered models."""
    from orchestrator.registry import list_models

    rows = list_models(tracking_store(storage, tracking_uri, file))
    if as_json:
        print_json(rows)
    else:
        click.echo(table_of(rows) if rows else "no model is registered yet; a `register` stage does that")
    return 0


@models.command()
@click.argument("name")
@store_options
@json_option
@debug_option
def show(name: str, storage: Path | None, tracking_uri: str | None, file: Path | None, as_json: bool) -> int:
    """Show one model: NAME, NAME@ALIAS, NAME/VERSION or a whole models:/ address."""
    from orchestrator.registry import show_model

    model = show_model(name, tracking_store(storage, tracking_uri, file))
    if as_json:
        print_json(model)
    else:
        click.echo(outline(model))
    return 0


@click.command()
@store_options
@click.option("--port", default=5000, show_default=True, type=click.IntRange(1, 65535))
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on; others than this are open to the network.",
)
@debug_option
def ui(storage: Path | None, tracking_uri: str | None, file: Path | None, port: int, host: str) -> int:
    """Open MLflow's user interface on the store of a pipeline, until Ctrl-C."""
    from orchestrator.ui import open_ui

    open_ui(tracking_store(storage, tracking_uri, file), port=port, host=host)
    return 0
