"""Networks with auxiliary classifiers: what they return in training, and torchvision's two in that form."""

from typing import Any, NamedTuple

from torch import Tensor
from torch.nn import functional
from torchvision.models.googlenet import GoogLeNet
from torchvision.models.inception import (
    BasicConv2d,
    Inception3,
    InceptionA,
    InceptionAux,
    InceptionB,
    InceptionC,
    InceptionD,
    InceptionE,
)

AUXILIARY_MODULES = ("aux1", "aux2", "AuxLogits")
"""Names under which networks keep their auxiliary classifiers; None or absent where there are none."""


class WithAuxiliary(NamedTuple):
    """What a network with auxiliary classifiers returns in training; in evaluation it returns `logits` alone."""

    logits: Tensor
    """(B, K)."""
    auxiliary: list[Tensor]
    """(B, K) each. Their losses count `AUXILIARY_WEIGHT` of the network's class, each."""


class TorchvisionGoogLeNet(GoogLeNet):
    """torchvision's GoogLeNet, with the same parameter names."""

    AUXILIARY_WEIGHT = 0.3
    """Szegedy et al. 2014, arXiv:1409.4842, section 5."""

    def __init__(self, num_classes: int = 1000) -> None:
        super().__init__(num_classes, init_weights=True)

    def forward(self, images: Tensor) -> Tensor | WithAuxiliary:
        """Compute (B, K) logits; in training those of aux1 and aux2 as well."""
        return _joined(super().forward(images))


class TorchvisionInceptionV3(Inception3):
    """torchvision's Inception v3, with the same parameter names; trains on any image of 75 px and more."""

    AUXILIARY_WEIGHT = 0.4
    """As in torchvision's reference training; Szegedy et al. 2015, arXiv:1512.00567, do not name it."""

    def __init__(self, num_classes: int = 1000) -> None:
        blocks = [BasicConv2d, InceptionA, InceptionB, InceptionC, InceptionD, InceptionE, AnySizeAux]
        super().__init__(num_classes, init_weights=True, inception_blocks=blocks)

    def forward(self, images: Tensor) -> Tensor | WithAuxiliary:
        """Compute (B, K) logits; in training those of AuxLogits as well."""
        return _joined(super().forward(images))


class AnySizeAux(InceptionAux):
    """torchvision's auxiliary classifier, whose 5x5 convolution needs maps of 17 cells, that is images of 299 px."""

    def forward(self, features: Tensor) -> Tensor:
        if min(features.shape[-2:]) < 17:
            features = functional.interpolate(features, size=(17, 17), mode="nearest")
        return super().forward(features)


def _joined(output: Any) -> Tensor | WithAuxiliary:
    """From torchvision's named tuples, (logits, aux2, aux1) or (logits, aux), to ours in rising depth."""
    if isinstance(output, Tensor):
        return output
    return WithAuxiliary(output[0], list(reversed(output[1:])))
