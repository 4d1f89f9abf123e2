"""YOLOX: the network with the official parameter names, its losses, and the detector built from settings.

Source: Ge et al. 2021, arXiv:2107.08430. Shape letters: B images, A anchor points of all levels, K classes.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, l1_loss, one_hot

from detection.assign import Assignment, GroundTruths, assign_simota, pad_targets
from detection.box_losses import iou
from detection.class_losses import DenseClassLoss, FocalForm
from detection.loss_settings import SigmoidLossSettings
from detection.models.stages import detector_stages
from detection.models.yolo_layers import (
    ConvBnAct,
    CspDarknet,
    Focus,
    PathAggregation,
    anchor_points,
    build_conv,
    flatten_levels,
)
from detection.nms import select_detections
from detection.settings import DetectionSettings, YoloxModel
from engine.distributed import mean_over_ranks
from engine.weights import load_into, load_state
from foundation.errors import ConfigError

PRIOR_PROBABILITY = 1e-2
"""What an untrained head says; keeps the first steps from drowning in false positives."""
BOX_WEIGHT = 5.0


@dataclass(frozen=True, slots=True)
class Size:
    """One row of the official table."""

    depth: float
    width: float
    depthwise: bool = False


SIZES = {
    "nano": Size(0.33, 0.25, depthwise=True),
    "tiny": Size(0.33, 0.375),
    "s": Size(0.33, 0.50),
    "m": Size(0.67, 0.75),
    "l": Size(1.0, 1.0),
    "x": Size(1.33, 1.25),
}


class YoloxHead(nn.Module):
    """Decoupled head: one branch for classes, one for boxes and objectness, at each level."""

    def __init__(self, in_channels: tuple[int, int, int], hidden: int, num_classes: int, *, depthwise: bool) -> None:
        super().__init__()

        def branches() -> nn.ModuleList:
            return nn.ModuleList(
                nn.Sequential(*(build_conv(hidden, hidden, 3, depthwise=depthwise) for _ in range(2)))
                for _ in in_channels
            )

        def predictions(channels: int) -> nn.ModuleList:
            return nn.ModuleList(nn.Conv2d(hidden, channels, 1) for _ in in_channels)

        self.cls_convs = branches()
        self.reg_convs = branches()
        self.cls_preds = predictions(num_classes)
        self.reg_preds = predictions(4)
        self.obj_preds = predictions(1)
        self.stems = nn.ModuleList(ConvBnAct(channels, hidden, 1) for channels in in_channels)
        for layer in (*self.cls_preds, *self.obj_preds):
            nn.init.constant_(layer.bias, -math.log((1 - PRIOR_PROBABILITY) / PRIOR_PROBABILITY))

    def forward(self, features: tuple[Tensor, Tensor, Tensor]) -> list[Tensor]:
        """Return (B, 4 + 1 + K, H, W) per level: raw box, objectness logit, class logits."""
        maps = []
        for level, feature in enumerate(features):
            x = self.stems[level](feature)
            boxes = self.reg_convs[level](x)
            classes = self.cls_preds[level](self.cls_convs[level](x))
            maps.append(torch.cat((self.reg_preds[level](boxes), self.obj_preds[level](boxes), classes), dim=1))
        return maps


class YoloxNetwork(nn.Module):
    """The bare network with the official names: BGR pixels in, dense predictions out."""

    def __init__(self, size: Size, num_classes: int) -> None:
        super().__init__()
        base, depth = int(64 * size.width), max(round(3 * size.depth), 1)
        c3, c4, c5 = base * 4, base * 8, base * 16
        trunk = CspDarknet(
            (base, base * 2, c3, c4, c5),
            (depth, 3 * depth, 3 * depth, depth),
            Focus(base),
            depthwise=size.depthwise,
        )
        self.backbone = PathAggregation(trunk, (c3, c4, c5), depth, depthwise=size.depthwise)
        self.head = YoloxHead((c3, c4, c5), int(256 * size.width), num_classes, depthwise=size.depthwise)

    def forward(self, images: Tensor) -> Tensor:
        """Predict densely.

        Args:
            images: (B, 3, H, W) float BGR in 0-255; H and W multiples of 32.

        Returns:
            (B, A, 5 + K) float32. In eval mode cx, cy, w, h in pixels, then objectness and class probabilities;
            in train mode the raw outputs.
        """
        maps = self.head(self.backbone(images))
        raw_BAC = flatten_levels(maps)
        if self.training:
            return raw_BAC
        cells_A2, strides_A1 = anchor_points([level.shape for level in maps], raw_BAC.device)
        return torch.cat((_decode_cxcywh(raw_BAC[..., :4], cells_A2, strides_A1), raw_BAC[..., 4:].sigmoid()), dim=2)


class YoloxDetector(nn.Module):
    """YOLOX as the detection task wants it: RGB in [0, 1] in, losses or detections out.

    Its state dict is the bare network's.
    """

    normalises_over_ranks = True

    def __init__(self, network: YoloxNetwork, settings: DetectionSettings, *, l1_loss: bool) -> None:
        super().__init__()
        self.backbone = network.backbone
        self.head = network.head
        self.settings = settings
        self.l1_loss = l1_loss
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
        maps = self.head(self.backbone(images.flip(1) * 255))
        with torch.autocast(images.device.type, enabled=False):
            raw_BAC = flatten_levels(maps)
            cells_A2, strides_A1 = anchor_points([level.shape for level in maps], images.device)
            if self.training:
                truths = pad_targets(targets, images.device)
                return yolox_losses(raw_BAC, cells_A2, strides_A1, truths, self.class_loss, with_l1=self.l1_loss)
            return self._detect(raw_BAC, cells_A2, strides_A1)

    def parameter_stages(self) -> list[list[nn.Parameter]]:
        """Return all parameters by depth: the stages of the trunk, stem first, and last neck and head together."""
        return detector_stages(self, self.backbone.backbone)

    def _detect(self, raw_BAC: Tensor, cells_A2: Tensor, strides_A1: Tensor) -> list[dict[str, Tensor]]:
        probabilities = raw_BAC[..., 4:].sigmoid()
        return select_detections(
            _cxcywh_to_xyxy(_decode_cxcywh(raw_BAC[..., :4], cells_A2, strides_A1)),
            probabilities[..., 1:] * probabilities[..., :1],
            score_threshold=self.settings.score_threshold,
            nms_threshold=self.settings.nms_threshold,
            max_detections=self.settings.max_detections,
        )


def yolox_losses(
    raw_BAC: Tensor,
    cells_A2: Tensor,
    strides_A1: Tensor,
    truths: GroundTruths,
    class_loss: DenseClassLoss,
    *,
    with_l1: bool,
) -> dict[str, Tensor]:
    """Assign by SimOTA and sum the published losses, divided by the number of positives averaged over ranks.

    Box: 5 x (1 - IoU^2). Objectness: BCE over all points. Class: of the positives alone, against the
    one-hot label times the IoU; published is BCE. With `with_l1` also L1 on the raw box outputs, as the official recipe
    does once mosaic is off.

    Args:
        raw_BAC: (B, A, 5 + K) float32 raw outputs.
    """
    boxes_BA4 = _cxcywh_to_xyxy(_decode_cxcywh(raw_BAC[..., :4], cells_A2, strides_A1))
    objectness_BA, logits_BAK = raw_BAC[..., 4], raw_BAC[..., 5:]
    assignment = _assign(raw_BAC.detach(), boxes_BA4.detach(), cells_A2, strides_A1, truths)
    positive = assignment.is_positive_BA
    num_positives = mean_over_ranks(positive.sum().float()).clamp(min=1)
    image_index, anchor_index = positive.nonzero(as_tuple=True)
    gt_index = assignment.gt_index_BA[image_index, anchor_index]
    gt_boxes = truths.boxes_BG4[image_index, gt_index]
    labels = truths.labels_BG[image_index, gt_index]
    wanted = one_hot(labels, logits_BAK.shape[2]) * assignment.quality_BA[positive][:, None]
    overlap = iou(boxes_BA4[image_index, anchor_index], gt_boxes)
    losses = {
        "loss_box": BOX_WEIGHT * (1 - overlap.square()).sum() / num_positives,
        "loss_obj": binary_cross_entropy_with_logits(objectness_BA, positive.float(), reduction="sum") / num_positives,
        "loss_cls": class_loss(logits_BAK[positive], wanted, labels) / num_positives,
    }
    if with_l1:
        wanted_raw = _encode_cxcywh(gt_boxes, cells_A2[anchor_index], strides_A1[anchor_index])
        raw_boxes = raw_BAC[image_index, anchor_index, :4]
        losses["loss_l1"] = l1_loss(raw_boxes, wanted_raw, reduction="sum") / num_positives
    return losses


def _assign(
    raw_BAC: Tensor, boxes_BA4: Tensor, cells_A2: Tensor, strides_A1: Tensor, truths: GroundTruths
) -> Assignment:
    probabilities_BAK = (raw_BAC[..., 5:].sigmoid() * raw_BAC[..., 4:5].sigmoid()).sqrt_()
    return assign_simota(probabilities_BAK, boxes_BA4, (cells_A2 + 0.5) * strides_A1, strides_A1, truths)


def _decode_cxcywh(raw_BA4: Tensor, cells_A2: Tensor, strides_A1: Tensor) -> Tensor:
    return torch.cat(((raw_BA4[..., :2] + cells_A2) * strides_A1, raw_BA4[..., 2:].exp() * strides_A1), dim=-1)


def _encode_cxcywh(boxes_N4: Tensor, cells_N2: Tensor, strides_N1: Tensor) -> Tensor:
    """Return the raw outputs that decode to `boxes_N4` (xyxy); degenerate boxes give finite values."""
    centers = (boxes_N4[:, :2] + boxes_N4[:, 2:]) / 2 / strides_N1 - cells_N2
    sizes = ((boxes_N4[:, 2:] - boxes_N4[:, :2]) / strides_N1).clamp(min=1e-8).log()
    return torch.cat((centers, sizes), dim=1)


def _cxcywh_to_xyxy(boxes: Tensor) -> Tensor:
    half = boxes[..., 2:] / 2
    return torch.cat((boxes[..., :2] - half, boxes[..., :2] + half), dim=-1)


def build_network(size: str, num_classes: int) -> YoloxNetwork:
    """Make the bare network with the official names and shapes, randomly initialised.

    Raises:
        ConfigError: if there is no such size.
    """
    if size not in SIZES:
        raise ConfigError(f"unknown yolox size {size!r}; known: {', '.join(SIZES)}. Set `model.size` to one of them.")
    return YoloxNetwork(SIZES[size], num_classes)


def build(settings: DetectionSettings, num_classes: int) -> YoloxDetector:
    """Make the detector and load its weights, if any; a head for other classes is made anew, and that is logged."""
    model = settings.model
    if not isinstance(model, YoloxModel):
        raise ConfigError(f"yolox cannot be built from the settings of {model.name!r}; set `model.name: yolox`.")
    detector = YoloxDetector(build_network(model.size, num_classes), settings, l1_loss=model.l1_loss)
    if model.weights is not None:
        load_into(detector, load_state(model.weights), what=f"yolox {model.size}", allow_head_mismatch=True)
    return detector
