"""Our own `yolo`: anchor-free, one score per class, made to learn fast from scratch on small data.

CSP trunk and path aggregation as in YOLOX, a decoupled head that regresses the distances to the four sides directly,
task-aligned assignment. Shape letters: B images, A anchor points of all levels, K classes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss, softplus

from detection.assign import GroundTruths, assign_task_aligned, pad_targets
from detection.box_losses import ciou
from detection.class_losses import DenseClassLoss, FocalForm
from detection.loss_settings import SigmoidLossSettings
from detection.models.stages import detector_stages
from detection.models.yolo_layers import (
    ConvBnAct,
    CspDarknet,
    PathAggregation,
    anchor_points,
    build_conv,
    flatten_levels,
)
from detection.nms import select_detections
from detection.settings import DetectionSettings, YoloModel
from engine.distributed import mean_over_ranks
from engine.weights import load_into, load_state
from foundation.errors import ConfigError

PRIOR_PROBABILITY = 1e-2
INITIAL_DISTANCE = 1.5
"""Untrained boxes reach softplus of this, 1.7 strides, to each side: objects of middling size."""
CLS_WEIGHT = 1.0
BOX_WEIGHT = 2.5
L1_WEIGHT = 0.25
FINEST_LEVEL = 2


@dataclass(frozen=True, slots=True)
class Size:
    """Channels of the stem and the stages of strides 4 to 32, bottlenecks per stage, channels of the head."""

    widths: tuple[int, int, int, int, int]
    depths: tuple[int, int, int, int]
    head: int
    depthwise_head: bool = False

    @property
    def neck_depth(self) -> int:
        return self.depths[0]


SIZES = {
    "pico": Size((8, 16, 32, 64, 96), (1, 1, 1, 1), head=32, depthwise_head=True),
    "nano": Size((12, 24, 48, 96, 128), (1, 1, 1, 1), head=48),
    "tiny": Size((16, 32, 64, 128, 192), (1, 2, 2, 1), head=64),
    "s": Size((24, 48, 96, 192, 288), (1, 2, 2, 1), head=96),
    "m": Size((40, 80, 160, 320, 480), (2, 4, 4, 2), head=128),
    "l": Size((64, 128, 256, 512, 768), (3, 6, 6, 3), head=192),
}


class YoloHead(nn.Module):
    """Decoupled head: at each level one branch for classes and one for the distances to the four sides."""

    def __init__(self, in_channels: Sequence[int], hidden: int, num_classes: int, *, depthwise: bool) -> None:
        super().__init__()

        def branches() -> nn.ModuleList:
            return nn.ModuleList(
                nn.Sequential(
                    build_conv(channels, hidden, 3, depthwise=depthwise),
                    build_conv(hidden, hidden, 3, depthwise=depthwise),
                )
                for channels in in_channels
            )

        self.cls_convs = branches()
        self.box_convs = branches()
        prior = -math.log((1 - PRIOR_PROBABILITY) / PRIOR_PROBABILITY)
        self.cls_preds = nn.ModuleList(_biased_conv(hidden, num_classes, prior) for _ in in_channels)
        self.box_preds = nn.ModuleList(_biased_conv(hidden, 4, INITIAL_DISTANCE) for _ in in_channels)

    def forward(self, features: tuple[Tensor, ...]) -> list[Tensor]:
        """Return (B, 4 + K, H, W) per level: raw left, top, right, bottom, then class logits."""
        return [
            torch.cat((box_pred(box_convs(x)), cls_pred(cls_convs(x))), dim=1)
            for x, box_convs, box_pred, cls_convs, cls_pred in zip(
                features, self.box_convs, self.box_preds, self.cls_convs, self.cls_preds, strict=True
            )
        ]


def _biased_conv(in_channels: int, out_channels: int, bias: float) -> nn.Conv2d:
    """A 1x1 convolution whose untrained output lies around `bias`."""
    conv = nn.Conv2d(in_channels, out_channels, 1)
    with torch.no_grad():
        conv.bias.fill_(bias)  # type: ignore[union-attr]
    return conv


class YoloDetector(nn.Module):
    """The detector of the detection task: RGB in [0, 1] in, losses or detections out."""

    normalises_over_ranks = True

    def __init__(self, size: Size, num_classes: int, settings: DetectionSettings, levels: Sequence[int]) -> None:
        super().__init__()
        channels = size.widths[-len(levels) :]
        has_stride_4 = levels[0] == FINEST_LEVEL
        stem = ConvBnAct(3, size.widths[0], 3, 2)
        trunk = CspDarknet(size.widths, size.depths, stem, depthwise=False, has_stride_4=has_stride_4)
        self.backbone = PathAggregation(trunk, channels, size.neck_depth, depthwise=False)
        self.head = YoloHead(channels, size.head, num_classes, depthwise=size.depthwise_head)
        self.settings = settings
        class_loss = settings.loss if isinstance(settings.loss, SigmoidLossSettings) else None
        self.class_loss = DenseClassLoss(class_loss, FocalForm())

    def forward(
        self, images: Tensor, targets: list[dict[str, Tensor]] | None = None
    ) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """Return losses in train mode, detections in eval mode.

        Args:
            images: (B, 3, H, W) float RGB in [0, 1]; H and W multiples of 32.
            targets: per image `boxes` (N, 4) xyxy pixels and `labels` (N,); needed in train mode.
        """
        maps = self.head(self.backbone(images))
        with torch.autocast(images.device.type, enabled=False):
            raw_BAC = flatten_levels(maps)
            cells_A2, strides_A1 = anchor_points([level.shape for level in maps], images.device)
            centers_A2 = (cells_A2 + 0.5) * strides_A1
            distances_BA4, logits_BAK = softplus(raw_BAC[..., :4]), raw_BAC[..., 4:]
            boxes_BA4 = torch.cat(
                (centers_A2 - distances_BA4[..., :2] * strides_A1, centers_A2 + distances_BA4[..., 2:] * strides_A1),
                dim=2,
            )
            if self.training:
                truths = pad_targets(targets, images.device)
                return yolo_losses(logits_BAK, boxes_BA4, centers_A2, strides_A1, truths, self.class_loss)
            return select_detections(
                boxes_BA4,
                logits_BAK.sigmoid(),
                score_threshold=self.settings.score_threshold,
                nms_threshold=self.settings.nms_threshold,
                max_detections=self.settings.max_detections,
            )

    def parameter_stages(self) -> list[list[nn.Parameter]]:
        """Return all parameters by depth: the stages of the trunk, stem first, and last neck and head together."""
        return detector_stages(self, self.backbone.backbone)


def yolo_losses(
    logits_BAK: Tensor,
    boxes_BA4: Tensor,
    centers_A2: Tensor,
    strides_A1: Tensor,
    truths: GroundTruths,
    class_loss: DenseClassLoss,
) -> dict[str, Tensor]:
    """Assign by task alignment and sum the losses, divided by the sum of the target scores averaged over ranks.

    Class: over all points, against the alignment as a soft label. Box: 1 - CIoU, and the mean distance of the sides
    in strides, both weighted by that soft label.

    Args:
        logits_BAK: (B, A, K) float32; `boxes_BA4` (B, A, 4) xyxy pixels.
        centers_A2: (A, 2) pixels; `strides_A1` (A, 1).
    """
    assignment = assign_task_aligned(logits_BAK.detach(), boxes_BA4.detach(), centers_A2, truths)
    total = mean_over_ranks(assignment.quality_BA.sum()).clamp(min=1)
    image_index, anchor_index = assignment.is_positive_BA.nonzero(as_tuple=True)
    gt_index = assignment.gt_index_BA[image_index, anchor_index]
    quality = assignment.quality_BA[image_index, anchor_index]
    gt_boxes, boxes = truths.boxes_BG4[image_index, gt_index], boxes_BA4[image_index, anchor_index]
    labels = truths.labels_BG[image_index, gt_index]
    labels_BA = torch.full_like(assignment.gt_index_BA, -1)
    labels_BA[image_index, anchor_index] = labels
    wanted_BAK = torch.zeros_like(logits_BAK)
    wanted_BAK[image_index, anchor_index, labels] = quality
    loss_cls = class_loss(logits_BAK.flatten(0, 1), wanted_BAK.flatten(0, 1), labels_BA.flatten())
    l1 = l1_loss(boxes, gt_boxes, reduction="none").mean(dim=1) / strides_A1[anchor_index, 0]
    return {
        "loss_cls": CLS_WEIGHT * loss_cls / total,
        "loss_box": BOX_WEIGHT * ((1 - ciou(boxes, gt_boxes)) * quality).sum() / total,
        "loss_l1": L1_WEIGHT * (l1 * quality).sum() / total,
    }


def build(settings: DetectionSettings, num_classes: int) -> YoloDetector:
    """Make the detector and load its weights, if any; a head for other classes is made anew, and that is logged."""
    model = settings.model
    if not isinstance(model, YoloModel):
        raise ConfigError(f"yolo cannot be built from the settings of {model.name!r}; set `model.name: yolo`.")
    detector = YoloDetector(SIZES[model.size], num_classes, settings, model.levels)
    if model.weights is not None:
        load_into(detector, load_state(model.weights), what=f"yolo {model.size}", allow_head_mismatch=True)
    return detector
