"""MobileNet v1 with the paper's plain ReLU; timm's own default is the later ReLU6."""

from torch import nn


def build(num_classes: int = 1000) -> nn.Module:
    """MobileNet 1.0: 4,231,976 parameters for a thousand classes. Source: Howard et al. 2017, arXiv:1704.04861."""
    # Here, because importing timm takes seconds that nobody else should wait.
    import timm

    return timm.create_model("mobilenetv1_100", pretrained=False, num_classes=num_classes, act_layer=nn.ReLU)
