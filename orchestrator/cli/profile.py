"""`profile`: what a network costs and sees, before anybody trains it."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from foundation.errors import ConfigError
from orchestrator.cli.options import FILE_PATH, debug_option, json_option, print_json
from orchestrator.cli.profile_text import layers_text, profile_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from vision.profile import Latency

INPUT = re.compile(r"(?:3x)?(\d+)x(\d+)", re.IGNORECASE)
IMAGENET_CLASSES = 1000
PRECISIONS = ("fp32", "auto", "bf16", "fp16")


def _image_size(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, int] | None:
    if value is None:
        return None
    found = INPUT.fullmatch(value.strip())
    if found is None or not int(found[1]) or not int(found[2]):
        raise click.BadParameter(f"{value!r} is no image size; expected 3xHEIGHTxWIDTH, e.g. 3x224x224.", ctx, param)
    return int(found[1]), int(found[2])


@click.command()
@click.argument("name")
@click.option(
    "--input",
    "image_size",
    metavar="3xHxW",
    callback=_image_size,
    help="Size of the images, 3x224x224; default: as published, else 3x224x224.",
)
@click.option(
    "--batch-size", default=1, show_default=True, type=click.IntRange(min=1), help="Images of a step, and of the clock."
)
@click.option("--classes", type=click.IntRange(min=2), help="Outputs of the head; default: as published, else 1000.")
@click.option(
    "--width", default=1.0, show_default=True, type=click.FloatRange(min=0, min_open=True), help="As in YAML."
)
@click.option("--stem", default="auto", show_default=True, type=click.Choice(["auto", "standard", "small"]))
@click.option("--device", default="cpu", show_default=True, help="Where the clock runs: cpu, cuda, cuda:1.")
@click.option("--precision", default="fp32", show_default=True, type=click.Choice(PRECISIONS), help="Of the clock.")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads of the clock; default: PyTorch's.")
@click.option(
    "--repeats", default=20, show_default=True, type=click.IntRange(min=0), help="Runs on the clock; 0 = no clock."
)
@click.option("--layers", "with_layers", is_flag=True, help="Also list every layer.")
@click.option("--picture", type=FILE_PATH, help="PNG file in which to draw the receptive field.")
@json_option
@debug_option
def profile(
    name: str,
    image_size: tuple[int, int] | None,
    batch_size: int,
    classes: int | None,
    width: float,
    stem: str,
    device: str,
    precision: str,
    threads: int | None,
    repeats: int,
    with_layers: bool,
    picture: Path | None,
    as_json: bool,
) -> int:
    """Say what the backbone NAME costs and sees: MACs, memory, receptive field, latency.

    NAME is one of `orchestrator zoo backbones`, a classifier of torchvision, or timm:NAME. All but the latency is
    counted without giving the network memory.
    """
    from vision.backbones.classifiers import build_classifier
    from vision.profile import profile_network

    published_size, published_classes = _as_published(name)
    size = image_size or published_size

    def build() -> "nn.Module":
        return build_classifier(name, classes or published_classes, width=width, stem=stem, image_size=size)

    found = profile_network(build, name=name, image_size=size, batch_size=batch_size)
    if repeats:
        found.latency = _measure(build, size, batch_size, device, precision, threads, repeats)
    if picture:
        from vision.profile.picture import draw_receptive_field

        draw_receptive_field(found, picture)
    if as_json:
        print_json(found.to_json(with_layers))
    else:
        click.echo(profile_text(found) + (f"\n\n{layers_text(found)}" if with_layers else ""))
        if picture:
            click.echo(f"\nwrote {picture}")
    return 0


def _as_published(name: str) -> tuple[tuple[int, int], int]:
    """Return image size and number of classes of a published network; ImageNet's for one that the zoo does not list."""
    from vision.backbones.zoo_table import FAMILIES, IMAGENET_SIDE

    family = next((family for family in FAMILIES if name in family.parameters), None)
    if family is None:
        return (IMAGENET_SIDE, IMAGENET_SIDE), IMAGENET_CLASSES
    side = family.sides.get(name, IMAGENET_SIDE)
    return (side, side), family.num_classes


def _measure(
    build: "Callable[[], nn.Module]",
    image_size: tuple[int, int],
    batch_size: int,
    device_name: str,
    precision: str,
    threads: int | None,
    repeats: int,
) -> "Latency":
    import torch

    from engine.precision import resolve_precision
    from vision.profile import measure_latency

    try:
        device = torch.device(device_name)
    except RuntimeError as error:
        raise ConfigError(f"--device {device_name} is no device; give cpu, cuda or cuda:INDEX.") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"--device {device_name}: this torch sees no GPU. Give --device cpu, or --repeats 0.")
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"--device {device_name} cannot be timed; give cpu, cuda or cuda:INDEX.")
    if precision == "fp16" and device.type == "cpu":
        raise ConfigError("--precision fp16 needs a GPU; give --device cuda, or --precision auto, bf16 or fp32.")
    if threads:
        torch.set_num_threads(threads)
    resolved = resolve_precision(precision, device)
    return measure_latency(
        build().to(device),
        torch.rand(batch_size, 3, *image_size, device=device),
        repeats=repeats,
        precision=resolved.name,
        autocast=resolved.autocast,
    )
