"""Torchvision's and our classifiers as trunks: the stages are found by running it once, not by a table of names."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from foundation.errors import ConfigError
from vision.backbones.plain import plain_classifier

PROBE_SIZE = (64, 192)
"""(height, width) of the probing image: 1 : 3, so that (H, W, C) is never taken for (C, H, W)."""
DEEPEST_LEVEL = 6
"""Of the probing image's shorter side one pixel is left at this level."""


@dataclass(frozen=True, slots=True)
class Step:
    """One module of the chain from the image to the classifier's pooling."""

    path: str
    level: int
    """Of its output, stride 2**level; -1 when no power of two."""
    channels: int
    is_channels_last: bool
    """The output is (B, H, W, C), as in Swin."""


class TorchvisionTrunk(nn.Module):
    """The chain of modules up to the deepest wanted level. Parameter names are the classifier's own."""

    def __init__(self, classifier: nn.Module, steps: Sequence[Step], taps: Sequence[Step]) -> None:
        super().__init__()
        self.levels = tuple(step.level for step in taps)
        self.channels = tuple(step.channels for step in taps)
        self._steps = tuple(steps[: steps.index(taps[-1]) + 1])
        self._taps = frozenset(step.path for step in taps)
        kept = {step.path for step in self._steps}
        for name, child in classifier.named_children():
            if name in kept:
                self.add_module(name, child)
            elif parts := [(key, part) for key, part in child.named_children() if f"{name}.{key}" in kept]:
                self.add_module(name, nn.Sequential(OrderedDict(parts)))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Compute the feature maps.

        Args:
            images: (B, 3, H, W) float, normalised.

        Returns:
            `{str(level): (B, C, H / 2**level, W / 2**level)}`, finest first.
        """
        maps: dict[str, Tensor] = {}
        features = images
        for step in self._steps:
            features = self.get_submodule(step.path)(features)
            if step.path in self._taps:
                maps[str(step.level)] = features.permute(0, 3, 1, 2) if step.is_channels_last else features
        return maps

    def parameters_up_to(self, level: int) -> list[nn.Parameter]:
        """Parameters of everything that computes the maps of levels <= `level`."""
        modules = [self.get_submodule(step.path) for step in self._steps if step.level <= level]
        return [parameter for module in modules for parameter in module.parameters()]


def build_torchvision_trunk(
    name: str, levels: Sequence[int], width: float, load: Callable[[nn.Module], object] | None
) -> TorchvisionTrunk:
    """Build the trunk of torchvision's, or our own, classifier `name`; see `vision.backbones.build_backbone`."""
    classifier = plain_classifier(name, num_classes=1, width=width)  # its head is left out
    steps = trace(classifier, name)
    trunk = TorchvisionTrunk(classifier, steps, choose_taps(steps, levels, name))
    if load is not None:
        load(trunk)
    return trunk


def trace(classifier: nn.Module, name: str) -> list[Step]:
    """Run the classifier once and list the chain of modules that passes feature maps on, in order.

    A Sequential whose parts have different strides is listed part by part. The chain ends where the output of one
    module is not the input of the next, as at a classifier's flattening.

    Raises:
        ConfigError: if the classifier cannot run on another image size than it was made for.
    """
    calls = _calls(classifier, name)
    steps: dict[str, Step] = {path: _step(path, result) for path, _, result in calls}
    split = {path for path in steps if len({steps[part].level for part in steps if part.startswith(f"{path}.")}) > 1}
    chain: list[Step] = []
    last: Tensor | None = None
    for path, features, result in calls:
        parent = path.rpartition(".")[0]
        if path in split or (parent and parent not in split):
            continue
        if last is not None and features is not last:
            break
        chain.append(steps[path])
        last = result
    return chain


def choose_taps(steps: Sequence[Step], levels: Sequence[int], name: str) -> list[Step]:
    """Pick the last step of each wanted level; levels deeper than the deepest are left out.

    Raises:
        ConfigError: if a level is missing.
    """
    last_of_level = {step.level: step for step in steps if step.level > 0}
    deepest = max(last_of_level, default=0)
    missing = [level for level in levels if level not in last_of_level and level <= deepest]
    if missing or min(levels) > deepest:
        offered = ", ".join(f"{level} (stride {2**level})" for level in sorted(last_of_level)) or "none"
        raise ConfigError(
            f"backbone {name} has no feature map of level {', '.join(map(str, missing or levels))}; its levels are: "
            f"{offered}. Change model.levels, or take a backbone with strides 4, 8, 16, 32 such as resnet18."
        )
    return [last_of_level[level] for level in levels if level in last_of_level]


def _calls(classifier: nn.Module, name: str) -> list[tuple[str, Tensor, Tensor]]:
    """Record (path, input, output) of the classifier's children, and of the parts of its Sequentials, as they run."""
    calls: list[tuple[str, Tensor, Tensor]] = []

    def record(path: str) -> Callable[[nn.Module, Any, Any], None]:
        return lambda _, inputs, output: calls.append((path, inputs[0], output))

    handles = []
    for child_name, child in classifier.named_children():
        handles.append(child.register_forward_hook(record(child_name)))
        if isinstance(child, nn.Sequential):
            for key, part in child.named_children():
                handles.append(part.register_forward_hook(record(f"{child_name}.{key}")))
    was_training, device = classifier.training, next(classifier.parameters()).device
    try:
        with torch.no_grad():
            classifier.eval()(torch.zeros(1, 3, *PROBE_SIZE, device=device))
    except (AssertionError, RuntimeError, ValueError, ConfigError) as error:
        raise ConfigError(
            f"backbone {name} yields no feature pyramid: it only runs on the image size it was made for "
            f"({error}). Take one with strides 4, 8, 16, 32, such as resnet18."
        ) from error
    finally:
        for handle in handles:
            handle.remove()
        classifier.train(was_training)
    return calls


def _step(path: str, output: Tensor) -> Step:
    shape = tuple(output.shape)
    for level in range(DEEPEST_LEVEL + 1):
        size = (PROBE_SIZE[0] >> level, PROBE_SIZE[1] >> level)
        if shape[2:] == size:
            return Step(path, level, shape[1], is_channels_last=False)
        if len(shape) == 4 and shape[1:3] == size:
            return Step(path, level, shape[3], is_channels_last=True)
    return Step(path, -1, 0, is_channels_last=False)
