"""`zoo`, `models ls|show` and `ui`: the models that can be trained, and those that were registered."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import click

from engine.catalog import TASKS, load
from orchestrator.cli.options import debug_option, json_option, print_json, store_options, tracking_store
from orchestrator.headline import NOT_DEFINED, UNDEFINED
from orchestrator.text_table import outline, table_of

ZOO_COLUMNS = ("task", "name", "parameters", "weights")
BACKBONE_COLUMNS = ("name", "family", "source", "parameters", "input size", "pyramid", "small stem")
BACKBONES = "backbones"
NONE_REGISTERED = (
    "no model is registered here yet; a `register` stage does that "
    "(another place: --pipeline, --storage or --tracking-uri)"
)


@click.command()
@click.argument("what", required=False, type=click.Choice([*TASKS, BACKBONES]), metavar="[TASK | backbones]")
@json_option
@debug_option
def zoo(what: str | None, as_json: bool) -> int:
    """List the models that each task offers, or the backbones, with their millions of parameters by size.

    --json tells more: exact numbers of parameters, the backbones that fit, and the papers.
    """
    if what == BACKBONES:
        return _list_backbones(as_json)
    tasks = [what] if what else list(TASKS)
    rows = [{"task": task, **model} for task in tasks for model in load(TASKS[task].zoo)()]
    if as_json:
        print_json(rows)
    else:
        columns = ZOO_COLUMNS if len(tasks) > 1 else ZOO_COLUMNS[1:]
        click.echo(table_of([{**row, "parameters": _millions(row["parameters"])} for row in rows], columns))
    return 0


def _list_backbones(as_json: bool) -> int:
    from vision.backbones.zoo import list_backbones

    rows = list_backbones()
    if as_json:
        print_json(rows)
    else:
        shown = [
            {
                **row,
                "parameters": None if row["parameters"] is None else f"{row['parameters'] / 1e6:.2f}M",
                "input size": row["input_size"] and "x".join(map(str, row["input_size"])),
                "pyramid": "yes" if row["pyramid"] is True else "",
                "small stem": "yes" if row["small_stem"] else "",
            }
            for row in rows
        ]
        click.echo(table_of(shown, BACKBONE_COLUMNS))
    return 0


@click.group()
def models() -> None:
    """List and show registered models."""


@models.command(short_help="List all versions of all registered models.")
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
        click.echo(table_of([{**row, "created": _moment(row["created"])} for row in rows]) if rows else NONE_REGISTERED)
    return 0


@models.command(short_help="Show one version: its metrics, lineage and tags.")
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
        click.echo(outline({**model, "metrics": _readable(model["metrics"])}))
    return 0


@click.command()
@store_options
@click.option("--port", default=5000, show_default=True, type=click.IntRange(1, 65535), help="Port to listen on.")
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


def _readable(metrics: Mapping[str, float]) -> dict[str, float | str]:
    """Put the metrics of single classes last, and words for those that are undefined."""
    names = sorted(metrics, key=lambda name: "/" in name)
    return {name: NOT_DEFINED if metrics[name] == UNDEFINED else metrics[name] for name in names}


def _millions(parameters: Mapping[str, int]) -> str:
    """Return `nano=1.0M, tiny=2.0M`, without the size where there is but one."""
    shown = {size: f"{count / 1e6:.1f}M" for size, count in parameters.items()}
    return ", ".join(shown.values() if len(shown) == 1 else (f"{size}={count}" for size, count in shown.items()))


def _moment(timestamp: str) -> str:
    """Return an ISO timestamp as local date and time to the minute."""
    return f"{datetime.fromisoformat(timestamp).astimezone():%Y-%m-%d %H:%M}"
