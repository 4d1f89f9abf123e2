"""What is known of each classifier without building it; the tests build every one and compare. No torch."""

from dataclasses import dataclass, field
from typing import Literal

UNPADDED = "its layers round sizes down, so that no map has exactly 1 / 2**level of the image's size"
ONE_SCALE = "a plain vision transformer: all its maps have the stride of its patches"
WINDOWS = "it reads only the image size it was built for"
THIRTY_TWO = "it reads images of at most 32x32"
IMAGENET_SIDE = 224


@dataclass(frozen=True, slots=True)
class Family:
    """Networks of one paper, by one maker."""

    name: str
    source: Literal["own", "torchvision", "timm"]
    papers: tuple[str, ...]
    parameters: dict[str, int]
    """Of each member in evaluation: without auxiliary classifiers."""
    sides: dict[str, int] = field(default_factory=dict)
    """Sides of the square images, where they are not 224."""
    no_pyramid: str = ""
    """Why it yields no feature pyramid; empty = it does."""
    has_small_stem: bool = True
    num_classes: int = 1000
    """Of the published network, to which the parameters belong."""
    auxiliary: dict[str, int] = field(default_factory=dict)
    """Parameters of the auxiliary classifiers, which only training uses."""


RESNET = "He et al. 2015, arXiv:1512.03385"
PREACT = "He et al. 2016, arXiv:1603.05027"
GOOGLENET = "Szegedy et al. 2014, arXiv:1409.4842"
INCEPTION_V4 = "Szegedy et al. 2016, arXiv:1602.07261"
SQUEEZE_EXCITE = "Hu et al. 2017, arXiv:1709.01507"

