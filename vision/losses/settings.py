"""Settings of the classification losses: the key `loss` of a classification `train` stage. No torch."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, model_validator

from foundation.settings import FromList, StrictModel

DEFAULT_BETA = 0.999
"""Of the effective number of samples; Cui et al. 2019 tried 0.9 to 0.9999."""

Beta = Annotated[float, Field(gt=0.0, lt=1.0)]
Smoothing = Annotated[
    float,
    Field(ge=0.0, lt=1.0, description="Share of the target that is spread evenly over all classes; 0 = none."),
]
LogitAdjustment = Annotated[
    float,
    Field(
        ge=0.0,
        description="tau of Menon et al. 2021, arXiv:2007.07314: in training tau times the log of each class's share "
        "of the training images is added to its logit, so that rare classes are not put at a disadvantage; 0 = none, "
        "1 = for balanced accuracy.",
    ),
]


class ClassWeighted(StrictModel):
    """What losses that weigh classes share."""

    class_weights: (
        Literal["balanced", "effective_number"]
        | Annotated[tuple[NonNegativeFloat, ...], FromList, Field(min_length=2)]
        | None
    ) = None
    """balanced = one over the class's number of training images, of a detector objects; effective_number = one over its
    effective number, which is milder; or a list, one per class in the data set's order; null = all alike. Only the
    ratios count: weights are scaled so that their mean over these images or objects is 1."""
    beta: Beta | None = None
    """For `class_weights: effective_number` only: nearer to 1 = nearer to balanced; null = 0.999."""

    @model_validator(mode="after")
    def _beta_has_an_effect(self) -> "ClassWeighted":
        if self.beta is not None and self.class_weights != "effective_number":
            raise ValueError("`beta` has an effect with `class_weights: effective_number` only; leave it out")
        return self


class CrossEntropySettings(ClassWeighted):
    """Minus the natural logarithm of the softmax probability of the true class."""

    name: Literal["cross_entropy"]
    label_smoothing: Smoothing = 0.0
    logit_adjustment: LogitAdjustment = 0.0


class FocalSettings(ClassWeighted):
    """Cross-entropy times (1 - probability of the true class) ** gamma (Lin et al. 2017, arXiv:1708.02002)."""

    name: Literal["focal"]
    gamma: NonNegativeFloat = 2.0
    """How little the images count that the network is sure of; 0 = cross-entropy."""


class ClassBalancedSettings(StrictModel):
    """Cross-entropy or focal loss weighted by effective numbers of samples (Cui et al. 2019, arXiv:1901.05555)."""

    name: Literal["class_balanced"]
    beta: Beta = DEFAULT_BETA
    """Nearer to 1 = nearer to one over the number of training images; nearer to 0 = all classes alike."""
    gamma: NonNegativeFloat = 0.0
    """0 = cross-entropy; above it the exponent of the focal loss."""


class MseSettings(ClassWeighted):
    """Squared error to the one-hot target, summed over the classes."""

    name: Literal["mse"]
    of: Literal["probabilities", "logits"] = "probabilities"
    """probabilities = after the softmax (the Brier score); logits = before it, which learns faster, but then the
    probabilities that evaluation shows are no good estimates."""


class Annealing(StrictModel):
    """The target's logit is (lambda * plain + with margin) / (1 + lambda), with a lambda that falls.

    lambda at step t is max(end, start / (1 + rate * t)); Liu et al. 2017, arXiv:1704.08063, appendix.
    """

    start: PositiveFloat = 1000.0
    """lambda at the first step; large = no margin yet."""
    end: NonNegativeFloat = 5.0
    """The least lambda; 0 = in the end the margin in full."""
    rate: PositiveFloat = 0.12
    """How fast lambda falls; a step is one forward pass in training."""

    @model_validator(mode="after")
    def _falls(self) -> "Annealing":
        if self.end >= self.start:
            raise ValueError(f"`end` {self.end} must be less than `start` {self.start}")
        return self


class LargeMarginSoftmaxSettings(ClassWeighted):
    """L-softmax (Liu et al. 2016, arXiv:1612.02295): the angle to the true class counts `margin` times."""

    name: Literal["large_margin_softmax"]
    margin: Annotated[int, Field(ge=1, le=8)] = 2
    """Factor on the angle; 1 = the plain softmax, 2 to 4 are usual."""
    annealing: Annealing | None = Annealing()
    """Lets the margin grow during training; null = in full from the first step, which often does not converge."""


class ASoftmaxSettings(ClassWeighted):
    """A-softmax, SphereFace (Liu et al. 2017, arXiv:1704.08063): L-softmax with class vectors of length 1."""

    name: Literal["a_softmax"]
    margin: Annotated[int, Field(ge=1, le=8)] = 4
    """Factor on the angle; 1 = no margin, 4 is the paper's."""
    annealing: Annealing | None = Annealing()
    """Lets the margin grow during training; null = in full from the first step, which often does not converge."""


