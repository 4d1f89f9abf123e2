"""How an error reaches the user: a paragraph and an exit code; the traceback goes to a file, or to the screen."""

import io
import os
import sys
import traceback
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import click

from foundation.errors import Interrupted, OrchestratorError

INTERRUPTED = 130
UNEXPECTED = 4


@dataclass
class State:
    """What the command line must remember when an error arrives."""

    is_debug: bool = bool(os.environ.get("ORCHESTRATOR_DEBUG"))


def escape_what_cannot_be_shown() -> None:
    """Let a character that the terminal has no code for be written as `\\xNN`, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def report_usage(error: click.ClickException) -> int:
    """Print what is wrong with the command as it was typed, and where its help is."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return error.exit_code
    context = getattr(error, "ctx", None)
    help_text = f" See `{context.command_path} --help`." if context else ""
    message = error.format_message()
    click.echo(f"error: {message}{'' if message.endswith(('.', '?', ')')) else '.'}{help_text}", err=True)
    return error.exit_code


def report_own(error: OrchestratorError, state: State) -> int:
    """Print an error of our own kind and return its exit code."""
    from orchestrator.pipeline.problems import ProblemsFound

    if isinstance(error, ProblemsFound):
        count = len(error.problems)
        click.echo(str(error), err=True)
        click.echo(f"{count} problem{'s' if count != 1 else ''} found; nothing was started.", err=True)
    else:
        click.echo(str(error) if isinstance(error, Interrupted) else f"error: {error}", err=True)
    if state.is_debug:
        click.echo(_trace(error), err=True)
    return error.exit_code


def report_unexpected(error: Exception, state: State) -> int:
    """Print one paragraph about a fault of ours; keep the traceback in a file."""
    if state.is_debug:
        click.echo(_trace(error), err=True)
        return UNEXPECTED
    try:
        place = f"The traceback is in {_write_trace(error)}"
    except OSError as unwritable:
        place = f"The traceback could not be written ({unwritable})"
    first_line = (str(error).strip() or "no message").splitlines()[0]
    click.echo(
        f"error: something unexpected happened ({type(error).__name__}: {first_line}). This is a fault of "
        f"orchestrator, not of your file. {place}; `--debug` shows it here. Please report it with that file.",
        err=True,
    )
    return UNEXPECTED


def _write_trace(error: Exception) -> Path:
    folder = Path(os.environ.get("ORCHESTRATOR_CACHE") or "~/.cache/orchestrator").expanduser() / "crashes"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{datetime.now():%Y%m%d-%H%M%S}-{os.getpid()}.log"
    path.write_text(_trace(error))
    return path


def _trace(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))