FAMILIES = (
    Family(
        "LeNet",
        "own",
        ("LeCun et al. 1998, Gradient-based learning applied to document recognition",),
        {"lenet5": 61_706},
        sides={"lenet5": 32},
        no_pyramid=THIRTY_TWO,
        num_classes=10,
    ),
    Family(
        "AlexNet",
        "own",
        ("Krizhevsky et al. 2012, ImageNet classification with deep convolutional neural networks",),
        {"alexnet2012": 60_965_224},
        sides={"alexnet2012": 227},
        no_pyramid=UNPADDED,
    ),
    Family(
        "AlexNet", "torchvision", ("Krizhevsky 2014, arXiv:1404.5997",), {"alexnet": 61_100_840}, no_pyramid=UNPADDED
    ),
    Family("ZFNet", "own", ("Zeiler & Fergus 2013, arXiv:1311.2901",), {"zfnet": 62_357_608}, no_pyramid=UNPADDED),
    Family(
        "VGG",
        "torchvision",
        ("Simonyan & Zisserman 2014, arXiv:1409.1556",),
        {
            "vgg11": 132_863_336,
            "vgg11_bn": 132_868_840,
            "vgg13": 133_047_848,
            "vgg13_bn": 133_053_736,
            "vgg16": 138_357_544,
            "vgg16_bn": 138_365_992,
            "vgg19": 143_667_240,
            "vgg19_bn": 143_678_248,
        },
    ),
    Family(
        "Inception v1 (GoogLeNet)",
        "own",
        (GOOGLENET,),
        {"googlenet2014": 6_998_552},
        auxiliary={"googlenet2014": 6_379_728},
    ),
    Family(
        "Inception v1 (GoogLeNet)",
        "torchvision",
        (GOOGLENET,),
        {"googlenet": 6_624_904},
        auxiliary={"googlenet": 6_379_984},
    ),
    Family(
        "Inception v2 (BN-Inception)",
        "own",
        ("Ioffe & Szegedy 2015, arXiv:1502.03167",),
        {"bn_inception": 11_188_288},
    ),
    Family(
        "Inception v3",
        "torchvision",
        ("Szegedy et al. 2015, arXiv:1512.00567",),
        {"inception_v3": 23_834_568},
        sides={"inception_v3": 299},
        no_pyramid=UNPADDED,
        has_small_stem=False,
        auxiliary={"inception_v3": 3_326_696},
    ),
    Family(
        "Inception v4",
        "timm",
        (INCEPTION_V4,),
        {"inception_v4": 42_679_816, "inception_resnet_v2": 55_843_464},
        sides={"inception_v4": 299, "inception_resnet_v2": 299},
        no_pyramid=UNPADDED,
        has_small_stem=False,
    ),
    Family(
        "ResNet",
        "torchvision",
        (RESNET,),
        {
            "resnet18": 11_689_512,
            "resnet34": 21_797_672,
            "resnet50": 25_557_032,
            "resnet101": 44_549_160,
            "resnet152": 60_192_808,
        },
    ),
    Family(
        "PreAct-ResNet for small images",
        "own",
        (PREACT,),
        {"preact_resnet18": 11_680_040, "preact_resnet34": 21_788_200, "preact_resnet50": 25_541_672},
        sides={"preact_resnet18": 32, "preact_resnet34": 32, "preact_resnet50": 32},
    ),
    Family(
        "PreAct-ResNet",
        "timm",
        (PREACT,),
        {
            "resnetv2_18": 11_687_720,
            "resnetv2_34": 21_795_880,
            "resnetv2_50": 25_549_352,
            "resnetv2_101": 44_541_480,
            "resnetv2_152": 60_185_128,
        },
    ),
    Family(
        "ResNeXt",
        "torchvision",
        ("Xie et al. 2016, arXiv:1611.05431",),
        {"resnext50_32x4d": 25_028_904, "resnext101_32x8d": 88_791_336, "resnext101_64x4d": 83_455_272},
    ),
    Family(
        "Wide-ResNet",
        "torchvision",
        ("Zagoruyko & Komodakis 2016, arXiv:1605.07146",),
        {"wide_resnet50_2": 68_883_240, "wide_resnet101_2": 126_886_696},
    ),
    Family(
        "DenseNet",
        "torchvision",
        ("Huang et al. 2016, arXiv:1608.06993",),
        {
            "densenet121": 7_978_856,
            "densenet161": 28_681_000,
            "densenet169": 14_149_480,
            "densenet201": 20_013_928,
        },
    ),
    Family(
        "SE-ResNet",
        "timm",
        (SQUEEZE_EXCITE,),
        {
            "seresnet18": 11_779_624,
            "seresnet34": 21_960_416,
            "seresnet50": 28_088_024,
            "seresnet101": 49_326_872,
            "seresnet152": 66_821_848,
        },
    ),
    Family(
        "SE-ResNeXt, SENet",
        "timm",
        (SQUEEZE_EXCITE,),
        {"seresnext50_32x4d": 27_559_896, "seresnext101_32x4d": 48_955_416, "senet154": 115_088_984},
    ),
    Family(
        "DPN",
        "timm",
        ("Chen et al. 2017, arXiv:1707.01629",),
        {"dpn68": 12_611_602, "dpn92": 37_668_392, "dpn98": 61_570_728, "dpn107": 86_917_800, "dpn131": 79_254_504},
    ),
    Family(
        "SqueezeNet",
        "torchvision",
        ("Iandola et al. 2016, arXiv:1602.07360",),
        {"squeezenet1_0": 1_248_424, "squeezenet1_1": 1_235_496},
        no_pyramid=UNPADDED,
    ),
    Family("MobileNet v1", "own", ("Howard et al. 2017, arXiv:1704.04861",), {"mobilenet_v1": 4_231_976}),
    Family("MobileNet v2", "torchvision", ("Sandler et al. 2018, arXiv:1801.04381",), {"mobilenet_v2": 3_504_872}),
    Family(
        "MobileNet v3",
        "torchvision",
        ("Howard et al. 2019, arXiv:1905.02244",),
        {"mobilenet_v3_small": 2_542_856, "mobilenet_v3_large": 5_483_032},
    ),
    Family(
        "ShuffleNet v1",
        "own",
        ("Zhang et al. 2017, arXiv:1707.01083",),
        {
            "shufflenet_v1_g1": 1_531_936,
            "shufflenet_v1_g2": 1_733_848,
            "shufflenet_v1_g3": 1_865_728,
            "shufflenet_v1_g4": 1_968_344,
            "shufflenet_v1_g8": 2_434_768,
        },
    ),
    Family(
        "ShuffleNet v2",
        "torchvision",
        ("Ma et al. 2018, arXiv:1807.11164",),
        {
            "shufflenet_v2_x0_5": 1_366_792,
            "shufflenet_v2_x1_0": 2_278_604,
            "shufflenet_v2_x1_5": 3_503_624,
            "shufflenet_v2_x2_0": 7_393_996,
        },
    ),
    Family(
        "MNASNet",
        "torchvision",
        ("Tan et al. 2018, arXiv:1807.11626",),
        {"mnasnet0_5": 2_218_512, "mnasnet0_75": 3_170_208, "mnasnet1_0": 4_383_312, "mnasnet1_3": 6_282_256},
    ),
    Family(
        "EfficientNet",
        "torchvision",
        ("Tan & Le 2019, arXiv:1905.11946",),
        {
            "efficientnet_b0": 5_288_548,
            "efficientnet_b1": 7_794_184,
            "efficientnet_b2": 9_109_994,
            "efficientnet_b3": 12_233_232,
            "efficientnet_b4": 19_341_616,
            "efficientnet_b5": 30_389_784,
            "efficientnet_b6": 43_040_704,
            "efficientnet_b7": 66_347_960,
        },
        sides={
            "efficientnet_b1": 240,
            "efficientnet_b2": 288,
            "efficientnet_b3": 300,
            "efficientnet_b4": 380,
            "efficientnet_b5": 456,
            "efficientnet_b6": 528,
            "efficientnet_b7": 600,
        },
    ),
    Family(
        "EfficientNet v2",
        "torchvision",
        ("Tan & Le 2021, arXiv:2104.00298",),
        {"efficientnet_v2_s": 21_458_488, "efficientnet_v2_m": 54_139_356},
        sides={"efficientnet_v2_s": 384, "efficientnet_v2_m": 480},
    ),
    Family(
        "RegNet",
        "torchvision",
        ("Radosavovic et al. 2020, arXiv:2003.13678",),
        {
            "regnet_x_400mf": 5_495_976,
            "regnet_x_800mf": 7_259_656,
            "regnet_x_1_6gf": 9_190_136,
            "regnet_x_3_2gf": 15_296_552,
            "regnet_x_8gf": 39_572_648,
            "regnet_y_400mf": 4_344_144,
            "regnet_y_800mf": 6_432_512,
            "regnet_y_1_6gf": 11_202_430,
            "regnet_y_3_2gf": 19_436_338,
            "regnet_y_8gf": 39_381_472,
        },
    ),
    Family(
        "ConvNeXt",
        "torchvision",
        ("Liu et al. 2022, arXiv:2201.03545",),
        {"convnext_tiny": 28_589_128, "convnext_small": 50_223_688, "convnext_base": 88_591_464},
    ),
    Family(
        "ViT",
        "torchvision",
        ("Dosovitskiy et al. 2020, arXiv:2010.11929",),
        {"vit_b_16": 86_567_656, "vit_b_32": 88_224_232},
        no_pyramid=ONE_SCALE,
    ),
    Family(
        "Swin",
        "torchvision",
        ("Liu et al. 2021, arXiv:2103.14030",),
        {"swin_t": 28_288_354, "swin_s": 49_606_258, "swin_b": 87_768_224},
    ),
    Family(
        "Swin v2",
        "torchvision",
        ("Liu et al. 2021, arXiv:2111.09883",),
        {"swin_v2_t": 28_351_570, "swin_v2_s": 49_737_442, "swin_v2_b": 87_930_848},
        sides={"swin_v2_t": 256, "swin_v2_s": 256, "swin_v2_b": 256},
    ),
    Family(
        "MaxViT",
        "torchvision",
        ("Tu et al. 2022, arXiv:2204.01697",),
        {"maxvit_t": 30_919_624},
        no_pyramid=WINDOWS,
        has_small_stem=False,
    ),
)
