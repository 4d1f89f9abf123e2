"""`tune`: look at a search, and steer it while it runs; and the learning-rate range test."""

import json
from pathlib import Path
from typing import Any

import click

from foundation.errors import ConfigError, UserError
from orchestrator.cli.lazy import LazyCommand, LazyGroup
from orchestrator.cli.options import FILE_PATH, debug_option, json_option, print_json, set_option

SECTIONS = {
    "Look": {"show": LazyCommand("orchestrator.cli.tune:show", "Show the trials of a search, the best first.")},
    "Steer a search that runs": {
        "add": LazyCommand("orchestrator.cli.tune:add", "Add a trial with values of your own."),
        "pause": LazyCommand("orchestrator.cli.tune:pause", "Let a trial write a checkpoint and rest."),
        "stop": LazyCommand("orchestrator.cli.tune:stop", "End a trial, or the whole search, as it stands."),
        "continue": LazyCommand(
            "orchestrator.cli.tune:resume_trial", "Let a trial go on, with other values if you like."
        ),
    },
}
RETRIED = ("resources.", "failure.")
"""Keys that no trial is better by, but with which a failed one may succeed."""
search_argument = click.argument("search", metavar="SEARCH")
trial_argument = click.argument("trial", type=click.IntRange(min=1))
value_option = click.option(
    "--set", "values", multiple=True, metavar="KEY=VALUE", help="A key of the base, e.g. loop.optimizer.lr=1e-3."
)


@click.group(cls=LazyGroup, sections=SECTIONS, invoke_without_command=True)
@click.option(
    "--lr-find", "file", type=FILE_PATH, metavar="FILE", help="Learning-rate range test of a train stage of FILE."
)
@click.option("--stage", metavar="NAME", help="With --lr-find: which train stage or search; default: the only one.")
@click.option(
    "--steps", type=click.IntRange(min=20), default=120, show_default=True, help="With --lr-find: how many steps."
)
@set_option
@json_option
@debug_option
@click.pass_context
def tune(
    ctx: click.Context,
    file: Path | None,
    stage: str | None,
    steps: int,
    overrides: tuple[str, ...],
    as_json: bool,
) -> int:
    """Look at a search (a stage of kind `tune`), and steer it from another terminal while it runs.

    SEARCH is the stage's name, PIPELINE/STAGE, or its folder of results; names are looked up below ./runs and
    ./pipelines/runs. `orchestrator run` starts and `orchestrator resume` continues a search.
    """
    if ctx.invoked_subcommand is not None:
        return 0
    if file is None:
        click.echo(ctx.get_help())
        return 0
    return _find_lr(file, stage, steps, overrides, as_json)


@click.command()
@search_argument
@json_option
@debug_option
def show(search: str, as_json: bool) -> int:
    """Show the trials of SEARCH: those that ended, the best first, then those that run or wait."""
    from orchestrator.text_table import terminal_width
    from orchestrator.tune.goals import goals_of
    from orchestrator.tune.table import headline, table, to_json

    folder, record = _found(search)
    settings, trials = _settings(folder), _trials(folder)
    goals = goals_of(settings, settings.task)
    if as_json:
        print_json({"folder": folder, "status": record["status"]} | to_json(record["parts"]["stage"], trials, goals))
        return 0
    click.echo(f"{record['name']}: {record['status']}  {headline(settings, trials, goals, settings.base.loop.epochs)}")
    if trials:
        click.echo(table(trials.values(), goals, settings.base.loop.epochs, terminal_width()))
    return 0


@click.command()
@search_argument
@value_option
@debug_option
def add(search: str, values: tuple[str, ...]) -> int:
    """Add a trial to SEARCH: the base with the values given by --set."""
    if not values:
        raise ConfigError("a trial needs values; give them as --set KEY=VALUE, such as --set loop.optimizer.lr=1e-3.")
    return _ask(search, "add", None, values)


@click.command()
@search_argument
@trial_argument
@debug_option
def pause(search: str, trial: int) -> int:
    """Let a trial of SEARCH write a checkpoint and rest, until `tune continue`."""
    return _ask(search, "pause", trial)


@click.command()
@search_argument
@click.argument("trial", type=click.IntRange(min=1), required=False)
@debug_option
def stop(search: str, trial: int | None) -> int:
    """End a trial of SEARCH as it stands; without TRIAL end the search with the trials there are."""
    return _ask(search, "stop", trial)


@click.command(name="continue")
@search_argument
@trial_argument
@value_option
@debug_option
def resume_trial(search: str, trial: int, values: tuple[str, ...]) -> int:
    """Let a trial of SEARCH that was paused, stopped, pruned or failed go on from its last checkpoint.

    --set changes values, also of keys that are not searched, such as resources.num_workers or loop.micro_batch. Of a
    search that was interrupted or failed, `orchestrator resume` does it. A trial with other resources runs alone.
    """
    return _ask(search, "continue", trial, values)


