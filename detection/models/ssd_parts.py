"""What SSD and SSDlite share: their network around torchvision's, default boxes for any size, coarser levels."""

import copy
from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.ssd import SSD, SSDFeatureExtractorVGG
from torchvision.ops import Conv2dNormActivation

from detection.models.pyramid import build_trunk
from detection.models.stages import detector_stages
from detection.models.torchvision_parts import (
    Losses,
    Normalize,
    Targets,
    as_float_shapes,
    float_outputs,
    over_ranks,
    run,
)
from detection.settings import BackboneSettings, DetectionSettings
from foundation.errors import ConfigError
from vision.backbones import Trunk

LEVELS = (3, 4, 5)
"""Taken from a backbone of the user's choice."""
NUM_MAPS = 6
"""Feature maps in all, as in the paper."""
EXTRA_CHANNELS = 256
SCALES = (0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05)
"""Default box sizes over the image's, per map, of SSD300 on COCO."""
LOSS_NAMES = {"classification": "loss_cls", "bbox_regression": "loss_box"}


class Ssd(SSD):
    """torchvision's SSD, parameter names included, called the way the detection task wants it.

    Losses are divided by the number of positives averaged over all ranks.
    """

    normalises_over_ranks = True

    def __init__(
        self,
        backbone: nn.Module,
        default_boxes: DefaultBoxGenerator,
        head: nn.Module,
        settings: DetectionSettings,
        num_classes: int,
        normalize: Normalize,
    ) -> None:
        super().__init__(
            backbone,
            default_boxes,
            settings.image_size,
            num_classes + 1,
            head=head,
            score_thresh=settings.score_threshold,
            nms_thresh=settings.nms_threshold,
            detections_per_img=settings.max_detections,
        )
        self.transform = normalize
        float_outputs(self.head)

    def forward(self, images: Tensor, targets: Targets | None = None) -> Losses | Targets:
        """Return losses in train mode, detections in eval mode.

        Args:
            images: (B, 3, H, W) float RGB in [0, 1].
            targets: per image `boxes` (N, 4) xyxy pixels and `labels` (N,) in 0 … K-1; needed in train mode.
        """
        return run(super().forward, images, targets, is_training=self.training, loss_names=LOSS_NAMES, first_label=1)

    def parameter_stages(self) -> list[list[nn.Parameter]]:
        """Return all parameters by depth: the stages of the trunk, stem first, and last neck and head together."""
        return detector_stages(self, _trunk_of(self.backbone))

    def compute_loss(
        self, targets: Targets, head_outputs: Losses, anchors: list[Tensor], matched_idxs: list[Tensor]
    ) -> Losses:
        """Compute smooth L1 and, with hard negative mining, cross-entropy losses."""
        return over_ranks(super().compute_loss(targets, head_outputs, anchors, matched_idxs), matched_idxs)


def _trunk_of(backbone: nn.Module) -> nn.Module:
    """The network that was a classifier once, without the coarser maps that SSD adds to it."""
    if isinstance(backbone, SsdTrunk):
        return backbone.get_submodule("body")
    features = backbone.get_submodule("features")
    if isinstance(backbone, SSDFeatureExtractorVGG):
        return nn.Sequential(features, backbone.get_submodule("extra.0"))
    return features


class DefaultBoxes(DefaultBoxGenerator):
    """torchvision's default boxes in float32, spread evenly over maps of any size.

    Args:
        steps: SSD300's own spacing, in pixels, used at 300 x 300 only, where its weights expect it.
    """

    def __init__(
        self,
        aspect_ratios: list[list[int]],
        scales: Sequence[float] | None = SCALES,
        min_ratio: float = 0.15,
        max_ratio: float = 0.9,
        steps: list[int] | None = None,
    ) -> None:
        super().__init__(aspect_ratios, min_ratio, max_ratio, None if scales is None else list(scales), steps)
        self.steps_at_300 = steps

    def forward(self, image_list: ImageList, feature_maps: list[Tensor]) -> list[Tensor]:
        """Return (A, 4) xyxy default boxes per image."""
        self.steps = self.steps_at_300 if image_list.tensors.shape[-2:] == (300, 300) else None
        return super().forward(image_list, as_float_shapes(feature_maps))


class SsdTrunk(nn.Module):
    """A backbone and, after its last map, strided blocks down to `NUM_MAPS` maps. `out_channels` per map."""

    def __init__(self, trunk: Trunk, *, depthwise: bool) -> None:
        super().__init__()
        self.body = trunk
        self.extra = nn.ModuleList()
        channels = list(trunk.channels)
        while len(channels) < NUM_MAPS:
            self.extra.append(_strided_block(channels[-1], EXTRA_CHANNELS, depthwise=depthwise))
            channels.append(EXTRA_CHANNELS)
        self.out_channels = channels

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Compute all maps, finest first, from normalised images."""
        maps = list(self.body(images).values())
        for block in self.extra:
            maps.append(block(maps[-1]))
        return OrderedDict((str(index), features) for index, features in enumerate(maps))


def build_ssd_trunk(backbone: BackboneSettings, *, depthwise: bool) -> SsdTrunk:
    """Build the maps of levels 3, 4, 5 from a backbone, and three coarser ones."""
    return SsdTrunk(build_trunk(backbone, LEVELS), depthwise=depthwise)


def check_smallest_size(backbone: nn.Module, settings: DetectionSettings, what: str) -> None:
    """Refuse images too small for the network's unpadded convolutions, now rather than in an epoch.

    Raises:
        ConfigError: naming the size.
    """
    factor = min((settings.multi_scale or (1.0,))[0], *settings.test_time.scales)
    height, width = (round(side * factor) for side in settings.image_size)
    try:
        copy.deepcopy(backbone).to("meta")(torch.zeros(1, 3, height, width, device="meta"))
    except RuntimeError as error:
        raise ConfigError(
            f"image_size {height} x {width} (with multi_scale and test_time.scales) is too small for {what}, which was "
            "made for 300 x 300. Make it larger, or give model.backbone."
        ) from error


def _strided_block(in_channels: int, out_channels: int, *, depthwise: bool) -> nn.Sequential:
    middle = out_channels // 2
    layers = [Conv2dNormActivation(in_channels, middle, kernel_size=1)]
    if depthwise:
        layers.append(Conv2dNormActivation(middle, middle, stride=2, groups=middle))
        layers.append(Conv2dNormActivation(middle, out_channels, kernel_size=1))
    else:
        layers.append(Conv2dNormActivation(middle, out_channels, stride=2))
    return nn.Sequential(*layers)
