"""Any classifier by one name, with a stem that suits the images. Heads, stages and trunks are elsewhere."""

from torch import nn

from foundation.errors import ConfigError
from vision.backbones.auxiliary import WithAuxiliary
from vision.backbones.plain import plain_classifier, small_patch, timm_name_of
from vision.backbones.small_stem import shape_check, use_small_stem

__all__ = ["WithAuxiliary", "build_classifier"]

STEMS = ("auto", "standard", "small")
SMALL_BELOW = 96
"""`auto` takes the small stem for images whose shorter side has fewer pixels."""
LARGEST_TRIED = 512
"""The search for the least image size ends here, in pixels."""


def build_classifier(
    name: str,
    num_classes: int,
    *,
    width: float = 1.0,
    stem: str = "auto",
    image_size: tuple[int, int] | None = None,
) -> nn.Module:
    """Build a classifier with random weights: normalised images (B, 3, H, W) to logits (B, K).

    In training, networks with auxiliary classifiers return `WithAuxiliary` instead, and their class has an
    `AUXILIARY_WEIGHT`.

    Args:
        name: a network of ours (`alexnet2012`), torchvision's (`resnet18`), or timm's (`timm:NAME`).
        width: multiplier on the channels, for torchvision ResNets only (0.5 = half as wide).
        stem: `standard` = as its makers had it; `small` = for images of 28 to 64 px, see `small_stem`; `auto` = small
            where `image_size` has a side below 96 and the family has such a stem.
        image_size: (height, width) it will be used with. Transformers, AlexNet-2012 and ZFNet are built for it, and
            every network is tried on it.

    Raises:
        ConfigError: if the name is unknown, the images are too small (with the least size), or the family has no width
            or stem of that kind.
    """
    if stem not in STEMS:
        raise ConfigError(f"unknown stem {stem!r}; expected one of {', '.join(STEMS)}.")
    if num_classes < 1:
        raise ConfigError(f"{name} needs at least one class, not {num_classes}.")
    is_small = takes_small_stem(stem, image_size)
    network = plain_classifier(name, num_classes, width=width, image_size=image_size, is_small=is_small)
    if is_small:
        is_patched = small_patch(timm_name_of(name) or "") is not None
        if not is_patched and not use_small_stem(network, image_size) and stem == "small":
            raise ConfigError(f"{name} has no stem for small images; leave stem `auto`, and enlarge the images.")
    if image_size is not None:
        _check_size(network, name, image_size)
    return network


def takes_small_stem(stem: str, image_size: tuple[int, int] | None) -> bool:
    """Whether a network gets its stem for small images, if its family has one."""
    is_tiny = image_size is not None and min(image_size) < SMALL_BELOW
    return stem == "small" or (stem == "auto" and is_tiny)


def _check_size(network: nn.Module, name: str, image_size: tuple[int, int]) -> None:
    """Refuse images that the network cannot read."""
    error = _failure(network, image_size)
    if error is None:
        return
    least = _least_side(network, min(image_size))
    advice = "" if least is None else f"It needs {least} px at least. "
    raise ConfigError(
        f"{name} cannot read images of {image_size[0]}x{image_size[1]} ({error}). {advice}Set image_size to what it "
        "was made for, or take another network."
    ) from error


def _least_side(network: nn.Module, side: int) -> int | None:
    """The least side above `side` that runs, found by halving; None if the largest does not run."""
    low, high = side, LARGEST_TRIED
    if _failure(network, (high, high)) is not None:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        if _failure(network, (middle, middle)) is None:
            high = middle
        else:
            low = middle
    return high


def _failure(network: nn.Module, image_size: tuple[int, int]) -> Exception | None:
    was_training = network.training
    try:
        shape_check(network.eval(), image_size)
    except NotImplementedError:  # some layer cannot run on shapes alone; that says nothing about the size
        return None
    except (AssertionError, RuntimeError, ValueError, ConfigError) as error:
        return error
    finally:
        network.train(was_training)
    return None
