"""Settings of the detection task: the keys of a `train` stage with `task: detection`. No torch."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PositiveFloat, PositiveInt, field_validator, model_validator

from detection.augment_settings import AugmentSettings
from detection.loss_settings import LossSettings, loss_fault
from detection.tiling_settings import PassSettings, TilingSettings
from foundation.settings import FromList, Probability, Size, StrictModel
from vision.backbone_names import known_backbone, width_fault
from vision.layers.settings import PartsSettings

YOLO_LEVELS = ((3, 4, 5), (2, 3, 4, 5))


class BackboneSettings(PartsSettings):
    """A feature pyramid's trunk: a classifier by its name, with `norm: batch` meaning the norms that it has."""

    name: Annotated[str, AfterValidator(known_backbone)] = "resnet18"
    """A torchvision model (`resnet18`, `mobilenet_v3_large`, …) or `timm:NAME`."""
    weights: str | None = None
    """`torchvision:IMAGENET1K_V1`, `timm:TAG`, `stage:NAME`, `models:/NAME@ALIAS`, `file:PATH`; null = from scratch."""
    width: PositiveFloat = 1.0
    """Multiplier on the channels, for torchvision ResNets only (0.5 = half as wide)."""
    trainable_layers: Annotated[int, Field(ge=0, le=5)] = 5
    """Of the five stages (strides 2 to 32) the last so many are trained; fewer than 5 for pretrained weights only."""

    @model_validator(mode="after")
    def _can_have_this_width(self) -> "BackboneSettings":
        if fault := width_fault(self.name, self.width):
            raise ValueError(fault)
        return self


class YoloModel(StrictModel):
    """Our own anchor-free detector, quick to learn from scratch on small data."""

    name: Literal["yolo"]
    size: Literal["pico", "nano", "tiny", "s", "m", "l"] = "nano"
    """Depth and width: from 0.4 million parameters (pico) to 40 million (l)."""
    levels: Annotated[tuple[int, ...], FromList] = (3, 4, 5)
    """Pyramid levels, of stride 2**level: [3, 4, 5], or [2, 3, 4, 5] with a finer one for small objects."""
    weights: str | None = None
    """`stage:NAME`, `models:/NAME@ALIAS` or `file:PATH` of a model of the same kind; null = from scratch."""

    @field_validator("levels")
    @classmethod
    def _is_a_known_pyramid(cls, levels: tuple[int, ...]) -> tuple[int, ...]:
        if levels not in YOLO_LEVELS:
            known = " or ".join(str(list(each)) for each in YOLO_LEVELS)
            raise ValueError(f"the pyramid of yolo has the levels {known}, got {list(levels)}")
        return levels


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
    anchors: Literal["auto"] | None = None
    """auto = sizes and shapes fitted to the training boxes by k-means, level by level; null = `anchor_sizes`."""
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

    @model_validator(mode="after")
    def _anchors_are_given_once(self) -> "FasterRcnnModel":
        if self.anchors == "auto" and self.anchor_sizes is not None:
            raise ValueError("anchor_sizes has no effect with `anchors: auto`; leave one of them out")
        if self.anchors == "auto" and self.official is not None:
            raise ValueError("anchors: auto cannot be given with `official`, whose anchors are its own; leave one out")
        return self


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
    anchors: Literal["auto"] | None = None
    """auto = sizes and shapes fitted to the training boxes by k-means, level by level; null = the paper's."""


class FcosModel(DenseHeadModel):
    """FCOS (Tian et al. 2019, arXiv:1904.01355)."""

    name: Literal["fcos"]


class SsdModel(StrictModel):
    """SSD (Liu et al. 2016, arXiv:1512.02325); backbone null = the official VGG-16."""

    name: Literal["ssd"]
    anchors: Literal["auto"] | None = None
    """auto = sizes and shapes fitted to the training boxes by k-means, level by level; null = the paper's."""
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


class DetectionSettings(StrictModel):
    """The keys of a detection `train` stage, besides those every stage has."""

    model: ModelSettings = YoloModel(name="yolo")
    """The architecture by `name`, with its own keys."""
    augment: AugmentSettings = AugmentSettings()
    """What happens to a training image."""
    loss: LossSettings | None = None
    """How classes are told apart in training, by `name`, for classes that are not equally frequent; null = the
    model's own: focal for retinanet and fcos, else cross-entropy."""
    image_size: Size = (320, 320)
    """(height, width) that the model sees; images are letterboxed to it."""
    multi_scale: Annotated[tuple[PositiveFloat, PositiveFloat], FromList] | None = None
    """Draw the training size per step between these factors of `image_size`, in multiples of 32."""
    cache: Literal["memory", "disk", "none"] = "memory"
    """Keep decoded images as uint8, resized to `image_size`, for all processes of a machine: in memory while any of
    them runs, or on disk, in the cache folder, where later runs find them again."""
    cache_limit_gb: PositiveFloat | None = None
    """cache: disk: files of all data sets together take so much, those used longest ago go first; null = 20."""
    score_threshold: Probability = 0.001
    """Detections below it are not reported to the metric."""
    nms_threshold: Probability = 0.65
    """Of two detections of a class that overlap by more than this IoU, the weaker one is dropped."""
    max_detections: PositiveInt = 100
    """The strongest detections of an image that are reported, and count in the metrics: COCO looks at 100, images with
    more objects need more."""
    tiling: TilingSettings | None = None
    """Look at large images in overlapping tiles; null = each image as a whole."""
    test_time: PassSettings = PassSettings()
    """Several passes in evaluation and prediction, in other sizes and mirrored."""

    @property
    def is_sliced(self) -> bool:
        """Whether evaluation and prediction look at an image otherwise than once, letterboxed to `image_size`."""
        return self.tiling is not None or self.test_time.scales != (1.0,) or self.test_time.flip

    @model_validator(mode="after")
    def _cache_limit_has_an_effect(self) -> "DetectionSettings":
        if self.cache_limit_gb is not None and self.cache != "disk":
            raise ValueError(f"cache_limit_gb has no effect with cache: {self.cache}; set cache: disk, or leave it out")
        return self

    @model_validator(mode="after")
    def _loss_fits_the_head(self) -> "DetectionSettings":
        fault = loss_fault(self.loss.name, self.model.name) if self.loss is not None else None
        if fault is not None:
            raise ValueError(fault)
        return self

    @model_validator(mode="after")
    def _initial_weights_have_an_effect(self) -> "DetectionSettings":
        backbone = getattr(self.model, "backbone", None)
        if backbone is not None and backbone.init is not None and (backbone.weights or self.model.weights):
            raise ValueError("model.backbone.init has no effect together with weights; leave one of them out")
        return self
