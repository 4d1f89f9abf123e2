"""The class losses of detection heads, as modules inside the model. What they follow are the training objects' counts.

Shapes: N points or proposals, K classes. Formulas are those of `vision.losses`.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detection.loss_settings import (
    CrossEntropySettings,
    EqlSettings,
    FocalSettings,
    LossSettings,
    SeesawSettings,
    SigmoidLossSettings,
    SoftmaxLossSettings,
)
from engine.distributed import sum_over_ranks
from foundation.errors import ConfigError
from vision.losses.classification import class_weights
from vision.losses.imbalance import equalised, seesaw_factors, sigmoid_focal
from vision.losses.settings import DEFAULT_BETA, ClassWeighted

ACCUMULATED = "accumulated_"
"""Beginning of the names of buffers that count during training; weights bring none along to another training."""


@dataclass(frozen=True, eq=False)
class ClassCounts:
    """What a training split has of each class, (K,) int64 each; crowds are left out."""

    objects: np.ndarray
    images: np.ndarray
    """Images that show at least one."""
    num_images: int
    """All images, those without objects too."""


class FocalForm(NamedTuple):
    """What a head's own loss is; gamma 0 and alpha None = cross-entropy."""

    gamma: float = 0.0
    alpha: float | None = None


class CountedLoss(nn.Module):
    """A loss that may depend on the classes' frequencies: they are given once, before training starts."""

    weights: Tensor | None

    def __init__(self, settings: LossSettings | None) -> None:
        super().__init__()
        self.settings = settings
        self.is_ready = not _needs_counts(settings)
        # Not in the state dict: it comes from settings and data, and a model that only predicts has no use for it.
        self.register_buffer("weights", None, persistent=False)

    def use_counts(self, counts: ClassCounts) -> None:
        """Work out what depends on the frequencies.

        Raises:
            ConfigError: if the loss could not have an effect, or the weights do not fit the classes.
        """
        is_weighing = _needs_counts(self.settings) or isinstance(self.settings, SeesawSettings)
        if self.settings is not None and is_weighing and len(counts.objects) < 2:
            raise ConfigError(
                f"loss: {self.settings.name} weighs classes against each other, and the data set has one only; leave "
                "it out."
            )
        if isinstance(self.settings, ClassWeighted):
            self.weights = _class_weights(self.settings, counts)
        self.is_ready = True

    def _require_counts(self) -> None:
        if not self.is_ready:
            raise RuntimeError("this loss depends on the objects per class of a training split, which nobody gave")


class DenseClassLoss(CountedLoss):
    """Loss of a head that scores every class by itself at every point.

    Args:
        settings: None = the head's own.
        own: the head's own form, which `eql` keeps.
    """

    is_rare: Tensor | None

    def __init__(self, settings: SigmoidLossSettings | None, own: FocalForm) -> None:
        super().__init__(settings)
        self.form = own
        if isinstance(settings, CrossEntropySettings):
            self.form = FocalForm()
        elif isinstance(settings, FocalSettings):
            self.form = FocalForm(settings.gamma, settings.alpha)
        self.register_buffer("is_rare", None, persistent=False)

    def use_counts(self, counts: ClassCounts) -> None:
        """See `CountedLoss`; also finds which classes are rare."""
        super().use_counts(counts)
        if isinstance(self.settings, EqlSettings):
            self.is_rare = _rare_classes(self.settings, counts)

    def forward(self, logits: Tensor, targets: Tensor, labels: Tensor) -> Tensor:
        """Sum the loss over all points and classes.

        Args:
            logits: (N, K).
            targets: (N, K) in [0, 1].
            labels: (N,) int64 class of the object that a point answers for; -1 = none.

        Returns:
            float32 scalar; 0 for N = 0.
        """
        self._require_counts()
        if self.form == FocalForm() and self.weights is None and self.is_rare is None:
            return F.binary_cross_entropy_with_logits(logits, targets, reduction="sum")
        loss_NK = sigmoid_focal(logits, targets, *self.form)
        if self.is_rare is not None:
            loss_NK = loss_NK * equalised(labels, self.is_rare)
        if self.weights is not None:
            # An object's weight counts for all that is said at its points, as in Cui et al. 2019, arXiv:1901.05555.
            weights_N = torch.where(labels >= 0, self.weights[labels.clamp(min=0)], 1.0)
            loss_NK = loss_NK * weights_N[:, None]
        return loss_NK.sum()


