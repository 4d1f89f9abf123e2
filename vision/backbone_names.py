"""Names of all backbones, to check a file by before anything is built. No torch; a test compares them with its own."""

import difflib

TIMM = "timm:"
RESNETS = (
    *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
    *("resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d", "wide_resnet50_2", "wide_resnet101_2"),
)
"""Of torchvision; the only ones that can be made wider and narrower."""
TORCHVISION = (
    *RESNETS,
    *("alexnet", "googlenet", "inception_v3", "maxvit_t"),
    *(f"convnext_{size}" for size in ("tiny", "small", "base", "large")),
    *(f"densenet{depth}" for depth in (121, 161, 169, 201)),
    *(f"efficientnet_b{size}" for size in range(8)),
    *(f"efficientnet_v2_{size}" for size in "sml"),
    *(f"mnasnet{width}" for width in ("0_5", "0_75", "1_0", "1_3")),
    *("mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large"),
    *(f"regnet_{kind}_{size}" for kind in "xy" for size in ("400mf", "800mf", "1_6gf", "3_2gf", "8gf", "16gf", "32gf")),
    "regnet_y_128gf",
    *(f"shufflenet_v2_x{width}" for width in ("0_5", "1_0", "1_5", "2_0")),
    *("squeezenet1_0", "squeezenet1_1"),
    *(f"swin_{version}{size}" for version in ("", "v2_") for size in "tsb"),
    *(f"vgg{depth}{norm}" for depth in (11, 13, 16, 19) for norm in ("", "_bn")),
    *("vit_b_16", "vit_b_32", "vit_l_16", "vit_l_32", "vit_h_14"),
)
OWN = (
    *("lenet5", "alexnet2012", "zfnet", "googlenet2014", "bn_inception", "mobilenet_v1"),
    *(f"shufflenet_v1_g{groups}" for groups in (1, 2, 3, 4, 8)),
    *(f"preact_resnet{depth}" for depth in (18, 34, 50)),
)
FROM_TIMM = (
    *("inception_v4", "inception_resnet_v2", "senet154"),
    *(f"seresnet{depth}" for depth in (18, 34, 50, 101, 152)),
    *("seresnext50_32x4d", "seresnext101_32x4d"),
    *(f"dpn{depth}" for depth in (68, 92, 98, 107, 131)),
    *(f"resnetv2_{depth}" for depth in (18, 34, 50, 101, 152)),
)
"""timm's that are known without `timm:` before them, because no other library has them."""


def known_backbone(name: str) -> str:
    """Return `name`, unless nobody has a network of that name; one of timm's is looked up when it is built.

    Raises:
        ValueError: with the nearest names.
    """
    known = (*TORCHVISION, *OWN, *FROM_TIMM)
    if name.startswith(TIMM) or name in known:
        return name
    near = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.6)
    hint = f"; nearest: {', '.join(near)}" if near else ""
    raise ValueError(
        f"there is no backbone {name!r}{hint}; `orchestrator zoo backbones` lists them; `timm:NAME` is one of timm's"
    )


def width_fault(name: str, width: float) -> str | None:
    """Say why a backbone cannot have so many times its channels; None if it can."""
    if width == 1.0 or name in RESNETS:
        return None
    return f"`width` {width:g} is for torchvision's ResNets only, not for {name}; leave it out"
