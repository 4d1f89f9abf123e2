"""Trunks of feature pyramids, made from torchvision's and timm's classifiers. No detector, no pyramid network."""

from collections.abc import Callable, Sequence
from typing import Protocol

from torch import Tensor, nn

from foundation.errors import ConfigError
from vision.backbones.norms import replace_norms
from vision.backbones.torchvision_trunk import build_torchvision_trunk

__all__ = ["Trunk", "build_backbone"]

NUM_STAGES = 5
"""Levels 1 to 5: strides 2 to 32."""


class Trunk(Protocol):
    """Maps images (B, 3, H, W) to `{str(level): (B, C, H / 2**level, W / 2**level)}`, finest first. Also a module."""

    levels: tuple[int, ...]
    channels: tuple[int, ...]

    def __call__(self, images: Tensor) -> dict[str, Tensor]: ...

    def parameters_up_to(self, level: int) -> list[nn.Parameter]:
        """Parameters of everything that computes the maps of levels <= `level`."""
        ...


def build_backbone(
    name: str,
    *,
    levels: Sequence[int],
    width: float = 1.0,
    norm: str = "batch",
    trainable_layers: int = NUM_STAGES,
    timm_tag: str | None = None,
    load: Callable[[nn.Module], object] | None = None,
) -> Trunk:
    """Build a trunk that yields feature maps with strides 2**level.

    Args:
        name: a classifier of torchvision (`resnet18`), or `timm:NAME`.
        levels: rising. Levels deeper than the network's last are left out: the caller's pyramid adds them.
        width: multiplier on the channels; torchvision ResNets only.
        norm: `batch`, `frozen` (statistics and affine parameters fixed: only sensible with pretrained weights) or
            `group` (independent of the batch size; affine parameters start anew).
        trainable_layers: 5 = all; n trains the last n of the stages with strides 2, 4, 8, 16, 32.
        timm_tag: timm's tag of published weights to download, for `timm:` names.
        load: puts weights into the classifier (torchvision: without its own head).

    Raises:
        ConfigError: if the name is unknown, or the network has no such pyramid, with the reason.
        WeightsError: if timm's weights cannot be downloaded.
    """
    trunk: Trunk
    if name.startswith("timm:"):
        if width != 1.0:
            raise ConfigError(f"backbone.width {width} works with torchvision ResNets only, not {name}; set it to 1.0.")
        # Here, because importing timm takes seconds that nobody else should wait.
        from vision.backbones.timm_trunk import build_timm_trunk

        trunk = build_timm_trunk(name.removeprefix("timm:"), levels, timm_tag, load)
    else:
        trunk = build_torchvision_trunk(name, levels, width, load)
    if trainable_layers < NUM_STAGES:
        for parameter in trunk.parameters_up_to(NUM_STAGES - trainable_layers):
            parameter.requires_grad_(False)
    if norm != "batch":
        replace_norms(trunk, norm, name)
    return trunk
