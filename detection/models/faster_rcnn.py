"""Faster R-CNN with a feature pyramid, on torchvision's parts: region proposals, RoIAlign, a two-layer head.

Source: Ren et al. 2015, arXiv:1506.01497; Lin et al. 2017, arXiv:1612.03144. Losses are means over the local images.
"""

from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.roi_heads import RoIHeads, fastrcnn_loss
from torchvision.ops import MultiScaleRoIAlign

from detection.class_losses import BoxHeadLoss
from detection.loss_settings import SoftmaxLossSettings
from detection.models.fitted_anchors import FittedAnchors
from detection.models.pyramid import build_pyramid, parts_of
from detection.models.stages import detector_stages
from detection.models.torchvision_parts import (
    ClassRows,
    FloatAnchors,
    Losses,
    Normalize,
    Targets,
    float_outputs,
    load_detector,
    run,
)
from detection.settings import BackboneSettings, DetectionSettings, FasterRcnnModel
from foundation.errors import ConfigError
from vision.layers.apply import apply_parts
from vision.layers.settings import PartsSettings

ASPECT_RATIOS = (0.5, 1.0, 2.0)
ANCHOR_SCALE = 8
"""Anchor size over stride, where no sizes are given."""
SAMPLING_RATIO = 2
"""RoIAlign's samples per bin and axis."""
LOSS_NAMES = {
    "loss_classifier": "loss_cls",
    "loss_box_reg": "loss_box",
    "loss_objectness": "loss_objectness",
    "loss_rpn_box_reg": "loss_rpn_box",
}
CLASS_ROWS = (
    ClassRows(r"^roi_heads\.box_predictor\.cls_score\."),
    ClassRows(r"^roi_heads\.box_predictor\.bbox_pred\.", is_class_major=True),
)


class RoiHeads(RoIHeads):
    """torchvision's box head, made of the parts of one, with a class loss of our own."""

    def __init__(self, stock: RoIHeads, class_loss: BoxHeadLoss) -> None:
        super().__init__(
            stock.box_roi_pool,
            stock.box_head,
            stock.box_predictor,
            stock.proposal_matcher.high_threshold,
            stock.proposal_matcher.low_threshold,
            stock.fg_bg_sampler.batch_size_per_image,
            stock.fg_bg_sampler.positive_fraction,
            stock.box_coder.weights,
            stock.score_thresh,
            stock.nms_thresh,
            stock.detections_per_img,
        )
        self.class_loss = class_loss

    def forward(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: Targets | None = None,
    ) -> Any:
        """Return detections and losses, one of them empty, as torchvision's does."""
        if not self.training:
            return super().forward(features, proposals, image_shapes, targets)
        proposals, _, labels, box_targets = self.select_training_samples(proposals, targets)
        pooled = self.box_head(self.box_roi_pool(features, proposals, image_shapes))
        logits, box_outputs = self.box_predictor(pooled)
        _, loss_box = fastrcnn_loss(logits, box_outputs, labels, box_targets)
        return [], {"loss_classifier": self.class_loss(logits, torch.cat(labels)), "loss_box_reg": loss_box}


class FasterRcnn(GeneralizedRCNN):
    """torchvision's Faster R-CNN, parameter names included, called the way the detection task wants it."""

    normalises_over_ranks = False

    def __init__(
        self, stock: FasterRCNN, anchor_kind: type[FloatAnchors], class_loss: BoxHeadLoss | None = None
    ) -> None:
        roi_heads = stock.roi_heads if class_loss is None else RoiHeads(stock.roi_heads, class_loss)
        super().__init__(stock.backbone, stock.rpn, roi_heads, Normalize())
        anchors = stock.rpn.anchor_generator
        self.rpn.anchor_generator = anchor_kind(anchors.sizes, anchors.aspect_ratios)
        float_outputs(self.rpn.head)
        float_outputs(self.roi_heads.box_predictor)

    def forward(self, images: Tensor, targets: Targets | None = None) -> Losses | Targets:
        """Return losses in train mode, detections in eval mode.

        Args:
            images: (B, 3, H, W) float RGB in [0, 1].
            targets: per image `boxes` (N, 4) xyxy pixels and `labels` (N,) in 0 … K-1; needed in train mode.
        """
        return run(super().forward, images, targets, is_training=self.training, loss_names=LOSS_NAMES, first_label=1)

    def parameter_stages(self) -> list[list[nn.Parameter]]:
        """Return all parameters by depth: the stages of the trunk, stem first, and last neck and head together."""
        return detector_stages(self, self.backbone.body)


