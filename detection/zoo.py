"""What detectors there are: `orchestrator zoo` shows this list. Nothing is downloaded and no weight is allocated."""

from typing import Any, get_args

import torch

from detection.models import MODELS, build_model
from detection.settings import DetectionSettings, YoloModel, YoloxModel

COCO_CLASSES = 80
ANY_BACKBONE = "any torchvision or timm classifier with a pyramid"
DETAILS: dict[str, dict[str, Any]] = {
    "yolo": {
        "source": "own",
        "papers": ["arXiv:2108.07755", "arXiv:1911.08287"],
        "weights": [],
        "sizes": get_args(YoloModel.model_fields["size"].annotation),
    },
    "yolox": {
        "source": "own, official parameter names",
        "papers": ["arXiv:2107.08430"],
        "weights": ["yolox:yolox_SIZE.pth"],
        "sizes": get_args(YoloxModel.model_fields["size"].annotation),
    },
    "faster_rcnn": {
        "source": "torchvision",
        "papers": ["arXiv:1506.01497", "arXiv:1612.03144"],
        "weights": ["torchvision:COCO_V1 (backbone resnet50, or `official`)"],
        "backbone": ANY_BACKBONE,
    },
    "retinanet": {
        "source": "torchvision",
        "papers": ["arXiv:1708.02002"],
        "weights": ["torchvision:COCO_V1 (backbone resnet50)"],
        "backbone": ANY_BACKBONE,
    },
    "fcos": {
        "source": "torchvision",
        "papers": ["arXiv:1904.01355"],
        "weights": ["torchvision:COCO_V1 (backbone resnet50)"],
        "backbone": ANY_BACKBONE,
    },
    "ssd": {
        "source": "torchvision",
        "papers": ["arXiv:1512.02325"],
        "weights": ["torchvision:COCO_V1 (no backbone)"],
        "backbone": f"VGG-16, or {ANY_BACKBONE}",
    },
    "ssdlite": {
        "source": "torchvision",
        "papers": ["arXiv:1801.04381", "arXiv:1905.02244"],
        "weights": ["torchvision:COCO_V1 (no backbone)"],
        "backbone": f"MobileNetV3-Large, or {ANY_BACKBONE}",
    },
}


def list_models() -> list[dict[str, Any]]:
    """List every detector, smallest name first.

    Returns:
        Per model, JSON-able: `name`, `source`, `sizes`, `backbone`, `papers`, `weights` (URIs that fit), and
        `parameters` for COCO's 80 classes, by size or under `default`.
    """
    return [_describe(name) for name in sorted(MODELS)]


def _describe(name: str) -> dict[str, Any]:
    details = DETAILS[name]
    sizes = list(details.get("sizes", ()))
    variants: list[dict[str, Any]] = [{"size": size} for size in sizes] or [{}]
    return {
        "name": name,
        "source": details["source"],
        "sizes": sizes,
        "backbone": details.get("backbone", "its own"),
        "papers": details["papers"],
        "weights": details["weights"],
        "parameters": {variant.get("size", "default"): _count_parameters(name, variant) for variant in variants},
    }


def _count_parameters(name: str, variant: dict[str, Any]) -> int:
    settings = DetectionSettings.model_validate({"model": {"name": name, **variant}})
    with torch.device("meta"):
        model = build_model(settings, COCO_CLASSES)
    return sum(parameter.numel() for parameter in model.parameters())
