"""Exponential moving average of the weights: what is evaluated and shipped."""

import copy

import torch
from torch import Tensor, nn


class WeightAverage:
    """Keeps an averaged copy of a model; buffers are copied, parameters averaged.

    The decay ramps up, `min(decay, (1 + updates) / (10 + updates))`, so that the first steps do not linger.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self._averaged: list[Tensor] = list(self.model.parameters())
        self._float_buffers = [b for b in self.model.buffers() if b.is_floating_point()]
        self._other_buffers = [b for b in self.model.buffers() if not b.is_floating_point()]

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move the average towards the weights of `model` (the bare one, of the same architecture)."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(self._averaged, list(model.parameters()), 1.0 - decay)
        floats = [b for b in model.buffers() if b.is_floating_point()]
        if floats:
            torch._foreach_copy_(self._float_buffers, floats)
        for mine, theirs in zip(
            self._other_buffers, [b for b in model.buffers() if not b.is_floating_point()], strict=True
        ):
            mine.copy_(theirs)
