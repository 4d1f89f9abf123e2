"""A trained classifier that another one learns from. It is no part of the student: not in its weights, not shipped."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from classification.models import build_model
from classification.settings import ClassificationSettings
from engine.bundle import load_bundle
from engine.weights import load_into
from foundation.errors import ConfigError, WeightsError


class Teacher:
    """A bundle's model, with its classes in the student's order.

    Args:
        uri: `file:FOLDER` of a classification bundle.
        classes: the student's.

    Raises:
        WeightsError: if it is no classification bundle.
        ConfigError: if it knows other classes.
    """

    def __init__(self, uri: str, classes: tuple[str, ...]) -> None:
        folder = Path(uri.removeprefix("file:"))
        if not folder.is_dir():
            raise WeightsError(f"distill.weights {uri!r} is no bundle folder; give the stage or the registered model.")
        manifest, state = load_bundle(folder)
        if manifest.task != "classification":
            raise WeightsError(f"distill.weights {uri!r} is a model for {manifest.task}; a classifier is needed.")
        if sorted(manifest.classes) != sorted(classes):
            raise ConfigError(
                f"distill.weights: the teacher knows the classes {', '.join(manifest.classes)}, the student "
                f"{', '.join(classes)}. Take a teacher of the same classes."
            )
        settings = ClassificationSettings.model_validate(manifest.settings)
        self.image_size = settings.image_size
        self.model = build_model(settings, len(classes))
        load_into(self.model, state, what=f"the model that {folder} describes", allow_head_mismatch=False)
        self.model.eval().requires_grad_(False)
        self._order = [manifest.classes.index(name) for name in classes]

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Return the (B, K) probabilities of the images (B, 3, H, W) that the student sees, resized to its own size."""
        if tuple(images.shape[-2:]) != self.image_size:
            size = list(self.image_size)
            images = F.interpolate(images.float(), size=size, mode="bilinear", align_corners=False, antialias=True)
        answers: Tensor = self.model.to(images.device)(images)
        return answers[:, self._order]
