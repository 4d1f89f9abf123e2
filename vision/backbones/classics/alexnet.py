"""AlexNet as published: two half-networks that meet at the third convolution, and response normalisation."""

import torch
from torch import Tensor, nn

INPUT_SIZE = (227, 227)
"""The paper says 224, but its maps of 55x55 need 227."""
LAST_CHANNELS = 256


class AlexNet2012(nn.Module):
    """The network that won ImageNet 2012: 60,965,224 parameters for a thousand classes.

    The two graphics cards of the paper are the two groups of convolutions 2, 4 and 5. torchvision's `alexnet` is the
    one-tower variant of 2014.

    Source: Krizhevsky et al. 2012, "ImageNet classification with deep convolutional neural networks", section 3. We
    differ in the start values: those of section 5, N(0, 0.01) and biases of 1, are meant for pixels of 0 to 255, and
    normalised images hardly leave them.

    Args:
        image_size: (height, width) for which the first full layer is made; 227 as in the paper gives it 6x6 cells.
            Other images are averaged to the same number of cells.
        is_small: a first convolution of 3x3 with stride 1, for images of 28 to 64 px.
    """

    def __init__(
        self, num_classes: int = 1000, image_size: tuple[int, int] = INPUT_SIZE, *, is_small: bool = False
    ) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 96, kernel_size=3, padding=1) if is_small else nn.Conv2d(3, 96, kernel_size=11, stride=4),
            nn.ReLU(inplace=True),
            response_norm(),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(96, 256, kernel_size=5, padding=2, groups=2),
            nn.ReLU(inplace=True),
            response_norm(),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(256, 384, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(384, 384, kernel_size=3, padding=1, groups=2),
            nn.ReLU(inplace=True),
            nn.Conv2d(384, LAST_CHANNELS, kernel_size=3, padding=1, groups=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2),
        )
        cells = map_size(self.features, image_size)
        self.avgpool = nn.AdaptiveAvgPool2d(cells)
        self.classifier = full_layers(LAST_CHANNELS * cells[0] * cells[1], num_classes)
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Compute (B, K) logits of normalised images (B, 3, H, W)."""
        return self.classifier(torch.flatten(self.avgpool(self.features(images)), 1))


def response_norm() -> nn.LocalResponseNorm:
    """Local response normalisation with the paper's k = 2, n = 5, alpha = 1e-4, beta = 0.75 (section 3.3).

    torch divides alpha by n, the paper does not: hence 5e-4.
    """
    return nn.LocalResponseNorm(size=5, alpha=5 * 1e-4, beta=0.75, k=2.0)


def full_layers(num_inputs: int, num_classes: int) -> nn.Sequential:
    """Two full layers of 4096 with dropout, and the output."""
    return nn.Sequential(
        nn.Dropout(0.5),
        nn.Linear(num_inputs, 4096),
        nn.ReLU(inplace=True),
        nn.Dropout(0.5),
        nn.Linear(4096, 4096),
        nn.ReLU(inplace=True),
        nn.Linear(4096, num_classes),
    )


def map_size(features: nn.Module, image_size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) of the map that a chain of layers makes of `image_size`, at least 1 each."""
    height, width = image_size
    for module in features.modules():
        if isinstance(module, nn.Conv2d | nn.MaxPool2d):
            height, width = (_after(side, module) for side in (height, width))
    return max(height, 1), max(width, 1)


def initialise(network: nn.Module) -> None:
    """Draw weights by the rule for ReLU; biases start at 0. Source: He et al. 2015, arXiv:1502.01852, section 2.2."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _after(side: int, module: nn.Conv2d | nn.MaxPool2d) -> int:
    kernel, stride, padding = (_first(value) for value in (module.kernel_size, module.stride, module.padding))
    span = side + 2 * padding - kernel
    is_ceil = isinstance(module, nn.MaxPool2d) and module.ceil_mode
    return (-(-span // stride) if is_ceil else span // stride) + 1


def _first(value: object) -> int:
    number = value[0] if isinstance(value, tuple) else value
    assert isinstance(number, int)
    return number
