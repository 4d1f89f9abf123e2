"""The parameters of a detector by depth, for freezing and layer-wise rates: the trunk's stages, then all the rest."""

from torch import nn

from vision.backbones.stages import groups_by_resolution

LEVELS = range(1, 6)
"""Strides 2 to 32."""


def detector_stages(model: nn.Module, trunk: nn.Module) -> list[list[nn.Parameter]]:
    """Group all parameters of a detector.

    Args:
        model: the whole detector.
        trunk: what yields its feature maps; a `Trunk` says itself what makes which level, any other is cut where the
            resolution falls.

    Returns:
        The stages of the trunk, stem first, and last neck and heads together. None is empty, and every parameter is in
        exactly one.
    """
    groups = _by_level(trunk) if hasattr(trunk, "parameters_up_to") else groups_by_resolution(trunk)
    seen: set[int] = set()
    stages = [_unseen(group, seen) for group in [*groups, list(trunk.parameters()), list(model.parameters())]]
    return [stage for stage in stages if stage]


def _by_level(trunk: nn.Module) -> list[list[nn.Parameter]]:
    return [trunk.parameters_up_to(level) for level in LEVELS]  # type: ignore[operator]


def _unseen(group: list[nn.Parameter], seen: set[int]) -> list[nn.Parameter]:
    """Those that no earlier stage has; they count as seen from now on."""
    fresh = [parameter for parameter in group if id(parameter) not in seen]
    seen.update(id(parameter) for parameter in fresh)
    return fresh
