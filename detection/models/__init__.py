"""Every detector by its name. A model maps images to losses (train mode) or detections (eval mode)."""

from collections.abc import Callable

from torch import nn

from detection.models import faster_rcnn, fcos, retinanet, ssd, ssdlite, yolo, yolox
from detection.settings import DetectionSettings
from foundation.errors import ConfigError

MODELS: dict[str, Callable[[DetectionSettings, int], nn.Module]] = {
    "faster_rcnn": faster_rcnn.build,
    "fcos": fcos.build,
    "retinanet": retinanet.build,
    "ssd": ssd.build,
    "ssdlite": ssdlite.build,
    "yolo": yolo.build,
    "yolox": yolox.build,
}


def build_model(settings: DetectionSettings, num_classes: int) -> nn.Module:
    """Build the detector that the settings name, with its weights where they name some.

    Raises:
        ConfigError: if there is no such model.
        WeightsError: if its weights do not fit.
    """
    name = settings.model.name
    if name not in MODELS:
        raise ConfigError(
            f"unknown model {name!r}; known: {', '.join(sorted(MODELS))}. Set `model.name` to one of them."
        )
    return MODELS[name](settings, num_classes)
