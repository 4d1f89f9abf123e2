"""Every classifier from its settings: one network with head and losses, or an ensemble of trained ones."""

from collections.abc import Sequence

from classification.ensemble_settings import EnsembleModelSettings
from classification.models.build import build_single
from classification.models.classifier import Classifier
from classification.models.ensemble import EnsembleModel, build_ensemble
from classification.models.normalization import Channels
from classification.settings import ClassificationSettings


def build_model(
    settings: ClassificationSettings,
    num_classes: int,
    *,
    class_counts: Sequence[int] | None = None,
    statistics: tuple[Channels, Channels] | None = None,
    classes: tuple[str, ...] | None = None,
) -> Classifier | EnsembleModel:
    """Build the model that the settings name, with its weights where they name some.

    Args:
        class_counts: training images per class; None where the model only predicts.
        statistics: mean and deviation of the training pixels' channels, for `normalize: data`; None: the weights that
            are loaded later bring them along.
        classes: names in label order, to be compared with those of `weights`; None = not compared.

    Raises:
        ConfigError: if the parts do not fit each other, or the images.
        WeightsError: if its weights do not fit.
    """
    if isinstance(settings.model, EnsembleModelSettings):
        return build_ensemble(settings, num_classes, build_model)
    return build_single(settings, num_classes, class_counts=class_counts, statistics=statistics, classes=classes)
