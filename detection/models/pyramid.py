"""A backbone with a feature pyramid network on top (Lin et al. 2017, arXiv:1612.03144), with torchvision's names."""

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock, FeaturePyramidNetwork

from detection.settings import BackboneSettings
from engine.bundle import MANIFEST_FILE, load_manifest
from engine.weights import load_into, load_state
from foundation.errors import ConfigError, WeightsError
from vision.backbones import Trunk, build_backbone
from vision.backbones.classifiers import takes_small_stem
from vision.backbones.plain import timm_name_of
from vision.layers.apply import apply_parts, are_named_after_parts
from vision.layers.settings import PartsSettings

COARSEST_LEVEL = 8


class PooledLevels(ExtraFPNBlock):
    """Coarser levels by taking every second pixel, as Faster R-CNN's proposals use them."""

    def __init__(self, levels: Sequence[int]) -> None:
        super().__init__()
        self.levels = tuple(levels)

    def forward(self, results: list[Tensor], _: list[Tensor], names: list[str]) -> tuple[list[Tensor], list[str]]:
        """Append one map per level."""
        for _level in self.levels:
            results.append(F.max_pool2d(results[-1], kernel_size=1, stride=2))
        return results, names + [str(level) for level in self.levels]


class ConvLevels(ExtraFPNBlock):
    """Coarser levels by strided convolutions on the last one (P6 and P7 of RetinaNet and FCOS)."""

    def __init__(self, levels: Sequence[int], channels: int) -> None:
        super().__init__()
        self.levels = tuple(levels)
        for level in self.levels:
            conv = nn.Conv2d(channels, channels, kernel_size=3, stride=2, padding=1)
            nn.init.kaiming_uniform_(conv.weight, a=1)
            assert conv.bias is not None
            nn.init.zeros_(conv.bias)
            self.add_module(f"p{level}", conv)

    def forward(self, results: list[Tensor], _: list[Tensor], names: list[str]) -> tuple[list[Tensor], list[str]]:
        """Append one map per level; between two of them comes a ReLU."""
        for index, level in enumerate(self.levels):
            features = results[-1] if index == 0 else F.relu(results[-1])
            results.append(self.get_submodule(f"p{level}")(features))
        return results, names + [str(level) for level in self.levels]


class Pyramid(nn.Module):
    """Trunk (`body`) and pyramid (`fpn`). `out_channels` is what torchvision's detectors ask for."""

    def __init__(self, trunk: Trunk, channels: int, extra: PooledLevels | ConvLevels | None) -> None:
        super().__init__()
        self.body = trunk
        self.fpn = FeaturePyramidNetwork(list(trunk.channels), channels, extra_blocks=extra)
        self.out_channels = channels
        self.levels = trunk.levels + (extra.levels if extra is not None else ())

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Compute `{str(level): (B, C, H / 2**level, W / 2**level)}`, finest first, from normalised images."""
        return self.fpn(OrderedDict(self.body(images)))


def parts_of(settings: BackboneSettings) -> PartsSettings:
    """The parts to exchange; `norm: batch` has always meant "as the network has it" here, and stands in old bundles."""
    parts = {part: getattr(settings, part) for part in PartsSettings.model_fields}
    return PartsSettings(**{**parts, "norm": None if settings.norm == "batch" else settings.norm})


def build_trunk(settings: BackboneSettings, levels: Sequence[int]) -> Trunk:
    """Build the trunk with its weights, if any; levels deeper than its last are left out."""
    uri = settings.weights
    is_tag = uri is not None and uri.startswith("timm:")
    is_timm = timm_name_of(settings.name) is not None
    if is_tag and not is_timm:
        raise ConfigError(
            f"backbone.weights {uri!r} fit timm's networks only, not {settings.name}; use `torchvision:IMAGENET1K_V1`."
        )
    architecture = None if is_timm else settings.name

    parts = parts_of(settings)

    def load(classifier: nn.Module) -> bool:
        assert uri is not None
        state = load_state(uri, architecture=architecture)
        what = f"backbone {settings.name}"
        has_parts = are_named_after_parts(state, classifier, parts, what, has_head=False)
        if has_parts:
            apply_parts(classifier, parts, what, has_head=False)
        try:
            load_into(classifier, state, what=what, allow_head_mismatch=True)
        except WeightsError as error:
            raise WeightsError(f"{error}{_stem_advice(uri)}") from error
        return has_parts

    return build_backbone(
        settings.name,
        levels=levels,
        width=settings.width,
        parts=parts,
        trainable_layers=settings.trainable_layers,
        timm_tag=uri.removeprefix("timm:") if is_tag and uri is not None else None,
        load=None if uri is None or is_tag else load,
    )


def _stem_advice(uri: str) -> str:
    """What to do about the weights of a classifier of small images, whose first layers are others; else nothing."""
    folder = Path(uri.removeprefix("file:"))
    if not (folder / MANIFEST_FILE).is_file():
        return ""
    settings = load_manifest(folder).settings
    stem, image_size = settings.get("model", {}).get("stem"), settings.get("image_size")
    if stem is None or image_size is None or not takes_small_stem(stem, tuple(image_size)):
        return ""
    return " They are of a classifier with a stem for small images; train it with `model: {stem: standard}`."


def build_pyramid(
    settings: BackboneSettings, levels: Sequence[int], channels: int, *, pools_extra_levels: bool
) -> Pyramid:
    """Build trunk and pyramid for consecutive `levels`; those coarser than the trunk's last are made from it.

    Args:
        pools_extra_levels: True: `PooledLevels` makes the coarser levels; False: `ConvLevels`.

    Raises:
        ConfigError: if the levels are not consecutive and rising, or the trunk has not the finest ones.
    """
    if not levels or any(after != before + 1 for before, after in pairwise(levels)):
        raise ConfigError(f"model.levels {list(levels)} must be consecutive and rising, such as [3, 4, 5].")
    if levels[0] < 1 or levels[-1] > COARSEST_LEVEL:
        raise ConfigError(f"model.levels {list(levels)} must lie between 1 and {COARSEST_LEVEL} (strides 2 to 256).")
    trunk = build_trunk(settings, levels)
    coarser = [level for level in levels if level > trunk.levels[-1]]
    if not coarser:
        return Pyramid(trunk, channels, None)
    return Pyramid(trunk, channels, PooledLevels(coarser) if pools_extra_levels else ConvLevels(coarser, channels))
