"""Spatial pyramid pooling: a vector of one length from feature maps of any size."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class SpatialPyramidPool(nn.Module):
    """Largest values of the cells of several grids, one after the other.

    Cells are torch's adaptive ones; the paper's windows (side ceil(a / n), stride floor(a / n)) are the same where n
    divides the map's side a.

    Source: He et al. 2014, arXiv:1406.4729, section 2.2.
    """

    def __init__(self, levels: Sequence[int] = (4, 2, 1)) -> None:
        super().__init__()
        self.levels = tuple(levels)
        self.cells = sum(level**2 for level in self.levels)
        """Values per channel."""

    def forward(self, maps: Tensor) -> Tensor:
        """Compute (B, C * cells) from (B, C, H, W); level by level, within a level channel by channel."""
        return torch.cat([functional.adaptive_max_pool2d(maps, level).flatten(1) for level in self.levels], dim=1)

    def extra_repr(self) -> str:
        return f"levels={self.levels}"
