"""RetinaNet on torchvision's parts: dense anchors and the focal loss.

Source: Lin et al. 2017, arXiv:1708.02002. Losses are divided by each image's positives and averaged over the local
images. One output per class; torchvision's own weights have one more, for background, which is left out.
"""

import torch
from torch import Tensor, nn
from torchvision.models.detection import RetinaNet
from torchvision.models.detection._utils import Matcher
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.ops import Conv2dNormActivation

from detection.class_losses import DenseClassLoss, FocalForm, one_hot_targets
from detection.loss_settings import SigmoidLossSettings
from detection.models.fitted_anchors import FittedAnchors
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
    run,
)
from detection.settings import DetectionSettings, RetinanetModel
from foundation.errors import ConfigError

ANCHOR_SCALE = 4
"""Smallest anchor over stride; two more per octave, as in the paper's section 4."""
OCTAVE_STEPS = (0.0, 1 / 3, 2 / 3)
ASPECT_RATIOS = (0.5, 1.0, 2.0)
WEIGHT_STD = 0.01
"""Of the head's convolutions at the start (section 4.1)."""
OWN_LOSS = FocalForm(gamma=2.0, alpha=0.25)
LOSS_NAMES = {"classification": "loss_cls", "bbox_regression": "loss_box"}
CLASS_ROWS = (ClassRows(r"^head\.classification_head\.cls_logits\."),)


class DenseHead(RetinaNetHead):
    """torchvision's head with any number of convolutions, which it has four of, and where asked for another loss."""

    class_loss: DenseClassLoss | None

    def __init__(self, channels: int, num_anchors: int, num_classes: int, num_convs: int) -> None:
        super().__init__(channels, num_anchors, num_classes)
        self.class_loss = None
        for branch in (self.classification_head, self.regression_head):
            convs = [Conv2dNormActivation(channels, channels, norm_layer=None) for _ in range(num_convs)]
            for conv in convs:
                nn.init.normal_(conv[0].weight, std=WEIGHT_STD)
                nn.init.zeros_(conv[0].bias)
            branch.conv = nn.Sequential(*convs)

    def compute_loss(
        self, targets: Targets, head_outputs: Losses, anchors: list[Tensor], matched_idxs: list[Tensor]
    ) -> Losses:
        """Compute the class and box losses."""
        if self.class_loss is None:
            return super().compute_loss(targets, head_outputs, anchors, matched_idxs)
        by_image = [
            self.class_loss(*_class_targets(*pair)) / (pair[2] >= 0).sum().clamp(min=1)
            for pair in zip(head_outputs["cls_logits"], targets, matched_idxs, strict=True)
        ]
        boxes = self.regression_head.compute_loss(targets, head_outputs, anchors, matched_idxs)
        return {"classification": torch.stack(by_image).mean(), "bbox_regression": boxes}


def _class_targets(logits: Tensor, target: dict[str, Tensor], matches: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, targets (A, K) and labels (A,) of one image's anchors; those between both thresholds are left out."""
    valid = matches != Matcher.BETWEEN_THRESHOLDS
    logits, matches = logits[valid], matches[valid]
    labels = torch.full_like(matches, -1)
    labels[matches >= 0] = target["labels"][matches[matches >= 0]]
    return logits, one_hot_targets(labels, logits.shape[1]), labels


class Retinanet(RetinaNet):
    """torchvision's RetinaNet, parameter names included, called the way the detection task wants it."""

    normalises_over_ranks = False

    def __init__(self, pyramid: Pyramid, settings: DetectionSettings, num_classes: int, model: RetinanetModel) -> None:
        levels = pyramid.levels
        sizes = tuple(tuple(int(ANCHOR_SCALE * 2 ** (level + step)) for step in OCTAVE_STEPS) for level in levels)
        anchor_kind = FittedAnchors if model.anchors == "auto" else FloatAnchors
        anchors = anchor_kind(sizes, (ASPECT_RATIOS,) * len(sizes))
        num_anchors = anchors.num_anchors_per_location()[0]
        super().__init__(
            pyramid,
            num_classes,
            anchor_generator=anchors,
            head=DenseHead(pyramid.out_channels, num_anchors, num_classes, model.head_convs),
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


def build(settings: DetectionSettings, num_classes: int) -> Retinanet:
    """Build the detector and load its weights, if any."""
    model = settings.model
    if not isinstance(model, RetinanetModel):
        raise ConfigError(f"retinanet cannot be built from the settings of {model.name!r}; set `model.name`.")
    pyramid = build_pyramid(model.backbone, model.levels, model.fpn_channels, pools_extra_levels=False)
    detector = Retinanet(pyramid, settings, num_classes, model)
    if model.weights is not None:
        load_detector(
            detector,
            model.weights,
            architecture="retinanet_resnet50_fpn" if is_stock_resnet50(model) else None,
            what="retinanet",
            num_outputs=num_classes,
            class_rows=CLASS_ROWS,
            has_background=False,
            is_without_eps=True,
        )
    return detector
