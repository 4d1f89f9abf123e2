"""Settings of the detection task: the keys of a `train` stage with `task: detection`. No torch."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PositiveFloat, PositiveInt

from foundation.settings import FromList, StrictModel

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Size = Annotated[tuple[PositiveInt, PositiveInt], FromList]


def _ordered(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] > value[1]:
        raise ValueError(f"expected [smallest, largest], got {list(value)}")
    return value


Range = Annotated[tuple[PositiveFloat, PositiveFloat], FromList, AfterValidator(_ordered)]


class BackboneSettings(StrictModel):
    """A feature pyramid's trunk: a torchvision or timm classifier by its own name."""

    name: str = "resnet18"
    """A torchvision model (`resnet18`, `mobilenet_v3_large`, …) or `timm:NAME`."""
    weights: str | None = None
    """`torchvision:IMAGENET1K_V1`, `timm:TAG`, `stage:NAME`, `models:/NAME@ALIAS`, `file:PATH`; null = from scratch."""
    width: PositiveFloat = 1.0
    """Multiplier on the channels, for torchvision ResNets only (0.5 = half as wide)."""
    norm: Literal["batch", "frozen", "group"] = "batch"
    """batch; frozen = statistics and scales fixed, for pretrained weights only; group = independent of the batch size,
    starts anew."""
    trainable_layers: Annotated[int, Field(ge=0, le=5)] = 5
    """Of the five stages (strides 2 to 32) the last so many are trained; fewer than 5 for pretrained weights only."""


class YoloModel(StrictModel):
    """Our own anchor-free detector, quick to learn from scratch on small data."""

    name: Literal["yolo"]
    size: Literal["pico", "nano", "tiny", "s", "m", "l"] = "nano"
    """Depth and width: from 0.4 million parameters (pico) to 40 million (l)."""
    weights: str | None = None
    """`stage:NAME`, `models:/NAME@ALIAS` or `file:PATH` of a model of the same kind; null = from scratch."""


class YoloxModel(StrictModel):
    """YOLOX with the official parameter names (Ge et al. 2021, arXiv:2107.08430)."""

    name: Literal["yolox"]
    size: Literal["nano", "tiny", "s", "m", "l", "x"] = "nano"
    """The official sizes."""
    weights: str | None = None
    """`yolox:yolox_s.pth` (official release), `file:PATH`, `stage:NAME` or `models:/NAME@ALIAS`."""
    l1_loss: bool = False
    """Also fit the raw box outputs by L1, as the published recipe does in its last epochs, without mosaic."""


class FasterRcnnModel(StrictModel):
    """Faster R-CNN with FPN (Ren et al. 2015, arXiv:1506.01497)."""

    name: Literal["faster_rcnn"]
    backbone: BackboneSettings = BackboneSettings()
    """The trunk of the feature pyramid."""
    weights: str | None = None
    """`torchvision:COCO_V1` for the official detector, or `file:`/`stage:`/`models:`."""
    fpn_channels: PositiveInt = 256
    """Channels of every level of the pyramid."""
    levels: Annotated[tuple[int, ...], FromList] = (2, 3, 4, 5, 6)
    """Pyramid levels; level l has stride 2**l. Those coarser than the backbone's last serve proposals only."""
    anchor_sizes: Annotated[tuple[float, ...], FromList] | None = None
    """One per level, pixels; null = 8 x stride."""
    rois_per_image: PositiveInt = 512
    """Proposals of an image that the box head is trained on; fewer are faster."""
    proposals_train: PositiveInt = 2000
    """Proposals kept after their NMS in training."""
    proposals_test: PositiveInt = 1000
    """Proposals kept after their NMS in evaluation."""
    roi_pool: PositiveInt = 7
    """Each proposal is pooled to so many rows and columns."""
    head_channels: PositiveInt = 1024
    """Width of the box head's two layers."""
    official: (
        Literal[
            "fasterrcnn_resnet50_fpn_v2",
            "fasterrcnn_mobilenet_v3_large_fpn",
            "fasterrcnn_mobilenet_v3_large_320_fpn",
        ]
        | None
    ) = None
    """Build torchvision's detector of this name: backbone, levels, channels and pooling are then its own, and
    `torchvision:COCO_V1` fits. Null = from the settings above, which with backbone resnet50 alone are
    torchvision's fasterrcnn_resnet50_fpn."""


