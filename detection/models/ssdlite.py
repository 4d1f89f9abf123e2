"""SSDlite on torchvision's parts: SSD with depthwise heads, with the official MobileNetV3-Large or any backbone.

Source: Sandler et al. 2018, arXiv:1801.04381; Howard et al. 2019, arXiv:1905.02244.
"""

from functools import partial

from torch import nn
from torchvision.models.detection import ssdlite320_mobilenet_v3_large
from torchvision.models.detection.ssdlite import SSDLiteHead

from detection.models.ssd_parts import DefaultBoxes, Ssd, build_ssd_trunk
from detection.models.torchvision_parts import ClassRows, Normalize, load_detector
from detection.settings import DetectionSettings, SsdliteModel
from foundation.errors import ConfigError

ASPECT_RATIOS = [[2, 3]] * 6
MIN_RATIO, MAX_RATIO = 0.2, 0.95
"""Default box sizes over the image's: first and last map of the official network."""
HALF = (0.5, 0.5, 0.5)
"""The official weights' inputs lie in [-1, 1]."""
CLASS_ROWS = (ClassRows(r"^head\.classification_head\.module_list\.\d+\.1\."),)


def build(settings: DetectionSettings, num_classes: int) -> Ssd:
    """Build the detector and load its weights, if any."""
    model = settings.model
    if not isinstance(model, SsdliteModel):
        raise ConfigError(f"ssdlite cannot be built from the settings of {model.name!r}; set `model.name`.")
    if model.backbone is None:
        stock = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=num_classes + 1)
        boxes = DefaultBoxes(ASPECT_RATIOS, None, MIN_RATIO, MAX_RATIO)
        detector = Ssd(stock.backbone, boxes, stock.head, settings, num_classes, Normalize(HALF, HALF, 1))
    else:
        trunk = build_ssd_trunk(model.backbone, depthwise=True)
        boxes = DefaultBoxes(ASPECT_RATIOS)
        norm = partial(nn.BatchNorm2d, eps=1e-3, momentum=0.03)  # the official ones
        head = SSDLiteHead(trunk.out_channels, boxes.num_anchors_per_location(), num_classes + 1, norm)
        detector = Ssd(trunk, boxes, head, settings, num_classes, Normalize(size_divisible=1))
    if model.weights is not None:
        load_detector(
            detector,
            model.weights,
            architecture="ssdlite320_mobilenet_v3_large" if model.backbone is None else None,
            what="ssdlite",
            num_outputs=num_classes + 1,
            class_rows=CLASS_ROWS,
            has_background=True,
        )
    return detector