def _ask(search: str, action: str, trial: int | None, values: tuple[str, ...] = ()) -> int:
    from orchestrator.tune.requests import Request, send
    from orchestrator.tune.settings import POPULATIONS

    folder, record = _found(search)
    is_driven = record["status"] == "running" and _is_driven(folder)
    if not is_driven and (action != "continue" or record["status"] == "done"):
        raise UserError(
            f"{search} does not run now (it is {record['status']}); `orchestrator resume` continues a search that was "
            "interrupted, and `--fresh` or another `num_samples` starts one that is done anew."
        )
    settings = _settings(folder)
    given = _checked(settings, _parsed(values), action)
    if action != "stop" and settings.search.name in POPULATIONS:
        done = {"add": "added", "pause": "paused", "continue": "continued"}[action]
        raise UserError(
            f"the trials of `search: {settings.search.name}` begin together and exchange their weights as they go on; "
            f"none can be {done}. `orchestrator tune stop {search}` ends the search, and Ctrl-C rests it as a whole."
        )
    if trial is not None and trial not in _trials(folder):
        raise UserError(f"{search} has no trial {trial}; `orchestrator tune show {search}` lists those there are.")
    searched = {key: value for key, value in given.items() if action == "add" or key in settings.space}
    others = {key: value for key, value in given.items() if key not in searched}
    send(folder, Request(action, trial, searched, others))
    click.echo(
        f"asked {record['name']} to {action} {f'trial {trial}' if trial else 'a trial' if action == 'add' else 'it'}"
        + ("" if is_driven else "; `orchestrator resume` does it")
    )
    return 0


def _parsed(texts: tuple[str, ...]) -> dict[str, Any]:
    from orchestrator.pipeline.source import parse

    values = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not all(key.split(".")):
            raise ConfigError(f"--set {text}: expected KEY=VALUE, such as loop.optimizer.lr=1e-3.")
        values[key] = parse(value, f"--set {text}").data
    return values


def _checked(settings: Any, values: dict[str, Any], action: str) -> dict[str, Any]:
    """Refuse values that no trial could be made with; resources are for one that is tried again."""
    from orchestrator.pipeline.tune_checks import fixed_fault, value_faults

    base = settings.base.model_dump(mode="json", exclude_unset=True)
    asked = [key for key in values if not (action == "continue" and key.startswith(RETRIED))]
    faults = [fault for fault in map(fixed_fault, asked) if fault]
    faults = faults or ([message for _, message in value_faults((), values, base)] if values else [])
    if faults:
        raise ConfigError("; ".join(faults) + ".")
    return values


def _found(search: str) -> tuple[Path, dict[str, Any]]:
    """Return the newest folder of results of a search, and its record."""
    from orchestrator.cli.options import DEFAULT_STORAGE
    from orchestrator.execution.folders import STAGE_FILE
    from orchestrator.tune.ledger import SETTINGS_FILE

    place = Path(search)
    if place.is_dir():
        candidates = [*place.glob(STAGE_FILE), *place.glob(f"*/{STAGE_FILE}"), *place.glob(f"*/*/{STAGE_FILE}")]
    else:
        name = search if "/" in search else f"*/{search}"
        candidates = [path for root in DEFAULT_STORAGE for path in Path(root).glob(f"{name}/*/{STAGE_FILE}")]
    records = [(path.parent, json.loads(path.read_text())) for path in candidates]
    searches = [item for item in records if item[1]["kind"] == "tune" and (item[0] / SETTINGS_FILE).exists()]
    if not searches:
        looked = "below ./runs and ./pipelines/runs" if not place.is_dir() else "in that folder"
        raise UserError(
            f"there is no search {search!r} {looked}; give the stage's name, PIPELINE/STAGE, or its folder of results."
        )
    return max(searches, key=lambda item: item[1]["started"])


def _settings(folder: Path) -> Any:
    """The stage as it was written when it was run last."""
    from orchestrator.pipeline.settings import TuneStage
    from orchestrator.tune.ledger import SETTINGS_FILE

    return TuneStage.model_validate(json.loads((folder / SETTINGS_FILE).read_text()))


def _trials(folder: Path) -> Any:
    from orchestrator.tune.ledger import read_trials

    return read_trials(folder)


def _is_driven(folder: Path) -> bool:
    """Whether a living process holds the pipeline's folder."""
    import fcntl

    from orchestrator.execution.lock import LOCK_FILE

    path = folder.parents[1] / LOCK_FILE
    if not path.exists():
        return False
    with path.open("a") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _find_lr(file: Path, stage: str | None, steps: int, overrides: tuple[str, ...], as_json: bool) -> int:
    from engine.threads import apply_thread_environment, usable_cpus
    from orchestrator.pipeline.load import load_pipeline

    apply_thread_environment(usable_cpus())
    loaded = load_pipeline(file, overrides)
    from orchestrator.tune.lr_find import chosen_stage, find_lr

    name, settings = chosen_stage(loaded, stage)
    found = find_lr(loaded, name, settings, steps)
    if as_json:
        print_json(found.to_json())
        return 0
    click.echo(
        f"{name}: the loss begins to fall at lr {found.begin:.2g}, falls fastest at {found.steepest:.2g}, "
        f"and is least at {found.lowest:.2g}"
    )
    click.echo(
        f"try loop.optimizer.lr {found.suggested:.2g}, or search it between {found.lower:.1g} and {found.lowest:.1g}"
    )
    click.echo(f"picture: {found.picture}")
    return 0
