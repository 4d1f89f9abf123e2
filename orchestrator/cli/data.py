"""`data check|stats|preview|preset`: look at the data sets of a pipeline file before anything is trained on them.

`data convert|split` are in `data_convert.py`.
"""

from pathlib import Path

import click
import yaml

from foundation.errors import ConfigError
from orchestrator.cli.data_convert import convert, split
from orchestrator.cli.data_source import data_sets
from orchestrator.cli.data_text import kinds_table, stats_text, verdict
from orchestrator.cli.options import (
    FILE_PATH,
    Decorator,
    debug_option,
    json_option,
    pipeline_argument,
    print_json,
    set_option,
)
from orchestrator.pipeline.load import LoadedPipeline, load_pipeline
from orchestrator.pipeline.settings import TrainStage

data_option: Decorator = click.option("--data", "name", help="Name of one data set; default: all.")
split_option: Decorator = click.option("--split", help="Name of one split; default: all.")

FAULTS_FOUND = 2
PRESET_TABLES = {
    "classification": "vision.augment.classify.presets:PRESETS",
    "detection": "vision.augment.presets:PRESETS",
}


@click.group()
def data() -> None:
    """Check, count, look at, convert and split data sets."""


data.add_command(convert)
data.add_command(split)


@data.command(short_help="List every fault, with its path.")
@pipeline_argument
@set_option
@data_option
@split_option
@json_option
@debug_option
def check(file: Path, overrides: tuple[str, ...], name: str | None, split: str | None, as_json: bool) -> int:
    """Read every annotation and decode every image of FILE's data sets, and list each fault with its path.

    Exit code 2 if there are faults that training would refuse.
    """
    from vision.formats.check import check as find_faults

    loaded = load_pipeline(file, overrides)
    found = [
        {"data": title, **{key: getattr(fault, key) for key in ("kind", "path", "message", "name", "is_fatal")}}
        for title, settings, splits in data_sets(loaded, name, split)
        for fault in find_faults(settings, splits)
    ]
    fatal = [loaded.pipeline.data[fault["data"]].on_error for fault in found if fault["is_fatal"]]
    num_refused = fatal.count("refuse")
    if as_json:
        print_json(found)
    else:
        for fault in found:
            click.echo(f"{fault['data']}: {fault['kind']}: {fault['path']}: {fault['message']}")
        if found:
            click.echo("\n" + kinds_table(found) + "\n")
        click.echo(verdict(len(found), num_refused, len(fatal) - num_refused))
    return FAULTS_FOUND if num_refused else 0


@data.command(short_help="Count images, objects, classes and sizes.")
@pipeline_argument
@set_option
@data_option
@split_option
@click.option("--pictures", type=FILE_PATH, help="Folder to draw the counts into, as PNG pictures.")
@json_option
@debug_option
def stats(
    file: Path, overrides: tuple[str, ...], name: str | None, split: str | None, pictures: Path | None, as_json: bool
) -> int:
    """Count images, objects, classes and sizes of FILE's data sets."""
    from vision.formats.stats import stats as count

    loaded = load_pipeline(file, overrides)
    chosen = list(data_sets(loaded, name, split))
    counted = {title: count(settings, splits) for title, settings, splits in chosen}
    if pictures is not None:
        from vision.formats.stats_pictures import save_pictures

        for title, settings, splits in chosen:
            save_pictures(settings, splits, pictures, title)
    if as_json:
        print_json(counted)
    else:
        click.echo("\n\n".join(stats_text(title, numbers) for title, numbers in counted.items()))
        if pictures is not None:
            click.echo(f"\nwrote pictures into {pictures}")
    return 0


@data.command(short_help="Draw augmented training samples into one picture.")
@pipeline_argument
@set_option
@click.option("--stage", help="Train stage whose data set, image size and augmentation are shown; default: the first.")
@click.option("--split", help="Name of the split; default: the stage's train split.")
@click.option("--count", default=12, show_default=True, type=click.IntRange(1, 100), help="Number of samples.")
@click.option("--out", type=FILE_PATH, default="preview.png", show_default=True, help="PNG picture to write.")
@debug_option
def preview(file: Path, overrides: tuple[str, ...], stage: str | None, split: str | None, count: int, out: Path) -> int:
    """Draw augmented training samples of FILE with their boxes into one picture."""
    if out.suffix.lower() != ".png":
        raise ConfigError(f"--out {out}: the picture is written as PNG; let its name end in .png")
    loaded = load_pipeline(file, overrides)
    chosen = _train_stage(loaded, stage)
    settings = loaded.pipeline.data[chosen.data]
    from engine.catalog import entry, load
    from vision.drawing import save_png
    from vision.formats.download import ensure_present

    ensure_present(settings)
    draw = load(entry(chosen.task).preview)
    seed = loaded.pipeline.seed
    save_png(out, draw(settings, split or chosen.train_split, chosen.task_settings(), seed=seed, count=count))
    click.echo(f"wrote {out}")
    return 0


@data.command(short_help="Print an augmentation preset as YAML to edit.")
@click.argument("name")
@click.option(
    "--task",
    type=click.Choice(sorted(PRESET_TABLES)),
    default="detection",
    show_default=True,
    help="Whose preset of this name.",
)
@json_option
@debug_option
def preset(name: str, task: str, as_json: bool) -> int:
    """Print every value of the augmentation preset NAME, to be put into a train stage and edited."""
    from engine.catalog import load
    from vision.augment.presets import described, overridden

    of_another = [other for other in PRESET_TABLES if other != task and name in load(PRESET_TABLES[other])]
    if of_another and name not in load(PRESET_TABLES[task]):
        raise ConfigError(f"the augmentation preset {name!r} is one of {of_another[0]}; add --task {of_another[0]}")
    values = {"augment": {"preset": name, **described(overridden(load(PRESET_TABLES[task]), name, None))}}
    if as_json:
        print_json(values)
    else:
        click.echo(yaml.safe_dump(values, sort_keys=False, default_flow_style=None).rstrip())
    return 0


def _train_stage(loaded: LoadedPipeline, name: str | None) -> TrainStage:
    stages = {key: stage for key, stage in loaded.pipeline.stages.items() if isinstance(stage, TrainStage)}
    if not stages or (name is not None and name not in stages):
        known = ", ".join(stages) or "none"
        raise ConfigError(
            f"a preview needs a train stage of {loaded.path}; asked for {name or 'any'}, there are: {known}"
        )
    return stages[name or next(iter(stages))]
