"""`init`: write a commented pipeline file to start from, and the schema that lets an editor complete its keys."""

import json
import re
import shlex
import unicodedata
from pathlib import Path

import click

from engine.catalog import TASKS
from foundation.errors import ConfigError
from orchestrator.cli.options import FILE_PATH, debug_option
from orchestrator.cli.templates import DATA_LINES, DATA_TAIL, HEAD, STAGES
from orchestrator.pipeline.schema import SCHEMA_FILE, json_schema
from orchestrator.pipeline.settings import MAX_NAME

PIPELINE_FILE = "pipeline.yaml"
GENERATED = ("scenes", "digits")
"""Formats that make their own data."""
NO_BOXES = ("imagefolder", "digits")
"""Formats for classification only."""


@click.command()
@click.argument("folder", type=FILE_PATH, default=".", metavar="[DIR]")
@click.option(
    "--task", type=click.Choice(sorted(TASKS)), default="detection", show_default=True, help="The vision problem."
)
@click.option(
    "--format",
    "data_format",
    type=click.Choice(list(DATA_LINES)),
    help="Format of the data; default: seen from --data.",
)
@click.option(
    "--data", "data_path", type=FILE_PATH, help="Folder of the data; without it the embedded scenes are used."
)
@click.option("--classes", help="Class names in label order, separated by commas; default: those of the annotations.")
@debug_option
def init(folder: Path, task: str, data_format: str | None, data_path: Path | None, classes: str | None) -> int:
    """Write a commented pipeline file into DIR, and the schema that lets an editor complete its keys.

    An existing pipeline file is never overwritten.
    """
    file = folder / PIPELINE_FILE
    if file.exists():
        raise ConfigError(f"{file} exists already and is not overwritten; name another folder, or move it away.")
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file; name the folder that {PIPELINE_FILE} shall be written into.")
    chosen = _format(data_format, data_path, task)
    if classes and chosen in GENERATED:
        raise ConfigError("--classes is for data of your own (--data); the embedded ones always show the ten digits.")
    name = _name(folder)
    shows_digits = chosen in GENERATED
    text = (HEAD + STAGES[task]).format(
        image_size="[48, 48]" if shows_digits else "[128, 128]",
        resize="letterbox" if shows_digits else "crop",
        flip="0.0" if shows_digits else "0.5",
        schema=SCHEMA_FILE,
        file=shlex.quote(str(file)),
        name=name,
        task=task,
        data_name=name,
        data=_data_text(chosen, data_path, classes),
        test_split=_test_split(chosen, data_path),
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        (folder / SCHEMA_FILE).write_text(json.dumps(json_schema(), indent=2) + "\n")
    except OSError as error:
        raise ConfigError(f"{file} cannot be written ({error.strerror}); name a folder that you may write.") from error
    click.echo(f"wrote {file} and {folder / SCHEMA_FILE}\nnext: orchestrator run {shlex.quote(str(file))}")
    return 0


def _format(given: str | None, data: Path | None, task: str) -> str:
    """Return the format of the data folder: as given, or as its folders show."""
    if given in NO_BOXES and task != "classification":
        raise ConfigError(f"--format {given} has no boxes; add --task classification, or take data with boxes.")
    if data is None:
        if given not in (None, *GENERATED):
            raise ConfigError(f"--format {given} needs --data with the folder of the data.")
        return given or "scenes"
    if given in GENERATED:
        raise ConfigError(f"--format {given} makes its own data; leave --data out, or give the format of your data.")
    if not data.is_dir():
        raise ConfigError(f"--data {data}: there is no such folder.")
    return given or _format_of(data, task)


def _format_of(data: Path, task: str) -> str:
    if (data / "Annotations").is_dir():
        return "voc"
    if (data / "labels").is_dir() or (data / "data.yaml").is_file():
        return "yolo"
    if any((data / "annotations").glob("*.json")):
        return "coco"
    if task == "classification" and any(path.is_dir() for path in data.iterdir()):
        return "imagefolder"
    raise ConfigError(f"--data {data}: neither Annotations/, labels/ nor annotations/*.json is there; say --format.")


def _test_split(data_format: str, data: Path | None) -> str:
    """Return the split to test on: a folder of classes often has none of that name, or no splits at all."""
    is_missing = data_format == "imagefolder" and data is not None and not (data / "test").is_dir()
    return "val" if is_missing else "test"


def _name(folder: Path) -> str:
    """Return the folder's name with only what a pipeline's name may hold; accents are dropped."""
    plain = unicodedata.normalize("NFKD", folder.resolve().name).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9_-]+", "-", plain).strip("-")[:MAX_NAME] or "pipeline"


def _data_text(data_format: str, data: Path | None, classes: str | None) -> str:
    names = [name.strip() for name in classes.split(",")] if classes else []
    class_line = (
        f"classes: {json.dumps(names, ensure_ascii=False)}" if names else "# classes: [a, b]    # default: as annotated"
    )
    lines = DATA_LINES[data_format]
    if data is not None:
        root = json.dumps(str(data.resolve()), ensure_ascii=False)
        lines = lines.format(root=root, val_from_train="# " if (data / "val").is_dir() else "")
    return f"{lines}\n{DATA_TAIL.format(classes=class_line)}"