class AmSoftmaxSettings(ClassWeighted):
    """AM-softmax, CosFace (Wang et al. 2018, arXiv:1801.05599 and 1801.09414): scale * (cosine - margin)."""

    name: Literal["am_softmax"]
    scale: PositiveFloat = 30.0
    """Factor on the cosines; the more classes, the larger (64 for tens of thousands)."""
    margin: Annotated[float, Field(ge=0.0, lt=2.0)] = 0.35
    """Taken off the cosine of the true class."""


class ArcFaceSettings(ClassWeighted):
    """ArcFace (Deng et al. 2019, arXiv:1801.07698): scale * cos(angle + margin)."""

    name: Literal["arcface"]
    scale: PositiveFloat = 30.0
    """Factor on the cosines; the more classes, the larger (64 for tens of thousands)."""
    margin: Annotated[float, Field(ge=0.0, lt=1.5707)] = 0.5
    """Added to the angle of the true class, radians."""


class CenterSettings(ClassWeighted):
    """Cross-entropy plus center loss (Wen et al. 2016): half the squared distance to the class's centre."""

    name: Literal["center"]
    weight: PositiveFloat = 0.003
    """Factor on the center loss, which is the mean over images; the paper's lambda."""
    alpha: Annotated[float, Field(gt=0.0, le=1.0)] = 0.5
    """How far a class's centre moves towards its images of a step."""
    label_smoothing: Smoothing = 0.0
    logit_adjustment: LogitAdjustment = 0.0


class ContrastiveSettings(ClassWeighted):
    """Cross-entropy plus contrastive loss over all pairs of a step (Hadsell et al. 2006)."""

    name: Literal["contrastive"]
    weight: PositiveFloat = 1.0
    """Factor on the contrastive loss."""
    margin: PositiveFloat = 1.0
    """Images of different classes nearer than this are pushed apart; embeddings of length 1 are at most 2 apart."""
    mode: Literal["squared", "linear"] = "squared"
    """squared = half the squared distance, and mean over all pairs, as published; linear = the distance itself, and
    mean over the pairs that are not yet as wanted."""
    normalize_embeddings: bool = True
    """Scale embeddings to length 1 before distances are measured."""
    label_smoothing: Smoothing = 0.0
    logit_adjustment: LogitAdjustment = 0.0


class TripletSettings(ClassWeighted):
    """Cross-entropy plus triplet loss within a step (Schroff et al. 2015; Hermans et al. 2017, arXiv:1703.07737)."""

    name: Literal["triplet"]
    weight: PositiveFloat = 1.0
    """Factor on the triplet loss."""
    margin: PositiveFloat = 0.2
    """By so much an image of another class should be further off than one of the same class."""
    mining: Literal["hard", "all"] = "hard"
    """hard = per image the furthest of its class and the nearest of another; all = every triplet that is not yet as
    wanted."""
    normalize_embeddings: bool = True
    """Scale embeddings to length 1 before distances are measured."""
    label_smoothing: Smoothing = 0.0
    logit_adjustment: LogitAdjustment = 0.0


MarginSettings = LargeMarginSoftmaxSettings | ASoftmaxSettings | AmSoftmaxSettings | ArcFaceSettings
"""The network's last layer is theirs."""
EmbeddingTermSettings = CenterSettings | ContrastiveSettings | TripletSettings
"""A term on the embeddings is added to cross-entropy; labels must not be mixed."""

LossSettings = Annotated[
    CrossEntropySettings
    | FocalSettings
    | ClassBalancedSettings
    | MseSettings
    | LargeMarginSoftmaxSettings
    | ASoftmaxSettings
    | AmSoftmaxSettings
    | ArcFaceSettings
    | CenterSettings
    | ContrastiveSettings
    | TripletSettings,
    Field(discriminator="name"),
]


def needs_embeddings(loss: LossSettings) -> bool:
    """Whether the model must offer embeddings: the vectors before its last linear layer."""
    return isinstance(loss, MarginSettings | EmbeddingTermSettings)


def needs_class_counts(loss: LossSettings) -> bool:
    """Whether the loss depends on the number of training images per class."""
    is_weighted = isinstance(loss, ClassWeighted) and loss.class_weights is not None
    return is_weighted or isinstance(loss, ClassBalancedSettings) or getattr(loss, "logit_adjustment", 0.0) > 0
