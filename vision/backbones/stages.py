"""The parameters of a classifier in coarse groups from the stem to the head, for layer-wise rates and freezing."""

from typing import Any

from torch import nn

from vision.backbones.heads import auxiliary_names, head_paths

FEWEST_STRIDES = 3
"""A network with fewer changes of resolution, such as a transformer, is grouped block by block."""


def stages(network: nn.Module) -> list[list[nn.Parameter]]:
    """Group the parameters by depth; every parameter is in exactly one group.

    Convolutional networks: a group begins where the resolution falls. Others: a group for each block. timm's
    networks: the groups that timm itself names.

    Returns:
        Stem first. The last group is the head: the last linear layer and the auxiliary classifiers; empty where
        `split_head` has taken them off. No other group is empty.
    """
    paths = head_paths(network) + auxiliary_names(network)
    head = [parameter for path in paths for parameter in network.get_submodule(path).parameters()]
    groups = _timm_groups(network) if hasattr(network, "group_matcher") else groups_by_resolution(network)
    in_head = {id(parameter) for parameter in head}
    trunk = [[parameter for parameter in group if id(parameter) not in in_head] for group in groups]
    return [*(group for group in trunk if group), head]


def _timm_groups(network: Any) -> list[list[nn.Parameter]]:
    # Here, because importing timm takes seconds; whoever holds such a network has imported it already.
    from timm.models import group_parameters

    names_of = group_parameters(network, network.group_matcher(coarse=True))
    parameters = dict(network.named_parameters())
    return [[parameters[name] for name in names] for _, names in sorted(names_of.items())]


def groups_by_resolution(network: nn.Module) -> list[list[nn.Parameter]]:
    """Group all parameters in the order of the modules: a group begins where the resolution falls, or with a block."""
    units = _units(network)
    is_isotropic = sum(has_stride for _, has_stride in units.values()) < FEWEST_STRIDES
    groups: list[list[nn.Parameter]] = [[]]
    begun: set[str] = set()
    for path, module in network.named_modules():
        unit = _unit_of(path, units)
        if unit is not None and unit not in begun:
            begun.add(unit)
            is_part, has_stride = units[unit]
            if groups[-1] and (is_part if is_isotropic else has_stride):
                groups.append([])
        groups[-1].extend(module.parameters(recurse=False))
    return groups


def _units(network: Any) -> dict[str, tuple[bool, bool]]:
    """Blocks in order: {path: (is one of a row of blocks, changes the resolution)}."""
    units: dict[str, tuple[bool, bool]] = {}
    for name, child in network.named_children():
        rows = {name: child} if not hasattr(child, "layers") else {f"{name}.layers": child.layers}
        for path, module in rows.items():
            is_row = isinstance(module, nn.Sequential | nn.ModuleList)
            parts = {f"{path}.{key}": part for key, part in module.named_children()} if is_row else {path: module}
            units.update({key: (is_row, _has_stride(part)) for key, part in parts.items()})
    return units


def _unit_of(path: str, units: dict[str, Any]) -> str | None:
    while path and path not in units:
        path = path.rpartition(".")[0]
    return path or None


def _has_stride(module: nn.Module) -> bool:
    strides = [getattr(part, "stride", 1) for part in module.modules()]
    return any((stride[0] if isinstance(stride, tuple) else stride) not in (1, None) for stride in strides)
