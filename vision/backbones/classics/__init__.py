"""Networks that no library has as their papers describe them. One network per file."""

from collections.abc import Callable
from functools import partial

from torch import nn

from vision.backbones.classics import mobilenet_v1
from vision.backbones.classics.alexnet import AlexNet2012
from vision.backbones.classics.bn_inception import BNInception
from vision.backbones.classics.googlenet import GoogLeNet2014
from vision.backbones.classics.lenet import LeNet5
from vision.backbones.classics.preact_resnet import PreActResNet
from vision.backbones.classics.shufflenet_v1 import STAGE_CHANNELS, ShuffleNetV1
from vision.backbones.classics.zfnet import ZFNet

__all__ = ["CLASSICS", "MADE_FOR_SIZE"]

CLASSICS: dict[str, Callable[..., nn.Module]] = {
    "lenet5": LeNet5,
    "alexnet2012": AlexNet2012,
    "zfnet": ZFNet,
    "googlenet2014": GoogLeNet2014,
    "bn_inception": BNInception,
    "mobilenet_v1": mobilenet_v1.build,
    **{f"shufflenet_v1_g{groups}": partial(ShuffleNetV1, groups=groups) for groups in STAGE_CHANNELS},
    "preact_resnet18": partial(PreActResNet, (2, 2, 2, 2), is_bottleneck=False),
    "preact_resnet34": partial(PreActResNet, (3, 4, 6, 3), is_bottleneck=False),
    "preact_resnet50": partial(PreActResNet, (3, 4, 6, 3), is_bottleneck=True),
}
"""Names to builders; each takes `num_classes`."""

MADE_FOR_SIZE = ("alexnet2012", "zfnet")
"""Their builders take `image_size` and `is_small` as well: the first full layer is made for them."""
