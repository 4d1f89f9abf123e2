"""The list of classifiers that `orchestrator zoo backbones` shows."""

from typing import Any

import torchvision

from vision.backbones.zoo_table import FAMILIES, IMAGENET_SIDE, Family


def list_backbones() -> list[dict[str, Any]]:
    """Describe every classifier we vouch for, family by family; JSON-able.

    Returns:
        One dictionary each: `name`, `family`, `source` (own, torchvision or timm), `parameters` (of the published
        network with `num_classes`, without the `auxiliary_parameters` that only training uses), `input_size`
        [height, width] in pixels, `papers`, `weights` (URIs; empty = from scratch only), `pyramid` (True, or the
        reason why it cannot be a detector's backbone), `small_stem`. The last stands for all the others of timm:
        its name is `timm:NAME`, and what differs from one to the next is None.
    """
    rows = [_row(family, name) for family in FAMILIES for name in family.parameters]
    return [*rows, _any_of_timm()]


def _row(family: Family, name: str) -> dict[str, Any]:
    side = family.sides.get(name, IMAGENET_SIDE)
    return {
        "name": name,
        "family": family.name,
        "source": family.source,
        "parameters": family.parameters[name],
        "auxiliary_parameters": family.auxiliary.get(name, 0),
        "num_classes": family.num_classes,
        "input_size": [side, side],
        "papers": list(family.papers),
        "weights": WEIGHTS[family.source](name),
        "pyramid": family.no_pyramid or True,
        "small_stem": family.has_small_stem,
    }


def _any_of_timm() -> dict[str, Any]:
    return {
        "name": "timm:NAME",
        "family": "any other network of timm",
        "source": "timm",
        "parameters": None,
        "auxiliary_parameters": None,
        "num_classes": None,
        "input_size": None,
        "papers": ["Wightman 2019, https://github.com/huggingface/pytorch-image-models"],
        "weights": ["timm:TAG"],
        "pyramid": None,
        "small_stem": None,
    }


def _torchvision_weights(name: str) -> list[str]:
    return [f"torchvision:{tag}" for tag in torchvision.models.get_model_weights(name).__members__ if tag != "DEFAULT"]


def _timm_weights(name: str) -> list[str]:
    # Here, because importing timm takes seconds that nobody else should wait.
    import timm

    return [f"timm:{full.partition('.')[2]}" for full in timm.list_pretrained(f"{name}.*")]


WEIGHTS = {"own": lambda _: [], "torchvision": _torchvision_weights, "timm": _timm_weights}
