"""`data convert|split`: write a data set anew, in another format or with other splits."""

from pathlib import Path

import click

from foundation.errors import ConfigError
from orchestrator.cli.data_source import one_data_set
from orchestrator.cli.data_text import converted_text, dealt_text
from orchestrator.cli.options import FILE_PATH, Decorator, debug_option, json_option, print_json, set_option
from orchestrator.pipeline.effect_checks import WITHOUT_BOXES

BOX_FORMATS = ("voc", "coco", "yolo")
FOLDER_FORMATS = (*BOX_FORMATS, "imagefolder")

source_argument: Decorator = click.argument("source", type=FILE_PATH)
data_option: Decorator = click.option("--data", "name", help="Name of the data set in the pipeline file.")
from_option: Decorator = click.option(
    "--from", "format_name", type=click.Choice(FOLDER_FORMATS), help="Format of SOURCE, if it is a folder."
)
out_option: Decorator = click.option("--out", type=FILE_PATH, required=True, help="New folder to write.")


@click.command(short_help="Write a data set as VOC, COCO or YOLO.")
@source_argument
@set_option
@data_option
@from_option
@click.option("--to", type=click.Choice(BOX_FORMATS), required=True, help="Format to write.")
@out_option
@click.option("--copy", "is_copied", is_flag=True, help="Copy the images; otherwise they are linked.")
@json_option
@debug_option
def convert(
    source: Path,
    overrides: tuple[str, ...],
    name: str | None,
    format_name: str | None,
    to: str,
    out: Path,
    is_copied: bool,
    as_json: bool,
) -> int:
    """Write all splits of SOURCE, a pipeline file or the folder of a data set, in another format.

    Boxes are kept exactly, classes in their order; masks are not carried over.
    """
    title, settings, splits = one_data_set(source, overrides, name, format_name)
    if settings.format in WITHOUT_BOXES:
        raise ConfigError(
            f"{title}: a data set of `format: {settings.format}` has no boxes to write as {to}; classification reads "
            "it as it is, and `data split` deals a folder into other splits"
        )
    from vision.formats.convert import convert as write

    written = write(settings, splits, to, out.absolute(), is_copied=is_copied)
    if as_json:
        print_json(written)
    else:
        click.echo(converted_text(title, written))
    return 0


@click.command(short_help="Deal a data set into new splits.")
@source_argument
@set_option
@data_option
@from_option
@click.option("--parts", required=True, metavar="NAME=SHARE,…", help="The splits, such as train=0.8,val=0.1,test=0.1.")
@click.option("--group", metavar="REGEX", help="Images whose names give the same match stay together.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Decides between equals.")
@out_option
@json_option
@debug_option
def split(
    source: Path,
    overrides: tuple[str, ...],
    name: str | None,
    format_name: str | None,
    parts: str,
    group: str | None,
    seed: int,
    out: Path,
    as_json: bool,
) -> int:
    """Deal the images of SOURCE, a pipeline file or the folder of a data set, into new splits, by class.

    The new folder holds lists and links; no image is moved, no annotation changed. With --group, a regular expression
    that is searched in the images' names, images of one patient, place or video stay in one split.
    """
    shares = _shares(parts)
    title, settings, _ = one_data_set(source, overrides, name, format_name)
    from vision.formats.split import split as deal

    dealt = deal(settings, shares, out.absolute(), group=group, seed=seed)
    if as_json:
        print_json(dealt)
    else:
        click.echo(dealt_text(title, dealt))
    return 0


def _shares(text: str) -> dict[str, float]:
    """Read `train=0.8,val=0.2`."""
    shares: dict[str, float] = {}
    for part in text.split(","):
        name, _, share = part.partition("=")
        try:
            value = float(share)
        except ValueError:
            value = float("nan")
        name = name.strip()
        if not name.replace("-", "").replace("_", "").isalnum() or name in shares or value != value:
            raise ConfigError(f"--parts {text}: expected names with shares, each name once, such as train=0.8,val=0.2")
        shares[name] = value
    return shares
