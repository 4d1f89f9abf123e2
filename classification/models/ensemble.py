"""Several trained classifiers as one model: each sees the image at its own size, and one rule joins what they say.

Shapes: B images, M members, K classes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from classification.combination import Combination
from classification.ensemble_settings import EnsembleModelSettings
from classification.settings import ClassificationSettings
from classification.test_time import predict_views
from engine.settings import EnsembleMethod
from foundation.errors import ConfigError

Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class MemberSight:
    """What one member sees of the ensemble's image."""

    settings: ClassificationSettings
    """The member's own: size and views."""
    window: Size
    """(height, width) of the part in the image's middle that the member was trained to see."""

    def __call__(self, images: Tensor) -> Tensor:
        """Cut the window out of (B, 3, H, W) images and resize it, with antialiasing, to the member's own size."""
        height, width = self.window
        top, left = (images.shape[-2] - height) // 2, (images.shape[-1] - width) // 2
        seen = images[..., top : top + height, left : left + width]
        size = self.settings.evaluation_size
        if self.window == size:
            return seen
        return F.interpolate(seen.float(), size=list(size), mode="bilinear", align_corners=False, antialias=True).to(
            images
        )


class EnsembleModel(nn.Module):
    """Maps images to probabilities by asking every member; it is made of trained models and not trained itself.

    The state dict holds the members' own names below `members.0.`, `members.1.`, …

    Args:
        members: in eval mode (B, 3, h, w) -> (B, K) probabilities, each in its own order of the classes.
        sights: what each of them sees.
        method: how their answers become one.
        num_classes: K.
    """

    orders: Tensor
    notes: tuple[str, ...] = ()

    def __init__(
        self, members: Sequence[nn.Module], sights: Sequence[MemberSight], method: EnsembleMethod, num_classes: int
    ) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.sights = tuple(sights)
        self.combination = Combination(method, len(members), num_classes)
        # Where each class of the ensemble stands in the answer of each member, (M, K).
        self.register_buffer("orders", torch.arange(num_classes).repeat(len(members), 1))

    def forward(self, images: Tensor, targets: dict[str, Tensor] | None = None) -> Tensor:  # noqa: ARG002
        """Classify (B, 3, H, W) float RGB images in [0, 1]; return (B, K) float32 probabilities.

        Raises:
            ConfigError: in training mode.
        """
        if self.training:
            raise ConfigError("an ensemble is not trained itself; train its members, and join them again.")
        joined: Tensor = self.combination(self.answers(images))
        return joined

    def answers(self, images: Tensor) -> Tensor:
        """Return what each member says, (B, M, K) float32, in the ensemble's order of the classes."""
        said = [
            predict_views(member, sight(images), sight.settings.test_time, sight.settings.image_size)[:, order]
            for member, sight, order in zip(self.members, self.sights, self.orders, strict=True)
        ]
        return torch.stack(said, dim=1).float()


def build_ensemble(
    settings: ClassificationSettings, num_classes: int, build: Callable[[ClassificationSettings, int], nn.Module]
) -> EnsembleModel:
    """Build the ensemble that the settings name; what was trained and fitted comes with the bundle's weights.

    Args:
        settings: with an ensemble as `model`.
        num_classes: K.
        build: makes a member from its settings and K.
    """
    assert isinstance(settings.model, EnsembleModelSettings)
    members = [ClassificationSettings.model_validate(member) for member in settings.model.members]
    sights = [MemberSight(member, window_of(member, settings)) for member in members]
    return EnsembleModel([build(member, num_classes) for member in members], sights, settings.model.method, num_classes)


def window_of(member: ClassificationSettings, ensemble: ClassificationSettings) -> Size:
    """Return the (height, width) of the part of an ensemble's image that a member sees when it is evaluated alone.

    With `resize: crop` members may cut out more or less of an image's middle; otherwise all see the whole image.
    """
    whole = ensemble.evaluation_size
    if ensemble.resize != "crop":
        return whole
    factor = ensemble.shortest_side / member.shortest_side
    height, width = (min(round(side * factor), most) for side, most in zip(member.evaluation_size, whole, strict=True))
    return height, width
