"""`run` and `resume`."""

import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from foundation.errors import ConfigError
from orchestrator.cli.options import (
    DEFAULT_STORAGE,
    FILE_PATH,
    debug_option,
    json_option,
    pipeline_argument,
    plain_option,
    print_json,
    set_option,
)
from orchestrator.execution.folders import ORIGIN_VARIABLE
from orchestrator.pipeline.load import LoadedPipeline, load_pipeline
from orchestrator.pipeline.problems import nearest
from orchestrator.terminal import Display
from orchestrator.tracking.location import without_password

if TYPE_CHECKING:
    from orchestrator.conductor import RunSummary

RUN_RECORDS = "*/run.json"
"""Where a storage folder keeps what was run last, one for each pipeline."""


@click.command()
@pipeline_argument
@set_option
@click.option("--fresh", is_flag=True, help="Run every stage again, even where its result is kept.")
@click.option("--only", metavar="STAGE", help="Run this stage and those it needs, and no other.")
@plain_option
@json_option
@debug_option
def run(file: Path, overrides: tuple[str, ...], fresh: bool, only: str | None, plain: bool, as_json: bool) -> int:
    """Run the stages of FILE in the order of their references; a stage whose result is kept is skipped.

    Ctrl-C once stops after a checkpoint; `orchestrator resume` carries on.
    """
    loaded = load_pipeline(file, overrides)
    if only is not None and only not in loaded.order:
        hint = nearest(only, loaded.order) or f"; stages: {', '.join(loaded.order)}"
        raise ConfigError(f"--only {only}: there is no stage {only!r} in {file}{hint}")
    from orchestrator.conductor import RunOptions, run_pipeline

    options = RunOptions(fresh=fresh, only=only)
    store = _store_of(loaded) if _is_placed_elsewhere(overrides) else ("--pipeline", str(file))
    return _show(lambda display: run_pipeline(loaded, options, display), store, plain, as_json)


@click.command()
@click.argument("where", type=FILE_PATH, required=False, metavar="[FILE | FOLDER]")
@plain_option
@json_option
@debug_option
def resume(where: Path | None, plain: bool, as_json: bool) -> int:
    """Carry on the last run of a pipeline file, or of its folder of results, with the overrides it was started with.

    Without an argument the newest run in ./runs or ./pipelines/runs is taken.
    """
    target = where or _newest_run()
    from orchestrator.conductor import resume as resume_run

    store = ("--pipeline", str(target)) if target.is_file() else ("--storage", str(target.parent))
    return _show(lambda display: resume_run(target, display), store, plain, as_json)


def _newest_run() -> Path:
    records = [record for folder in DEFAULT_STORAGE for record in Path(folder).glob(RUN_RECORDS)]
    if not records:
        looked = " or ".join(f"./{folder}" for folder in DEFAULT_STORAGE)
        raise ConfigError(
            f"there is no run in {looked}. Give the pipeline file that was run, or its folder of results."
        )
    return max(records, key=lambda record: record.stat().st_mtime).parent


def _is_placed_elsewhere(overrides: tuple[str, ...]) -> bool:
    """Whether the pipeline's file, if it stays at all, does not say where the results are."""
    return ORIGIN_VARIABLE in os.environ or any(text.startswith(("storage=", "tracking.")) for text in overrides)


def _store_of(loaded: LoadedPipeline) -> tuple[str, str]:
    uri = loaded.pipeline.tracking.uri
    return ("--tracking-uri", without_password(uri)) if uri else ("--storage", str(loaded.pipeline.storage))


def _show(perform: Callable[[Display], "RunSummary"], store: tuple[str, str], plain: bool, as_json: bool) -> int:
    """Run under a display and end with the table, or with JSON alone on standard output.

    Args:
        store: option of `orchestrator ui`, and its value.
    """
    with Display(plain=plain or as_json, stream=sys.stderr if as_json else sys.stdout) as display:
        summary = perform(display)
        if not as_json:
            look = f"orchestrator ui {shlex.join(store)}"
            display.summary(summary.table(), summary.registrations(), summary.pictures, look)
    if as_json:
        print_json(summary.to_json())
    return 0
