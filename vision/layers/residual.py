"""Where a network's residual branches are: blocks that add what they compute to what they were given."""

from dataclasses import dataclass
from typing import Any

from torch import nn
from torchvision.ops import StochasticDepth

BRANCH_ENDS = {
    # Class of the block: (its module whose output is the branch, the flag that says whether the block adds at all).
    "BasicBlock": ("bn2", None),
    "Bottleneck": ("bn3", None),
    "InvertedResidual": ("conv", "use_res_connect"),
    "InvertedResidualV3": ("block", "use_res_connect"),
    "_InvertedResidual": ("layers", "apply_residual"),
    "ResBottleneckBlock": ("f", None),
    "PreActBlock": ("convs", None),
    "ShuffleUnit": ("bn3", "adds"),
}
"""Blocks of torchvision and ours that have no place of their own for stochastic depth."""


@dataclass(frozen=True, slots=True)
class Branch:
    """A block, and either its own places for stochastic depth or the module after which it belongs."""

    block: nn.Module
    places: tuple[str, ...]
    """Attributes of the block that hold a layer for it: timm's `drop_path`, torchvision's `stochastic_depth`."""
    end: nn.Module | None
    """Where there are no places: the module whose output is the branch."""


def residual_branches(network: nn.Module) -> list[Branch]:
    """List the blocks that torchvision, timm or we know as residual, from the stem to the head."""
    branches = (_branch(module) for module in network.modules())
    return [branch for branch in branches if branch is not None]


def is_gate(module: nn.Module) -> bool:
    """Whether the module is a squeeze-and-excitation: its activations act on single pixels and end in a sigmoid."""
    return any("sigmoid" in type(child).__name__.lower() for child in module.children())


def _branch(block: Any) -> Branch | None:
    attributes = [*block.__dict__, *block._modules]
    places = tuple(
        name
        for name in attributes
        if name.startswith("drop_path") or isinstance(getattr(block, name, None), StochasticDepth)
    )
    places = tuple(name for name in places if not isinstance(getattr(block, name), float | int))
    if places:
        is_adding = getattr(block, "has_skip", getattr(block, "use_res_connect", True))
        return Branch(block, places, None) if is_adding else None
    name = type(block).__name__
    if name == "InvertedResidual" and hasattr(block, "block"):
        name = "InvertedResidualV3"
    if name not in BRANCH_ENDS:
        return None
    end, flag = BRANCH_ENDS[name]
    if flag == "adds":
        return Branch(block, (), getattr(block, end)) if block.stride == 1 else None
    if not hasattr(block, end) or (flag is not None and not getattr(block, flag)):
        return None
    module = getattr(block, end)
    return Branch(block, (), module[-1] if isinstance(module, nn.ModuleList) else module)
