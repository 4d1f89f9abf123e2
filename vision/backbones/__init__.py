"""Trunks of feature pyramids, made from our, torchvision's and timm's classifiers. No detector, no pyramid network."""

from collections.abc import Callable, Sequence
from typing import Protocol, cast

from torch import Tensor, nn

from vision.backbones.plain import timm_name_of
from vision.backbones.resnet_width import no_width
from vision.backbones.torchvision_trunk import build_torchvision_trunk
from vision.layers.apply import apply_parts
from vision.layers.settings import PartsSettings

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
    parts: PartsSettings | None = None,
    trainable_layers: int = NUM_STAGES,
    timm_tag: str | None = None,
    load: Callable[[nn.Module], object] | None = None,
) -> Trunk:
    """Build a trunk that yields feature maps with strides 2**level.

    Args:
        name: a classifier of torchvision (`resnet18`), one of ours (`bn_inception`), or `timm:NAME`.
        levels: rising. Levels deeper than the network's last are left out: the caller's pyramid adds them.
        width: multiplier on the channels; torchvision ResNets only.
        parts: norms, activations, dropout and initial weights to give it, after `load`.
        trainable_layers: 5 = all; n trains the last n of the stages with strides 2, 4, 8, 16, 32.
        timm_tag: timm's tag of published weights to download, for `timm:` names.
        load: puts weights into the classifier (torchvision and ours: without its own head); returns True if it has
            given it its `parts`, too.

    Raises:
        ConfigError: if the name is unknown, or the network has no such pyramid, with the reason.
        WeightsError: if timm's weights cannot be downloaded.
    """
    has_parts = False

    def load_first(network: nn.Module) -> bool:
        nonlocal has_parts
        assert load is not None
        has_parts = load(network) is True
        return has_parts

    trunk: Trunk
    timm_name = timm_name_of(name)
    if timm_name is not None:
        if width != 1.0:
            raise no_width(name, width)
        # Here, because importing timm takes seconds that nobody else should wait.
        from vision.backbones.timm_trunk import build_timm_trunk

        trunk = build_timm_trunk(timm_name, levels, timm_tag, load and load_first, parts)
    else:
        trunk = build_torchvision_trunk(name, levels, width, load and load_first)
    if trainable_layers < NUM_STAGES:
        for parameter in trunk.parameters_up_to(NUM_STAGES - trainable_layers):
            parameter.requires_grad_(False)
    if parts is not None and not has_parts:
        apply_parts(cast(nn.Module, trunk), parts, f"backbone {name}", has_head=False)
    return trunk
