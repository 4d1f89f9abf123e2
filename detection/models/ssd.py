"""SSD on torchvision's parts: default boxes on six feature maps, with the official VGG-16 or any backbone.

Source: Liu et al. 2016, arXiv:1512.02325.
"""

from torchvision.models.detection import ssd300_vgg16
from torchvision.models.detection.ssd import SSDHead

from detection.models.fitted_anchors import FittedDefaultBoxes
from detection.models.ssd_parts import DefaultBoxes, Ssd, build_ssd_trunk, check_smallest_size
from detection.models.torchvision_parts import ClassRows, Normalize, load_detector
from detection.settings import DetectionSettings, SsdModel
from foundation.errors import ConfigError

ASPECT_RATIOS = [[2], [2, 3], [2, 3], [2, 3], [2], [2]]
STEPS_AT_300 = [8, 16, 32, 64, 100, 300]
VGG_MEAN = (0.48235, 0.45882, 0.40784)
VGG_STD = (1 / 255, 1 / 255, 1 / 255)
"""The official weights' inputs are mean-free pixels in 0-255."""
CLASS_ROWS = (ClassRows(r"^head\.classification_head\.module_list\."),)


def build(settings: DetectionSettings, num_classes: int) -> Ssd:
    """Build the detector and load its weights, if any."""
    model = settings.model
    if not isinstance(model, SsdModel):
        raise ConfigError(f"ssd cannot be built from the settings of {model.name!r}; set `model.name`.")
    box_kind = FittedDefaultBoxes if model.anchors == "auto" else DefaultBoxes
    if model.backbone is None:
        stock = ssd300_vgg16(weights=None, weights_backbone=None, num_classes=num_classes + 1)
        check_smallest_size(stock.backbone, settings, "ssd with VGG-16")
        boxes = box_kind(ASPECT_RATIOS, steps=STEPS_AT_300)
        normalize = Normalize(VGG_MEAN, VGG_STD, size_divisible=1)
        detector = Ssd(stock.backbone, boxes, stock.head, settings, num_classes, normalize)
    else:
        trunk = build_ssd_trunk(model.backbone, depthwise=False)
        boxes = box_kind(ASPECT_RATIOS)
        head = SSDHead(trunk.out_channels, boxes.num_anchors_per_location(), num_classes + 1)
        detector = Ssd(trunk, boxes, head, settings, num_classes, Normalize(size_divisible=1))
    if model.weights is not None:
        load_detector(
            detector,
            model.weights,
            architecture="ssd300_vgg16" if model.backbone is None else None,
            what="ssd",
            num_outputs=num_classes + 1,
            class_rows=CLASS_ROWS,
            has_background=True,
        )
    return detector
