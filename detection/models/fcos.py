"""FCOS on torchvision's parts: one box per pixel, without anchors.

Source: Tian et al. 2019, arXiv:1904.01355; GIoU loss and centre sampling as in arXiv:2006.09214. Losses are divided by
the number of positives averaged over all ranks. One output per class; torchvision's own weights have one more, for
background, which is left out.
"""

import torch
from torch import Tensor, nn
from torchvision.models.detection import FCOS
from torchvision.models.detection.fcos import FCOSHead

from detection.class_losses import DenseClassLoss, FocalForm, one_hot_targets
from detection.loss_settings import SigmoidLossSettings
from detection.models.pyramid import Pyramid, build_pyramid
from detection.models.stages import detector_stages
from detection.models.torchvision_parts import (
    ClassRows,
    FloatAnchors,
    Losses,
    Normalize,
    Targets,
    float_outputs,
    is_stock_resnet50,
    load_detector,
    over_ranks,
    run,
)
from detection.settings import DetectionSettings, FcosModel
from foundation.errors import ConfigError

NORM_GROUPS = 32
"""Groups of the head's GroupNorm, fixed in torchvision."""
OWN_LOSS = FocalForm(gamma=2.0, alpha=0.25)
LOSS_NAMES = {"classification": "loss_cls", "bbox_regression": "loss_box", "bbox_ctrness": "loss_centerness"}
CLASS_ROWS = (ClassRows(r"^head\.classification_head\.cls_logits\."),)


class FcosHead(FCOSHead):
    """torchvision's head with losses that do not depend on how a batch is spread over ranks, and where asked for
    another class loss."""

    class_loss: DenseClassLoss | None

    def __init__(self, channels: int, num_anchors: int, num_classes: int, num_convs: int) -> None:
        super().__init__(channels, num_anchors, num_classes, num_convs)
        self.class_loss = None

    def compute_loss(
        self, targets: Targets, head_outputs: Losses, anchors: list[Tensor], matched_idxs: list[Tensor]
    ) -> Losses:
        """Compute class, GIoU and centre-ness losses."""
        losses = super().compute_loss(targets, head_outputs, anchors, matched_idxs)
        if self.class_loss is not None:
            losses["classification"] = self._classes(targets, head_outputs["cls_logits"], torch.stack(matched_idxs))
        return over_ranks(losses, matched_idxs)

    def _classes(self, targets: Targets, logits_BAK: Tensor, matches_BA: Tensor) -> Tensor:
        labels_BA = torch.full_like(matches_BA, -1)
        for labels_A, matches_A, target in zip(labels_BA, matches_BA, targets, strict=True):
            labels_A[matches_A >= 0] = target["labels"][matches_A[matches_A >= 0]]
        assert self.class_loss is not None
        labels = labels_BA.flatten()
        loss = self.class_loss(logits_BAK.flatten(0, 1), one_hot_targets(labels, logits_BAK.shape[2]), labels)
        return loss / (matches_BA >= 0).sum().clamp(min=1)


class Fcos(FCOS):
    """torchvision's FCOS, parameter names included, called the way the detection task wants it."""

    normalises_over_ranks = True

    def __init__(self, pyramid: Pyramid, settings: DetectionSettings, num_classes: int, num_convs: int) -> None:
        strides = tuple((2**level,) for level in pyramid.levels)
        super().__init__(
            pyramid,
            num_classes,
            anchor_generator=FloatAnchors(strides, ((1.0,),) * len(strides)),
            head=FcosHead(pyramid.out_channels, 1, num_classes, num_convs),
            score_thresh=settings.score_threshold,
            nms_thresh=settings.nms_threshold,
            detections_per_img=settings.max_detections,
        )
        if isinstance(settings.loss, SigmoidLossSettings):
            self.head.class_loss = DenseClassLoss(settings.loss, OWN_LOSS)
        self.transform = Normalize()
        float_outputs(self.head)

    def forward(self, images: Tensor, targets: Targets | None = None) -> Losses | Targets:
        """Return losses in train mode, detections in eval mode.

        Args:
            images: (B, 3, H, W) float RGB in [0, 1].
            targets: per image `boxes` (N, 4) xyxy pixels and `labels` (N,) in 0 … K-1; needed in train mode.
        """
        return run(super().forward, images, targets, is_training=self.training, loss_names=LOSS_NAMES, first_label=0)

    def parameter_stages(self) -> list[list[nn.Parameter]]:
        """Return all parameters by depth: the stages of the trunk, stem first, and last neck and head together."""
        return detector_stages(self, self.backbone.body)


def build(settings: DetectionSettings, num_classes: int) -> Fcos:
    """Build the detector and load its weights, if any."""
    model = settings.model
    if not isinstance(model, FcosModel):
        raise ConfigError(f"fcos cannot be built from the settings of {model.name!r}; set `model.name`.")
    if model.fpn_channels % NORM_GROUPS or model.fpn_channels == NORM_GROUPS:
        # A group of one channel cannot be normalised on a map of one pixel.
        raise ConfigError(f"model.fpn_channels {model.fpn_channels} must be 64, 96, 128, … for fcos's group norm.")
    pyramid = build_pyramid(model.backbone, model.levels, model.fpn_channels, pools_extra_levels=False)
    detector = Fcos(pyramid, settings, num_classes, model.head_convs)
    if model.weights is not None:
        load_detector(
            detector,
            model.weights,
            architecture="fcos_resnet50_fpn" if is_stock_resnet50(model) else None,
            what="fcos",
            num_outputs=num_classes,
            class_rows=CLASS_ROWS,
            has_background=False,
        )
    return detector