class BoxHeadLoss(CountedLoss):
    """Loss of a box head with a softmax over the background, output 0, and the classes."""

    accumulated_counts: Tensor | None

    def __init__(self, settings: SoftmaxLossSettings, num_classes: int) -> None:
        super().__init__(settings)
        is_counting = isinstance(settings, SeesawSettings)
        counts_K = torch.zeros(num_classes, dtype=torch.int64) if is_counting else None
        self.register_buffer("accumulated_counts", counts_K)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Compute the mean over the proposals; seesaw loss counts them first, over all ranks.

        Every rank must call it equally often.

        Args:
            logits: (N, 1 + K).
            labels: (N,) int64; 0 = background.
        """
        self._require_counts()
        logits = logits.float()
        if isinstance(self.settings, SeesawSettings):
            logits = logits + self._factors(logits, labels, self.settings)
        loss_N = F.cross_entropy(logits, labels, reduction="none")
        if self.weights is not None:
            loss_N = loss_N * F.pad(self.weights, (1, 0), value=1.0)[labels]
        return loss_N.sum() / max(len(labels), 1)

    def _factors(self, logits: Tensor, labels: Tensor, settings: SeesawSettings) -> Tensor:
        """(N, 1 + K): 0 for background, as a class and as a proposal."""
        counts = self.accumulated_counts
        assert counts is not None
        if self.training:
            counts += sum_over_ranks(torch.bincount(labels, minlength=logits.shape[1]))[1:]
        is_object_N1 = (labels > 0)[:, None]
        factors_NK = seesaw_factors(logits[:, 1:], (labels - 1).clamp(min=0), counts, settings.p, settings.q)
        return F.pad(factors_NK * is_object_N1, (1, 0))


def one_hot_targets(labels: Tensor, num_classes: int) -> Tensor:
    """(N, K) float32: 1 at the class of each of (N,) labels; a row of zeros where it is -1."""
    targets = torch.zeros(len(labels), num_classes, device=labels.device)
    rows = torch.nonzero(labels >= 0)[:, 0]
    targets[rows, labels[rows]] = 1.0
    return targets


def use_class_counts(model: nn.Module, counts: ClassCounts) -> None:
    """Tell a detector's class loss what the training split has of each class."""
    for module in model.modules():
        if isinstance(module, CountedLoss):
            module.use_counts(counts)


def _needs_counts(settings: LossSettings | None) -> bool:
    is_weighted = isinstance(settings, ClassWeighted) and settings.class_weights is not None
    return is_weighted or isinstance(settings, EqlSettings)


def _class_weights(settings: ClassWeighted, counts: ClassCounts) -> Tensor | None:
    if settings.class_weights is None:
        return None
    try:
        return class_weights(counts.objects.tolist(), settings.class_weights, settings.beta or DEFAULT_BETA)
    except ValueError as error:
        raise ConfigError(
            f"loss.class_weights: {error}. Give one weight per class, in the order of the data set's classes."
        ) from error


def _rare_classes(settings: EqlSettings, counts: ClassCounts) -> Tensor:
    shares = counts.images / max(counts.num_images, 1)
    is_rare = shares < settings.threshold
    if not is_rare.any():
        raise ConfigError(
            f"loss: eql has no effect, as no class is in less than `threshold` {settings.threshold:g} of the training "
            f"images; the rarest is in {shares.min():.3g} of them. Raise `loss.threshold`, or take another loss."
        )
    return torch.from_numpy(is_rare)
