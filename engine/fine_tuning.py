"""Fine-tuning: which part of a model rests until an epoch, and how fast each stage of it learns."""

import math
from collections.abc import Iterator

from torch import nn

from engine.settings import FineTuneSettings
from foundation.errors import ConfigError

Stages = list[list[nn.Parameter]]


def stages_of(model: nn.Module) -> Stages:
    """The parameters of a model by depth, as its `parameter_stages()` gives them: stem first, head last.

    Raises:
        ConfigError: if the model names no stages, or only one.
    """
    offer = getattr(model, "parameter_stages", None)
    stages = [list(stage) for stage in offer()] if callable(offer) else []
    stages = [stage for stage in stages if stage]
    if len(stages) < 2:
        raise ConfigError(
            "loop.fine_tune needs a model that tells its backbone from its head, and this one does not. Leave "
            "loop.fine_tune out; a model's own keys may offer to keep a part of it fixed."
        )
    return stages


def rate_factors(stages: Stages, settings: FineTuneSettings) -> dict[int, float]:
    """Factor on the learning rate by a parameter's `id`: 1 for the head, less the further from it."""
    head = len(stages) - 1
    return {
        id(parameter): settings.layer_decay ** (head - depth) * (settings.backbone_lr if depth < head else 1.0)
        for depth, stage in enumerate(stages)
        for parameter in stage
    }


class Freezer:
    """Keeps every stage but the head at rest in the first epochs; which is a function of the epoch alone.

    A module at rest is in eval mode, so its running statistics stay and nothing is dropped out in it. Parameters that
    belong to no stage are trained from the start.

    Args:
        model: the bare model, as it is trained.
        stages: of `stages_of(model)`.
        freeze_epochs: the first so many epochs, or `all`.
    """

    def __init__(self, model: nn.Module, stages: Stages, freeze_epochs: int | str) -> None:
        backbone = [parameter for stage in stages[:-1] for parameter in stage]
        self.first_free_epoch = math.inf if freeze_epochs == "all" else int(freeze_epochs)
        self.is_frozen = False
        self._trainable = [parameter for parameter in backbone if parameter.requires_grad]
        self._modules = list(_modules_of(model, {id(parameter) for parameter in backbone}))

    def set_epoch(self, epoch: int) -> bool:
        """Freeze or free the backbone as this epoch has it; return whether that is a change."""
        was_frozen, self.is_frozen = self.is_frozen, epoch < self.first_free_epoch
        if was_frozen == self.is_frozen:
            return False
        for parameter in self._trainable:
            parameter.requires_grad_(not self.is_frozen)
            parameter.grad = None
        return True

    def rest(self) -> None:
        """Put what is frozen into eval mode; call it after every `train()` of the model."""
        if self.is_frozen:
            for module in self._modules:
                module.eval()


def _modules_of(module: nn.Module, backbone: set[int]) -> Iterator[nn.Module]:
    """Yield the largest modules whose parameters all belong to the backbone, and norms of no parameters among them."""
    is_before_head = True
    for child in module.children():
        owned = [id(parameter) in backbone for parameter in child.parameters()]
        if owned and all(owned):
            yield child
        elif any(owned):
            yield from _modules_of(child, backbone)
        elif owned:
            is_before_head = False
        elif is_before_head and any(True for _ in child.buffers()):
            yield child
