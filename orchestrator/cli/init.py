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
from orchestrator.pipeline.schema import SCHEMA_FILE, json_schema
from orchestrator.pipeline.settings import MAX_NAME

PIPELINE_FILE = "pipeline.yaml"
FORMATS = ("scenes", "voc", "coco", "yolo")

TEMPLATE = """\
# yaml-language-server: $schema={schema}
# Check it with `orchestrator validate {file}`, see what would run with `orchestrator plan {file}`,
# run it with `orchestrator run {file}`. Paths are relative to this file; ${{env:NAME}} is filled in.
name: {name}
seed: 0

data:
  {data_name}:
{data}
stages:
  detector:
    kind: train
    task: {task}
    data: {data_name}
    train_split: train
    val_split: val                     # null = no evaluation during training
    model: {{name: yolo, size: nano}}    # `orchestrator zoo` lists all
    image_size: [320, 320]             # height, width that the model sees
    augment:
      preset: default                  # none, default or strong
      # transforms: [{{HorizontalFlip: {{p: 0.5}}}}]    # albumentations' own names and arguments
    loop:
      epochs: 30
      batch_size: 16                   # images per step over ALL workers
      optimizer: {{name: adamw, lr: 1.0e-3, weight_decay: 0.01}}
      schedule: {{name: cosine, warmup_epochs: 1.0}}
      precision: auto                  # bf16 where the hardware has it, else fp32
      ema: 0.998                       # average of the weights; it is what is evaluated and kept
      # early_stop: {{metric: map_50, patience: 8}}
    resources: {{num_workers: 1, use_gpu: auto}}    # 0 = in this process, without Ray
    # failure: {{max_failures: 3, hang_timeout_s: 300}}
    # checkpoint: {{every_steps: 200, num_to_keep: 2}}

  test:
    kind: evaluate
    model: "stage:detector"
    data: {data_name}
    split: test

  register:
    kind: register
    model: "stage:detector"
    name: {name}-detector
    alias: champion                    # load it as models:/{name}-detector@champion
    gate:                              # each must agree, otherwise nothing is registered
      - {{metric: test.map, vs: champion, max_drop: 0.005}}
      # - {{metric: test.map_50, min: 0.5}}

storage: runs                          # results, checkpoints and the MLflow database
# tracking: {{uri: "http://localhost:5000", experiment: {name}}}
"""

_DATA_LINES = {
    "scenes": """\
    format: scenes                     # made on first use, no download: digits over photographs
    num_images: 400""",
    "voc": """\
    format: voc                        # Annotations/*.xml, JPEGImages/, ImageSets/Main/SPLIT.txt
    root: {root}""",
    "coco": """\
    format: coco                       # annotations/instances_SPLIT.json and SPLIT/; or `splits` with files by name
    root: {root}""",
    "yolo": """\
    format: yolo                       # images/SPLIT/, labels/SPLIT/*.txt, or a data.yaml
    root: {root}""",
}
_DATA_TAIL = """\
    {classes}
    on_error: refuse                   # a broken image or box: refuse, or quarantine (leave out and count)
"""


@click.command()
@click.argument("folder", type=FILE_PATH, default=".", metavar="[DIR]")
@click.option(
    "--task", type=click.Choice(sorted(TASKS)), default="detection", show_default=True, help="The vision problem."
)
@click.option(
    "--format", "data_format", type=click.Choice(FORMATS), help="Format of the data; default: seen from --data."
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
    chosen = _format(data_format, data_path)
    if classes and chosen == "scenes":
        raise ConfigError("--classes is for data of your own (--data); the embedded scenes always show the ten digits.")
    name = _name(folder)
    text = TEMPLATE.format(
        schema=SCHEMA_FILE,
        file=shlex.quote(str(file)),
        name=name,
        task=task,
        data_name=name,
        data=_data_text(chosen, data_path, classes),
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        (folder / SCHEMA_FILE).write_text(json.dumps(json_schema(), indent=2) + "\n")
    except OSError as error:
        raise ConfigError(f"{file} cannot be written ({error.strerror}); name a folder that you may write.") from error
    click.echo(f"wrote {file} and {folder / SCHEMA_FILE}\nnext: orchestrator run {shlex.quote(str(file))}")
    return 0


def _format(given: str | None, data: Path | None) -> str:
    """Return the format of the data folder: as given, or as its folders show."""
    if data is None:
        if given not in (None, "scenes"):
            raise ConfigError(f"--format {given} needs --data with the folder of the data.")
        return "scenes"
    if given == "scenes":
        raise ConfigError("--format scenes makes its own data; leave --data out, or give the format of your data.")
    if not data.is_dir():
        raise ConfigError(f"--data {data}: there is no such folder.")
    if given:
        return given
    if (data / "Annotations").is_dir():
        return "voc"
    if (data / "labels").is_dir() or (data / "data.yaml").is_file():
        return "yolo"
    if any((data / "annotations").glob("*.json")):
        return "coco"
    raise ConfigError(f"--data {data}: neither Annotations/, labels/ nor annotations/*.json is there; say --format.")


def _name(folder: Path) -> str:
    """Return the folder's name with only what a pipeline's name may hold; accents are dropped."""
    plain = unicodedata.normalize("NFKD", folder.resolve().name).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9_-]+", "-", plain).strip("-")[:MAX_NAME] or "pipeline"


def _data_text(data_format: str, data: Path | None, classes: str | None) -> str:
    names = [name.strip() for name in classes.split(",")] if classes else []
    class_line = (
        f"classes: {json.dumps(names, ensure_ascii=False)}" if names else "# classes: [a, b]    # default: as annotated"
    )
    lines = _DATA_LINES[data_format]
    if data is not None:
        lines = lines.format(root=json.dumps(str(data.resolve()), ensure_ascii=False))
    return f"{lines}\n{_DATA_TAIL.format(classes=class_line)}"
