"""What is subtracted from the colour channels before a network sees them."""

from classification.settings import ChannelStatistics, ClassificationSettings
from vision.normalize import IMAGENET_MEAN, IMAGENET_STD

Channels = tuple[float, float, float]
NOTHING: tuple[Channels, Channels] = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
UNKNOWN = NOTHING
"""Until the weights are loaded that bring mean and deviation along."""


def channels(
    settings: ClassificationSettings, statistics: tuple[Channels, Channels] | None
) -> tuple[Channels, Channels]:
    """Return mean and deviation of each channel in [0, 1].

    Args:
        statistics: those of the training pixels, for `normalize: data`; None = not known yet.
    """
    normalize = settings.normalize
    if isinstance(normalize, ChannelStatistics):
        return normalize.mean, normalize.std
    if normalize == "none":
        return NOTHING
    if normalize == "imagenet":
        return IMAGENET_MEAN, IMAGENET_STD
    return statistics or UNKNOWN
