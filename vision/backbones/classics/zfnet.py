"""ZFNet: AlexNet with a finer first layer and no groups, found by looking at what its layers see."""

import torch
from torch import Tensor, nn

from vision.backbones.classics.alexnet import LAST_CHANNELS, full_layers, initialise, map_size, response_norm

INPUT_SIZE = (224, 224)


class ZFNet(nn.Module):
    """The network of figure 3: maps of 110, 55, 26, 13 and 6, and 62,357,608 parameters for a thousand classes.

    Source: Zeiler & Fergus 2013, "Visualizing and understanding convolutional networks", arXiv:1311.2901, section 3.1.
    The paper names "contrast normalisation across maps" without constants; we take AlexNet's, and its start values.

    Args:
        image_size: (height, width) for which the first full layer is made; 224 as in the paper gives it 6x6 cells.
            Other images are averaged to the same number of cells.
        is_small: a first convolution of 3x3 with stride 1 and no pooling after it, for images of 28 to 64 px.
    """

    def __init__(
        self, num_classes: int = 1000, image_size: tuple[int, int] = INPUT_SIZE, *, is_small: bool = False
    ) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 96, kernel_size=3, padding=1) if is_small else nn.Conv2d(3, 96, 7, stride=2, padding=1),
            nn.ReLU(inplace=True),
            nn.Identity() if is_small else nn.MaxPool2d(3, stride=2, ceil_mode=True),
            response_norm(),
            nn.Conv2d(96, 256, kernel_size=5, stride=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2, ceil_mode=True),
            response_norm(),
            nn.Conv2d(256, 384, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(384, 384, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(384, LAST_CHANNELS, kernel_size=3, padding=1),
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
