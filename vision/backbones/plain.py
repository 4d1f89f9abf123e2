"""Networks by name as their makers meant them: ours, torchvision's, timm's. Stems for small images are elsewhere."""

import difflib
from collections.abc import Callable, Iterable
from typing import Any

import torchvision
from torch import nn

from foundation.errors import ConfigError
from vision.backbones.auxiliary import TorchvisionGoogLeNet, TorchvisionInceptionV3
from vision.backbones.classics import CLASSICS, MADE_FOR_SIZE
from vision.backbones.resnet_width import no_width, scaled_resnet

TIMM_PREFIX = "timm:"
TIMM_NAMES = (
    *("inception_v4", "inception_resnet_v2", "senet154"),
    *(f"seresnet{depth}" for depth in (18, 34, 50, 101, 152)),
    *("seresnext50_32x4d", "seresnext101_32x4d"),
    *(f"dpn{depth}" for depth in (68, 92, 98, 107, 131)),
    *(f"resnetv2_{depth}" for depth in (18, 34, 50, 101, 152)),
)
"""Known without `timm:` before them, because no other library has them; the resnetv2 are pre-activation ResNets."""
WITH_AUXILIARY: dict[str, Callable[[int], nn.Module]] = {
    "googlenet": TorchvisionGoogLeNet,
    "inception_v3": TorchvisionInceptionV3,
}
SIZED_TORCHVISION = {"vit": "image_size", "maxvit": "input_size"}
"""torchvision's families that are built for one image size, and the argument that names it."""

SMALL_PATCHES = {"vit_": 4, "deit": 4, "swin_": 2}
"""Starts of names of timm's transformers, and the side of their patches on small images, in pixels."""


def plain_classifier(
    name: str,
    num_classes: int = 1000,
    *,
    width: float = 1.0,
    image_size: tuple[int, int] | None = None,
    is_small: bool = False,
) -> nn.Module:
    """Build the network `name`: images (B, 3, H, W) to logits (B, K).

    Args:
        width: multiplier on the channels, torchvision ResNets only.
        image_size: (height, width), for those that are built for one size.
        is_small: prepare those whose first layers are fixed when they are built (`MADE_FOR_SIZE`, transformers) for
            small images.

    Raises:
        ConfigError: if the name is unknown, with the nearest; or if it cannot have this width or size.
    """
    timm_name = timm_name_of(name)
    if width != 1.0 and (timm_name is not None or name in CLASSICS):
        raise no_width(name, width)
    if timm_name is not None:
        return _timm(timm_name, num_classes, image_size, is_small)
    if name in MADE_FOR_SIZE:
        size = {} if image_size is None else {"image_size": image_size}
        return CLASSICS[name](num_classes=num_classes, is_small=is_small, **size)
    if name in CLASSICS:
        return CLASSICS[name](num_classes=num_classes)
    if name not in torchvision_names():
        raise _unknown(name)
    if width != 1.0:
        return scaled_resnet(name, width, num_classes)
    if name in WITH_AUXILIARY:
        return WITH_AUXILIARY[name](num_classes)
    return _torchvision(name, num_classes, None if is_small and name.startswith("vit_") else image_size)


def timm_name_of(name: str) -> str | None:
    """timm's name for `name`, or None where the network is not built by timm."""
    if name.startswith(TIMM_PREFIX):
        return name.removeprefix(TIMM_PREFIX)
    return name if name in TIMM_NAMES else None


def torchvision_names() -> list[str]:
    """torchvision's classifiers."""
    return torchvision.models.list_models(module=torchvision.models)


def check_timm_name(name: str) -> None:
    """Refuse a name that timm does not know, weights' tag after a dot left aside.

    Raises:
        ConfigError: with the nearest names.
    """
    # Here, because importing timm takes seconds that nobody else should wait.
    import timm

    architecture = name.partition(".")[0]
    if not timm.is_model(architecture):
        raise ConfigError(
            f"unknown backbone 'timm:{name}'; nearest timm models: {_nearest(architecture, timm.list_models())}. "
            "Correct the name."
        )


def small_patch(name: str) -> int | None:
    """Side of the patches that timm's transformer `name` cuts small images into; None for other networks."""
    return next((side for start, side in SMALL_PATCHES.items() if name.startswith(start)), None)


def _timm(name: str, num_classes: int, image_size: tuple[int, int] | None, is_small: bool) -> nn.Module:
    import timm

    check_timm_name(name)
    architecture = name.partition(".")[0]
    config = timm.models.get_pretrained_cfg(architecture)
    options: dict[str, Any] = {}
    if image_size is not None and config is not None and config.fixed_input_size:
        options["img_size"] = image_size
    if is_small and (patch := small_patch(architecture)) is not None:
        options["patch_size"] = patch
    try:
        return timm.create_model(architecture, pretrained=False, num_classes=num_classes, **options)
    except (TypeError, ValueError, AssertionError) as error:
        raise _wrong_size(f"timm:{name}", image_size, error) from error


def _torchvision(name: str, num_classes: int, image_size: tuple[int, int] | None) -> nn.Module:
    argument = SIZED_TORCHVISION.get(name.partition("_")[0])
    options: dict[str, Any] = {}
    if argument is not None and image_size is not None:
        if image_size[0] != image_size[1] and argument == "image_size":
            raise ConfigError(
                f"{name} reads square images only, not {image_size[0]}x{image_size[1]}; make image_size square, or "
                "take its twin of timm, such as timm:vit_base_patch16_224."
            )
        options[argument] = image_size[0] if argument == "image_size" else image_size
    try:
        return torchvision.models.get_model(name, weights=None, num_classes=num_classes, **options)
    except (ValueError, AssertionError) as error:
        raise _wrong_size(name, image_size, error) from error


def _wrong_size(name: str, image_size: tuple[int, int] | None, error: Exception) -> ConfigError:
    size = "its own image size" if image_size is None else f"images of {image_size[0]}x{image_size[1]}"
    return ConfigError(f"{name} cannot be built for {size} ({error}). Change image_size, or take another network.")


def _unknown(name: str) -> ConfigError:
    ours = _nearest(name, [*CLASSICS, *TIMM_NAMES])
    return ConfigError(
        f"unknown backbone {name!r}; nearest torchvision models: {_nearest(name, torchvision_names())}; nearest of our "
        f"own: {ours}. Correct the name, or write `timm:NAME` for one of timm's; see `orchestrator zoo backbones`."
    )


def _nearest(name: str, known: Iterable[str]) -> str:
    return ", ".join(difflib.get_close_matches(name, list(known), n=3, cutoff=0.4)) or "none"