def build(settings: DetectionSettings, num_classes: int) -> FasterRcnn:
    """Build the detector and load its weights, if any."""
    model = settings.model
    if not isinstance(model, FasterRcnnModel):
        raise ConfigError(f"faster_rcnn cannot be built from the settings of {model.name!r}; set `model.name`.")
    if model.official is None:
        stock = _build_from_settings(model, settings, num_classes + 1)
    else:
        stock = _build_official(model, settings, num_classes + 1)
    class_loss = BoxHeadLoss(settings.loss, num_classes) if isinstance(settings.loss, SoftmaxLossSettings) else None
    detector = FasterRcnn(stock, FittedAnchors if model.anchors == "auto" else FloatAnchors, class_loss)
    if model.weights is not None:
        load_detector(
            detector,
            model.weights,
            architecture=model.official or _published_name(model),
            what="faster_rcnn",
            num_outputs=num_classes + 1,
            class_rows=CLASS_ROWS,
            has_background=True,
            is_without_eps=model.official is None,
        )
    return detector


def _build_from_settings(model: FasterRcnnModel, settings: DetectionSettings, num_outputs: int) -> FasterRCNN:
    pyramid = build_pyramid(model.backbone, model.levels, model.fpn_channels, pools_extra_levels=True)
    sizes = model.anchor_sizes or tuple(float(ANCHOR_SCALE * 2**level) for level in model.levels)
    if len(sizes) != len(model.levels):
        raise ConfigError(
            f"model.anchor_sizes has {len(sizes)} sizes for {len(model.levels)} levels; give one per level, in pixels."
        )
    pool_levels = [str(level) for level in pyramid.body.levels]
    return FasterRCNN(
        pyramid,
        rpn_anchor_generator=FloatAnchors(tuple((size,) for size in sizes), (ASPECT_RATIOS,) * len(sizes)),
        box_roi_pool=MultiScaleRoIAlign(pool_levels, model.roi_pool, SAMPLING_RATIO),
        box_head=TwoMLPHead(model.fpn_channels * model.roi_pool**2, model.head_channels),
        box_predictor=FastRCNNPredictor(model.head_channels, num_outputs),
        **_limits(model, settings),
    )


def _build_official(model: FasterRcnnModel, settings: DetectionSettings, num_outputs: int) -> FasterRCNN:
    own = BackboneSettings(**{part: getattr(model.backbone, part) for part in PartsSettings.model_fields})
    if model.backbone != own:
        raise ConfigError(
            f"model.official {model.official} has its own backbone: leave everything but norm, activation, dropout and "
            "init out of model.backbone."
        )
    stock = torchvision.models.get_model(
        model.official, weights=None, weights_backbone=None, num_classes=num_outputs, **_limits(model, settings)
    )
    apply_parts(stock.backbone.body, parts_of(own), str(model.official), has_head=False)
    return stock


def _limits(model: FasterRcnnModel, settings: DetectionSettings) -> dict[str, float]:
    return {
        "rpn_pre_nms_top_n_train": model.proposals_train,
        "rpn_post_nms_top_n_train": model.proposals_train,
        "rpn_pre_nms_top_n_test": model.proposals_test,
        "rpn_post_nms_top_n_test": model.proposals_test,
        "box_batch_size_per_image": model.rois_per_image,
        "box_score_thresh": settings.score_threshold,
        "box_nms_thresh": settings.nms_threshold,
        "box_detections_per_img": settings.max_detections,
    }


def _published_name(model: FasterRcnnModel) -> str | None:
    """torchvision's name of the detector that these settings describe."""
    is_stock = (
        model.backbone.name == "resnet50"
        and model.backbone.width == 1
        and model.levels == (2, 3, 4, 5, 6)
        and (model.fpn_channels, model.roi_pool, model.head_channels) == (256, 7, 1024)
    )
    return "fasterrcnn_resnet50_fpn" if is_stock else None
