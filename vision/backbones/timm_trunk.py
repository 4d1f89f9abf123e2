"""A timm network as a trunk, through timm's own `features_only` models. Imported only when one is asked for."""

from collections.abc import Callable, Sequence
from typing import Any

import timm
import torch
from torch import Tensor, nn

from foundation.errors import ConfigError, WeightsError
from vision.backbones.plain import check_timm_name
from vision.layers.apply import apply_parts
from vision.layers.settings import PartsSettings

PROBE_SIZE = (128, 192)
"""(height, width) of the probing image; multiples of 64."""


class TimmTrunk(nn.Module):
    """A timm feature extractor that returns the wanted levels only."""

    def __init__(self, network: Any, all_levels: Sequence[int], levels: Sequence[int]) -> None:
        super().__init__()
        self.network = network
        self.levels = tuple(level for level in levels if level in all_levels)
        self.is_channels_last = str(getattr(network, "output_fmt", "NCHW")).endswith("NHWC")
        self._all_levels = tuple(all_levels)
        channels = network.feature_info.channels()
        self.channels = tuple(channels[all_levels.index(level)] for level in self.levels)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Compute the feature maps.

        Args:
            images: (B, 3, H, W) float, normalised.

        Returns:
            `{str(level): (B, C, H / 2**level, W / 2**level)}`, finest first.
        """
        maps = dict(zip(self._all_levels, self.network(images), strict=True))
        if self.is_channels_last:
            maps = {level: features.permute(0, 3, 1, 2) for level, features in maps.items()}
        return {str(level): maps[level] for level in self.levels}

    def parameters_up_to(self, level: int) -> list[nn.Parameter]:
        """Parameters of everything that computes the maps of levels <= `level`: those that get a gradient from them."""
        parameters = list(self.network.parameters())
        were_trained = [parameter.requires_grad for parameter in parameters]
        self.network.requires_grad_(True)
        with torch.enable_grad():
            maps = self.network.eval()(torch.zeros(1, 3, *PROBE_SIZE, device=parameters[0].device))
            shallow = [features.sum() for own, features in zip(self._all_levels, maps, strict=True) if own <= level]
            total = torch.stack(shallow).sum() if shallow else None
        self.network.train()
        gradients = torch.autograd.grad(total, parameters, allow_unused=True) if total is not None else ()
        for parameter, was_trained in zip(parameters, were_trained, strict=True):
            parameter.requires_grad_(was_trained)
        return [parameter for parameter, grad in zip(parameters, gradients, strict=False) if grad is not None]


def build_timm_trunk(
    name: str,
    levels: Sequence[int],
    tag: str | None,
    load: Callable[[nn.Module], object] | None,
    parts: PartsSettings | None = None,
) -> TimmTrunk:
    """Build the trunk of timm's network `name`; see `vision.backbones.build_backbone`.

    Args:
        tag: published weights, `TAG` or `NAME.TAG`.
        load: puts weights into the whole classifier, which timm then cuts; returns True if it has given it its parts.
        parts: given to the trunk where `load` has given them to the classifier.
    """
    check_timm_name(name)
    indices, all_levels = _pyramid(name, levels)
    if tag is not None:
        network = _published(name, tag, indices)
    elif load is not None:
        network = _from_classifier(name, indices, load, parts)
    else:
        network = timm.create_model(name, pretrained=False, features_only=True, out_indices=indices)
    trunk = TimmTrunk(network, all_levels, levels)
    _check_runs(trunk, name)
    return trunk


def _pyramid(name: str, levels: Sequence[int]) -> tuple[tuple[int, ...], list[int]]:
    """Find which of timm's outputs to take: all levels up to the deepest wanted one."""
    try:
        with torch.device("meta"):
            strides = timm.create_model(name, pretrained=False, features_only=True).feature_info.reduction()
    except (RuntimeError, AttributeError, NotImplementedError) as error:
        raise ConfigError(f"backbone timm:{name} offers no feature maps ({error}); take another one.") from error
    level_of = {index: int(stride).bit_length() - 1 for index, stride in enumerate(strides)}
    if len(set(strides)) == 1 and len(strides) > 1:
        raise ConfigError(
            f"backbone timm:{name} has no feature pyramid: all its feature maps have stride {strides[0]}, as in a "
            "plain vision transformer. Take a hierarchical network, such as timm:convnext_atto or timm:swin_tiny."
        )
    missing = set(levels) - set(level_of.values())
    if any(level < max(level_of.values()) for level in missing) or missing == set(levels):
        raise ConfigError(
            f"backbone timm:{name} has no feature map of level {', '.join(map(str, sorted(missing)))}; its strides are "
            f"{', '.join(map(str, strides))} (2**level). Change model.levels."
        )
    indices = tuple(index for index, level in level_of.items() if level <= max(levels))
    return indices, [level_of[index] for index in indices]


def _published(name: str, tag: str, indices: tuple[int, ...]) -> nn.Module:
    full_name = tag if "." in tag else f"{name.partition('.')[0]}.{tag}"
    try:
        return timm.create_model(full_name, pretrained=True, features_only=True, out_indices=indices)
    except (OSError, RuntimeError) as error:
        raise WeightsError(
            f"timm's weights {full_name} cannot be had from https://huggingface.co/timm/{full_name} ({error}). Check "
            "the tag; without internet, fetch the file elsewhere and give `file:PATH`."
        ) from error


def _from_classifier(
    name: str, indices: tuple[int, ...], load: Callable[[nn.Module], object], parts: PartsSettings | None
) -> nn.Module:
    classifier = timm.create_model(name, pretrained=False)
    if load(classifier) is True:
        assert parts is not None
        return _with_parts(name, indices, classifier, parts)
    return timm.create_model(
        name,
        pretrained=True,
        pretrained_cfg_overlay={"state_dict": classifier.state_dict()},
        features_only=True,
        out_indices=indices,
    )


def _with_parts(name: str, indices: tuple[int, ...], classifier: nn.Module, parts: PartsSettings) -> nn.Module:
    """Give timm's feature extractor the parts, and the weights of a classifier that has them.

    Names of the two differ in dots and underscores only: `stages.0.` of the one is `stages_0.` of the other.
    """
    network: nn.Module = timm.create_model(name, pretrained=False, features_only=True, out_indices=indices)
    apply_parts(network, parts, f"backbone timm:{name}", has_head=False)
    found = {key.replace(".", "_"): tensor for key, tensor in classifier.state_dict().items()}
    network.load_state_dict({key: found[key.removeprefix("model.").replace(".", "_")] for key in network.state_dict()})
    return network


def _check_runs(trunk: TimmTrunk, name: str) -> None:
    device = next(trunk.parameters()).device
    try:
        with torch.no_grad():
            maps = trunk.eval()(torch.zeros(1, 3, *PROBE_SIZE, device=device))
    except (AssertionError, RuntimeError, ValueError) as error:
        raise ConfigError(
            f"backbone timm:{name} only runs on the image size it was made for ({error}); take another one."
        ) from error
    finally:
        trunk.train()
    for level, features in maps.items():
        if features.shape[2:] != (PROBE_SIZE[0] >> int(level), PROBE_SIZE[1] >> int(level)):
            raise ConfigError(
                f"backbone timm:{name} yields no feature pyramid: its convolutions have no padding, so that its maps "
                "are smaller than 1 / 2**level of the image. Take one with exact strides, such as timm:resnet18."
            )
