"""Several views of each image in evaluation: crops x scales x mirror images; the mean of their probabilities counts."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from classification.settings import ClassificationSettings, ViewSettings
from foundation.errors import ConfigError


def predict_views(model: nn.Module, images: Tensor, settings: ViewSettings, image_size: tuple[int, int]) -> Tensor:
    """Average the probabilities over all views; with one view it is `model(images)`.

    Args:
        model: in eval mode, (B, 3, H, W) -> (B, K) probabilities.
        images: (B, 3, H, W) float in [0, 1], of `ClassificationSettings.evaluation_size`.
        settings: which views.
        image_size: (height, width) of a crop.

    Returns:
        (B, K) float32.
    """
    answers = [model(view) for view in views(images, settings, image_size)]
    return answers[0] if len(answers) == 1 else torch.stack(answers).mean(dim=0)


def views(images: Tensor, settings: ViewSettings, image_size: tuple[int, int]) -> Iterator[Tensor]:
    """Yield (B, 3, h, w) views: for each scale, for each crop, the view and where asked for its mirror image."""
    for scale in settings.scales:
        for crop in _crops(_scaled(images, scale), settings.crops, image_size):
            yield crop
            if settings.flip or settings.crops == "ten":
                yield crop.flip(-1)


def check_views(model: nn.Module, settings: ClassificationSettings) -> None:
    """Try the views' sizes before anything is trained.

    Raises:
        ConfigError: if the model does not accept one of them.
    """
    if settings.test_time.scales == (1.0,):
        return
    was_training = model.training
    black = torch.zeros(1, 3, *settings.evaluation_size)
    try:
        with torch.no_grad():
            predict_views(model.eval(), black, settings.test_time, settings.image_size)
    except (AssertionError, ConfigError, RuntimeError, ValueError) as error:
        raise ConfigError(
            f"test_time.scales {list(settings.test_time.scales)}: the model does not accept images of another size "
            f"than {settings.image_size} ({error}). Leave `scales` out, or take a convolutional network."
        ) from error
    finally:
        model.train(was_training)


def _scaled(images: Tensor, scale: float) -> Tensor:
    if scale == 1.0:
        return images
    size = [max(1, round(side * scale)) for side in images.shape[-2:]]
    return F.interpolate(images.float(), size=size, mode="bilinear", align_corners=False, antialias=True).to(images)


def _crops(images: Tensor, crops: str, image_size: tuple[int, int]) -> Iterator[Tensor]:
    """Yield the image itself, or its centre and corners of `image_size`."""
    if crops == "one":
        yield images
        return
    height, width = image_size
    below, right = images.shape[-2] - height, images.shape[-1] - width
    for top, left in ((below // 2, right // 2), (0, 0), (0, right), (below, 0), (below, right)):
        yield images[..., top : top + height, left : left + width]
