"""Options and arguments that several commands share."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from foundation.errors import ConfigError
from orchestrator.cli.failure import State

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

DEFAULT_STORAGE = ("runs", "pipelines/runs")
"""Where results are looked for when no place is given, below the current folder."""

FILE_PATH = click.Path(path_type=Path)


def _switch_debug(ctx: click.Context, _: click.Parameter, is_debug: bool) -> None:
    if is_debug:
        ctx.ensure_object(State).is_debug = True


pipeline_argument: Decorator = click.argument("file", type=FILE_PATH)
set_option: Decorator = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key, e.g. stages.detector.loop.epochs=3."
)
json_option: Decorator = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
plain_option: Decorator = click.option("--plain", is_flag=True, help="Print plain lines instead of a progress display.")
debug_option: Decorator = click.option(
    "--debug", is_flag=True, expose_value=False, callback=_switch_debug, help="Show the traceback of an error."
)
address_option: Decorator = click.option(
    "--address",
    help="Address of the cluster's dashboard, http://HOST:8265; default: RAY_DASHBOARD_URL or this machine.",
)


def store_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the three ways to say which store is meant."""
    decorators: tuple[Decorator, ...] = (
        click.option("--storage", type=FILE_PATH, help="Folder of results; default: ./runs or ./pipelines/runs."),
        click.option("--tracking-uri", help="Address of an MLflow server or database, instead of a folder."),
        click.option("--pipeline", "file", type=FILE_PATH, help="Pipeline file whose store is meant."),
    )
    for decorator in reversed(decorators):
        command = decorator(command)
    return command


def tracking_store(storage: Path | None, uri: str | None, file: Path | None) -> str:
    """Return the tracking URI that the store options mean.

    Raises:
        ConfigError: if more than one is given, or there is no store.
    """
    from orchestrator.pipeline.load import load_pipeline
    from orchestrator.tracking.location import DATABASE_FILE, tracking_uri

    if sum(choice is not None for choice in (storage, uri, file)) > 1:
        raise ConfigError("give only one of --storage, --tracking-uri and --pipeline; they name the same thing.")
    if file:
        pipeline = load_pipeline(file).pipeline
        return tracking_uri(pipeline.storage, pipeline.tracking.uri)
    if uri:
        return tracking_uri(Path(), uri)
    places = [storage] if storage else [Path(folder) for folder in DEFAULT_STORAGE]
    folders = [place for place in places if place.is_dir()]
    found = next((place for place in folders if (place / DATABASE_FILE).is_file()), folders[0] if folders else None)
    if found is None:
        looked = " or ".join(str(place) for place in places)
        raise ConfigError(f"there is no folder {looked}; run a pipeline first, or give --storage or --tracking-uri.")
    return tracking_uri(found, None)


def print_json(value: Any) -> None:
    """Print plain data as JSON; paths become text, numbers that JSON has no word for become null."""
    click.echo(json.dumps(_jsonable(value), indent=2, default=str, allow_nan=False))


def _jsonable(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _jsonable(inner) for key, inner in value.items()}
    return [_jsonable(inner) for inner in value] if isinstance(value, list | tuple) else value