class DenseHeadModel(StrictModel):
    """What RetinaNet and FCOS share."""

    backbone: BackboneSettings = BackboneSettings()
    """The trunk of the feature pyramid."""
    weights: str | None = None
    """`torchvision:COCO_V1` for the official detector (with its own backbone), or `file:`/`stage:`/`models:`."""
    fpn_channels: PositiveInt = 256
    """Channels of every level of the pyramid."""
    levels: Annotated[tuple[int, ...], FromList] = (3, 4, 5, 6, 7)
    """Pyramid levels; level l has stride 2**l. Those coarser than the backbone's last are made by convolutions."""
    head_convs: PositiveInt = 4
    """Convolutions before the outputs of each branch."""


class RetinanetModel(DenseHeadModel):
    """RetinaNet (Lin et al. 2017, arXiv:1708.02002)."""

    name: Literal["retinanet"]


class FcosModel(DenseHeadModel):
    """FCOS (Tian et al. 2019, arXiv:1904.01355)."""

    name: Literal["fcos"]


class SsdModel(StrictModel):
    """SSD (Liu et al. 2016, arXiv:1512.02325); backbone null = the official VGG-16."""

    name: Literal["ssd"]
    backbone: BackboneSettings | None = None
    """The trunk of the feature pyramid; null = the official one."""
    weights: str | None = None
    """`torchvision:COCO_V1` for the official detector (with its own backbone), or `file:`/`stage:`/`models:`."""


class SsdliteModel(StrictModel):
    """SSDlite (Sandler et al. 2018, arXiv:1801.04381); backbone null = the official MobileNetV3-Large."""

    name: Literal["ssdlite"]
    backbone: BackboneSettings | None = None
    """The trunk of the feature pyramid; null = the official one."""
    weights: str | None = None
    """`torchvision:COCO_V1` for the official detector (with its own backbone), or `file:`/`stage:`/`models:`."""


ModelSettings = Annotated[
    YoloModel | YoloxModel | FasterRcnnModel | RetinanetModel | FcosModel | SsdModel | SsdliteModel,
    Field(discriminator="name"),
]


class AugmentSettings(StrictModel):
    """What happens to a training image; null = the preset's value.

    Order: cache, flips, mosaic or scale and translate, colour, transforms, mixup, letterbox; then multi-scale per step.
    """

    preset: Literal["none", "default", "strong"] = "default"
    """Where the values of all keys come from that are not given."""
    mosaic: Probability | None = None
    """Chance that four images are stitched into one."""
    mosaic_scale: Range | None = None
    """Each tile of a mosaic is scaled by a factor between these."""
    mixup: Probability | None = None
    """Chance that a second image is blended in, half and half."""
    close_mosaic: Probability = 0.2
    """Mosaic and mixup are off in this last part of the epochs, rounded to whole epochs."""
    scale: Range | None = None
    """An image that is not in a mosaic is scaled by a factor between these; 1 = fitted to `image_size`."""
    translate: Probability | None = None
    """... and moved from the centre by up to this share of `image_size`, along each axis."""
    flip_horizontal: Probability | None = None
    """Chance that left and right change places."""
    flip_vertical: Probability | None = None
    """Chance that top and bottom change places."""
    transpose: Probability | None = None
    """Chance that rows become columns; 0.5 here and in both flips gives all eight orientations of a view from above."""
    gain: Probability | None = None
    """Each colour channel is multiplied by its own factor from 1 - gain to 1 + gain."""
    brightness: Probability | None = None
    """Up to this share of the full range is added or taken away."""
    contrast: Probability | None = None
    """The distance from mid-grey is multiplied by a factor from 1 - contrast to 1 + contrast."""
    transforms: Annotated[tuple[dict[str, dict[str, Any]], ...], FromList] | None = None
    """Besides: albumentations transforms by their own names and arguments, `[{HorizontalFlip: {p: 0.5}}]`."""
    min_visibility: Probability = 0.25
    """A box that keeps less than this share of its area is dropped from the augmented sample."""


class DetectionSettings(StrictModel):
    """The keys of a detection `train` stage, besides those every stage has."""

    model: ModelSettings = YoloModel(name="yolo")
    """The architecture by `name`, with its own keys."""
    augment: AugmentSettings = AugmentSettings()
    """What happens to a training image."""
    image_size: Size = (320, 320)
    """(height, width) that the model sees; images are letterboxed to it."""
    multi_scale: Annotated[tuple[PositiveFloat, PositiveFloat], FromList] | None = None
    """Draw the training size per step between these factors of `image_size`, in multiples of 32."""
    cache: Literal["memory", "none"] = "memory"
    """Keep decoded images, resized to `image_size`, as uint8 in memory."""
    score_threshold: Probability = 0.001
    """Detections below it are not reported to the metric."""
    nms_threshold: Probability = 0.65
    """Of two detections of a class that overlap by more than this IoU, the weaker one is dropped."""
    max_detections: PositiveInt = 100
    """The strongest detections of an image that are reported."""
