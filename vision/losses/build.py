"""From the key `loss` to the parts that a classifier needs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from foundation.errors import ConfigError
from vision.losses.classification import class_weights, cross_entropy, focal, logit_adjustment, squared_error
from vision.losses.margin_heads import AmSoftmax, ArcFace, ASoftmax, LargeMarginSoftmax, MarginHead
from vision.losses.metric_learning import CenterLoss, Collective, ContrastiveLoss, TripletLoss
from vision.losses.settings import (
    DEFAULT_BETA,
    AmSoftmaxSettings,
    ArcFaceSettings,
    CenterSettings,
    ClassBalancedSettings,
    ContrastiveSettings,
    EmbeddingTermSettings,
    FocalSettings,
    LargeMarginSoftmaxSettings,
    LossSettings,
    MarginSettings,
    MseSettings,
    needs_class_counts,
    needs_embeddings,
)

Formula = Callable[[Tensor, Tensor], Tensor]


def identity(value: Tensor) -> Tensor:
    """Stand in for a collective where there is one process."""
    return value


@dataclass(frozen=True)
class LossParts:
    """What a loss adds to a classifier. Modules belong into the model, so that device, DDP and checkpoint see them."""

    head: nn.Module | None
    """Takes the place of the last linear layer: (embeddings (B, D), labels (B,) | None) -> logits (B, K). One call per
    training step; for two sets of labels stack them: `head(cat([e, e]), cat([labels, other_labels]))`."""
    per_sample: nn.Module
    """(logits (B, K), labels (B,)) -> loss (B,), float32. Training only; an nn.Module without state to save."""
    extra: nn.Module | None = None
    """(embeddings (B, D), labels (B,)) -> scalar, its weight already in it, to be added. Labels must not be mixed."""
    extra_name: str = ""
    """Name of the extra term among the losses, such as `loss_center`."""


def build_loss(
    settings: LossSettings,
    num_classes: int,
    class_counts: Sequence[int] | None,
    embedding_size: int | None,
    *,
    reduce: Collective = identity,
    gather: Collective = identity,
) -> LossParts:
    """Build the parts of a loss.

    Args:
        class_counts: training images per class; None where the model only predicts: calling a loss that needs them is
            then an error.
        embedding_size: D of the model's embeddings; None where it has none.
        reduce: sum of a tensor over all ranks, without gradient.
        gather: rows (N, ...) of all ranks in rank order -> (sum of all N, ...); its backward adds up all ranks'
            gradients, as `torch.distributed.nn.functional.all_gather` does.

    Raises:
        ConfigError: if the loss needs embeddings and the model has none, or class weights do not fit the classes.
    """
    if needs_embeddings(settings) and embedding_size is None:
        raise ConfigError(
            f"loss {settings.name!r} works on embeddings, the vectors before a last linear layer, and this model has "
            "no such layer. Choose another model, or a loss without embeddings such as cross_entropy or focal."
        )
    head, extra = None, None
    if embedding_size is not None and isinstance(settings, MarginSettings):
        head = _build_head(settings, num_classes, embedding_size)
    elif embedding_size is not None and isinstance(settings, EmbeddingTermSettings):
        extra = _build_extra(settings, num_classes, embedding_size, reduce, gather)
    return LossParts(
        head=head,
        per_sample=_build_per_sample(settings, num_classes, class_counts),
        extra=extra,
        extra_name="" if extra is None else f"loss_{settings.name}",
    )


class PerSampleLoss(nn.Module):
    """A formula, with what is added to the logits before it and what its values are multiplied by after it.

    Args:
        formula: (logits, labels) -> (B,).
        adjustment: (K,) or None.
        weights: (K,) or None.
    """

    adjustment: Tensor | None
    weights: Tensor | None

    def __init__(self, formula: Formula, adjustment: Tensor | None, weights: Tensor | None) -> None:
        super().__init__()
        self.formula = formula
        # Not in the state dict: they come from settings and data, and a model that only predicts has no use for them.
        self.register_buffer("adjustment", adjustment, persistent=False)
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Compute the loss of each image, (B,) float32."""
        logits = logits.float()
        if self.adjustment is not None:
            logits = logits + self.adjustment
        loss_B = self.formula(logits, labels)
        return loss_B if self.weights is None else loss_B * self.weights[labels]


def _refuse_without_counts(*_: Tensor) -> Tensor:
    """Take the place of a formula that depends on class counts which nobody gave."""
    raise RuntimeError("this loss depends on the number of training images per class, and it was built without them")


def _build_per_sample(settings: LossSettings, num_classes: int, class_counts: Sequence[int] | None) -> nn.Module:
    if not needs_class_counts(settings):
        return PerSampleLoss(_formula(settings), None, None)
    if class_counts is None:
        return PerSampleLoss(_refuse_without_counts, None, None)
    if len(class_counts) != num_classes:
        raise ValueError(f"{len(class_counts)} class counts for {num_classes} classes")
    tau = getattr(settings, "logit_adjustment", 0.0)
    adjustment = logit_adjustment(class_counts, tau) if tau > 0 else None
    return PerSampleLoss(_formula(settings), adjustment, _build_weights(settings, class_counts))


def _formula(settings: LossSettings) -> Formula:
    if isinstance(settings, FocalSettings | ClassBalancedSettings) and settings.gamma > 0:
        return partial(focal, gamma=settings.gamma)
    if isinstance(settings, MseSettings):
        return partial(squared_error, of=settings.of)
    return partial(cross_entropy, label_smoothing=getattr(settings, "label_smoothing", 0.0))


def _build_weights(settings: LossSettings, class_counts: Sequence[int]) -> Tensor | None:
    if isinstance(settings, ClassBalancedSettings):
        return class_weights(class_counts, "effective_number", settings.beta)
    if settings.class_weights is None:
        return None
    try:
        return class_weights(class_counts, settings.class_weights, settings.beta or DEFAULT_BETA)
    except ValueError as error:
        raise ConfigError(
            f"loss.class_weights: {error}. Give one weight per class, in the order of the data set's classes."
        ) from error


def _build_head(settings: MarginSettings, num_classes: int, embedding_size: int) -> MarginHead:
    if isinstance(settings, AmSoftmaxSettings):
        return AmSoftmax(embedding_size, num_classes, scale=settings.scale, margin=settings.margin)
    if isinstance(settings, ArcFaceSettings):
        return ArcFace(embedding_size, num_classes, scale=settings.scale, margin=settings.margin)
    head = LargeMarginSoftmax if isinstance(settings, LargeMarginSoftmaxSettings) else ASoftmax
    return head(embedding_size, num_classes, margin=settings.margin, annealing=settings.annealing)


def _build_extra(
    settings: EmbeddingTermSettings, num_classes: int, embedding_size: int, reduce: Collective, gather: Collective
) -> nn.Module:
    if isinstance(settings, CenterSettings):
        return CenterLoss(embedding_size, num_classes, weight=settings.weight, alpha=settings.alpha, reduce=reduce)
    if isinstance(settings, ContrastiveSettings):
        return ContrastiveLoss(
            weight=settings.weight,
            margin=settings.margin,
            mode=settings.mode,
            normalize_embeddings=settings.normalize_embeddings,
            gather=gather,
        )
    return TripletLoss(
        weight=settings.weight,
        margin=settings.margin,
        mining=settings.mining,
        normalize_embeddings=settings.normalize_embeddings,
        gather=gather,
    )
