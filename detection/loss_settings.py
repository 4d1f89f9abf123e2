"""Settings of the class loss: the key `loss` of a `train` stage with `task: detection`. No torch."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat

from foundation.settings import Probability, StrictModel
from vision.losses.settings import ClassWeighted

SIGMOID_MODELS = ("fcos", "retinanet", "yolo", "yolox")
"""Their heads score every class by itself."""
SOFTMAX_MODELS = ("faster_rcnn",)
"""Their box heads choose between the classes and the background."""


class CrossEntropySettings(ClassWeighted):
    """Of every class by itself in a sigmoid head, over classes and background in a box head with softmax."""

    name: Literal["cross_entropy"]


class FocalSettings(ClassWeighted):
    """Sigmoid heads: what the network is sure of counts little (Lin et al. 2017, arXiv:1708.02002)."""

    name: Literal["focal"]
    gamma: NonNegativeFloat = 2.0
    """How little; 0 = cross-entropy."""
    alpha: Probability | None = 0.25
    """Weight of a class where it is present; 1 - alpha where it is not. Null = both 1."""


class EqlSettings(StrictModel):
    """Sigmoid heads: objects no longer push down the scores of rare classes (Tan et al. 2020, arXiv:2003.05176)."""

    name: Literal["eql"]
    threshold: Annotated[float, Field(gt=0.0, le=1.0)] = 1.76e-3
    """A class is rare if less than this share of the training images shows it. The default is the paper's, for LVIS."""


class SeesawSettings(StrictModel):
    """Box heads with softmax: frequent classes push rare ones down less (Wang et al. 2021, arXiv:2008.10032).

    How often a class was met is counted during training; the counts are kept with the weights. The background stays
    one of the classes, discourages all of them and is discouraged as in cross-entropy; the paper has a branch for it.
    """

    name: Literal["seesaw"]
    p: NonNegativeFloat = 0.8
    """Exponent of the ratio of two classes' objects so far; 0 = frequencies do not count."""
    q: NonNegativeFloat = 2.0
    """Exponent of the ratio of two classes' probabilities, where a wrong one is likelier; 0 = they do not count."""


SigmoidLossSettings = CrossEntropySettings | FocalSettings | EqlSettings
SoftmaxLossSettings = CrossEntropySettings | SeesawSettings
LossSettings = Annotated[
    CrossEntropySettings | FocalSettings | EqlSettings | SeesawSettings, Field(discriminator="name")
]


def loss_fault(loss: str, model: str) -> str | None:
    """Say why a loss cannot be that of a model's head, both by name; None if it can."""
    sigmoid, softmax = ("cross_entropy", "focal", "eql"), ("cross_entropy", "seesaw")
    if model in SIGMOID_MODELS:
        return None if loss in sigmoid else _unfit(loss, model, "scores every class by itself", sigmoid)
    if model in SOFTMAX_MODELS:
        return None if loss in softmax else _unfit(loss, model, "is a softmax over classes and background", softmax)
    known = ", ".join((*SIGMOID_MODELS, *SOFTMAX_MODELS))
    return f"`loss` has no effect on {model}, whose loss goes by the hardest negatives; leave it out, or take {known}"


def _unfit(loss: str, model: str, head: str, known: tuple[str, ...]) -> str:
    return f"`loss: {loss}` does not fit {model}, whose head {head}; take {', '.join(known[:-1])} or {known[-1]}"
