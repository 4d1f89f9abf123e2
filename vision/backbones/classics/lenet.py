"""LeNet-5, the network that read cheques: two convolutions, two averages, three full layers."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from foundation.errors import ConfigError

SIDE = 32
"""Pixels of the input's sides in the paper; digits of 28 lie in its middle."""


class LeNet5(nn.Module):
    """LeNet-5 with every map of C3 connected: 61,706 parameters for ten classes.

    Source: LeCun et al. 1998, "Gradient-based learning applied to document recognition", section II.B. We differ in
    three points: C3 is connected in full (the paper's table I saves 900 weights), the averaging layers have no
    weights of their own, and the output is a linear layer instead of distances to drawn digits.
    """

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 6, kernel_size=5),
            nn.Tanh(),
            nn.AvgPool2d(2),
            nn.Conv2d(6, 16, kernel_size=5),
            nn.Tanh(),
            nn.AvgPool2d(2),
        )
        self.classifier = nn.Sequential(
            nn.Linear(16 * 5 * 5, 120),
            nn.Tanh(),
            nn.Linear(120, 84),
            nn.Tanh(),
            nn.Linear(84, num_classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Compute logits.

        Args:
            images: (B, 1 or 3, H, W) float with sides of at most 32; colours are averaged to grey, and smaller images
                get a margin of zeros.

        Returns:
            (B, K) logits.

        Raises:
            ConfigError: if the images are larger.
        """
        height, width = images.shape[-2:]
        if max(height, width) > SIDE:
            raise ConfigError(f"lenet5 reads images of at most {SIDE}x{SIDE}, not {height}x{width}; set image_size.")
        grey = images.mean(dim=1, keepdim=True)
        left, top = (SIDE - width) // 2, (SIDE - height) // 2
        grey = functional.pad(grey, (left, SIDE - width - left, top, SIDE - height - top))
        return self.classifier(torch.flatten(self.features(grey), 1))
