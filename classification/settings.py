"""Settings of the classification task: the keys of a `train` stage with `task: classification`. No torch."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Discriminator, Field, PositiveFloat, PositiveInt, Tag, model_validator

from classification.ensemble_settings import ENSEMBLE, EnsembleModelSettings, model_tag
from foundation.settings import FromList, Size, StrictModel
from vision.augment.classify.settings import AugmentSettings
from vision.backbone_names import known_backbone, width_fault
from vision.layers.settings import PartsSettings
from vision.losses.settings import CrossEntropySettings, EmbeddingTermSettings, LossSettings

Channels = Annotated[tuple[float, float, float], FromList]
PositiveChannels = Annotated[tuple[PositiveFloat, PositiveFloat, PositiveFloat], FromList]

SMALL_SIDE_PX = 96
"""Smaller images are used whole unless `resize_size` says otherwise: their borders show something."""
RESIZE_FACTOR = 256 / 224
"""Shortest side over the crop's, as in Krizhevsky et al. 2012, for images of `SMALL_SIDE_PX` or more."""


class LinearHead(StrictModel):
    """The network's own pooling and one linear layer."""

    name: Literal["linear"]


class PyramidHead(StrictModel):
    """Spatial pyramid pooling (He et al. 2014, arXiv:1406.4729) before the linear layer."""

    name: Literal["spp"]
    levels: Annotated[tuple[PositiveInt, ...], FromList, Field(min_length=1)] = (4, 2, 1)
    """Rows and columns of each grid; the maxima of all their cells are the embedding."""


HeadSettings = Annotated[LinearHead | PyramidHead, Field(discriminator="name")]


def _of_one_network(name: str) -> str:
    if name == ENSEMBLE:
        raise ValueError("`model: ensemble` is not trained; a stage of `kind: ensemble` makes one of trained models")
    return known_backbone(name)


class ClassifierModel(PartsSettings):
    """A classifier by its name, and what is changed about it."""

    name: Annotated[str, AfterValidator(_of_one_network)] = "resnet18"
    """One of `orchestrator zoo backbones`, or `timm:NAME`."""
    weights: str | None = None
    """`torchvision:IMAGENET1K_V1`, `timm:TAG`, `stage:NAME`, `models:/NAME@ALIAS`, `file:PATH`; null = from scratch.
    Of weights for other classes all but the last layer is taken."""
    width: PositiveFloat = 1.0
    """Multiplier on the channels, for torchvision ResNets only (0.5 = half as wide)."""
    stem: Literal["auto", "standard", "small"] = "auto"
    """small = without the early strides, for images of 28 to 64 pixels; auto = small for an `image_size` below 96
    where the family has one."""
    head: HeadSettings = LinearHead(name="linear")
    """How the last feature maps become one vector."""
    embedding_size: PositiveInt | None = None
    """Put a linear layer with so many outputs before the last one; null = the network's own number of features."""

    @model_validator(mode="after")
    def _can_have_this_width(self) -> "ClassifierModel":
        if fault := width_fault(self.name, self.width):
            raise ValueError(fault)
        return self


ModelSettings = Annotated[
    Annotated[ClassifierModel, Tag("classifier")] | Annotated[EnsembleModelSettings, Tag(ENSEMBLE)],
    Discriminator(model_tag),
]


class ChannelStatistics(StrictModel):
    """What is subtracted from each colour channel in [0, 1], and what the rest is divided by."""

    mean: Channels
    """Red, green, blue."""
    std: PositiveChannels
    """Red, green, blue."""


class DistillSettings(StrictModel):
    """Learn from a teacher's probabilities too (Hinton et al. 2015, arXiv:1503.02531)."""

    weights: str | None = None
    """The teacher's bundle: `stage:NAME`, `models:/NAME@ALIAS` or `file:FOLDER`, of the same classes."""
    temperature: PositiveFloat = 4.0
    """Both models' logits are divided by it before they are compared; higher = more of the unlikely classes."""
    alpha: Annotated[float, Field(gt=0.0, le=1.0)] = 0.9
    """Share of the teacher in the loss; the labels have the rest."""


class ViewSettings(StrictModel):
    """Several views of an image in evaluation and prediction; the mean of their probabilities counts."""

    crops: Literal["one", "five", "ten"] = "one"
    """one = the centre; five = it and the corners, each of `image_size` and out of an image whose shortest side is
    `resize_size` (Krizhevsky et al. 2012); ten = these and their mirror images."""
    scales: Annotated[tuple[PositiveFloat, ...], FromList, Field(min_length=1)] = (1.0,)
    """The input is resized by each of these factors; the network must accept the sizes."""
    flip: bool = False
    """Also the mirror image of every view."""

    @model_validator(mode="after")
    def _flip_has_an_effect(self) -> "ViewSettings":
        if self.flip and self.crops == "ten":
            raise ValueError("`crops: ten` holds the mirror images already; leave `flip` out")
        return self


class EvaluationSettings(StrictModel):
    """What an `evaluate` stage may put in the place of the settings that the model was trained with."""

    test_time: ViewSettings = ViewSettings()
    """As in training."""


class ClassificationSettings(StrictModel):
    """What a classifier is made by, as its bundle keeps it; a `train` stage has the same keys, see below."""

    model: ModelSettings = ClassifierModel()
    """The network by `name`, with its own keys."""
    augment: AugmentSettings = AugmentSettings()
    """What happens to a training image."""
    loss: LossSettings = CrossEntropySettings(name="cross_entropy")
    """What is minimised, by `name` with its own keys."""
    distill: DistillSettings | None = None
    """A teacher to learn from besides the labels; null = none."""
    image_size: Size = (224, 224)
    """(height, width) that the model sees."""
    resize_size: PositiveInt | None = None
    """resize: crop: the shortest side in evaluation, pixels, of which the centre is cut out; null = the crop's own for
    images below 96 px, else 256 for 224 and in proportion."""
    resize: Literal["crop", "squash", "letterbox"] = "crop"
    """Evaluation: the centre of the image; all of it with another aspect ratio; or all of it with borders."""
    normalize: Literal["imagenet", "data", "none"] | ChannelStatistics = "imagenet"
    """Mean and deviation of the channels: those of ImageNet, of the training split, none, or `{mean, std}`."""
    cache: Literal["memory", "disk", "none"] = "memory"
    """Keep decoded images as uint8, resized as far as augmentation allows, for all processes of a machine: in memory
    while any of them runs, or on disk, in the cache folder, where later runs find them again."""
    cache_limit_gb: PositiveFloat | None = None
    """cache: disk: files of all data sets together take so much, those used longest ago go first; null = 20."""
    test_time: ViewSettings = ViewSettings()
    """Views of an image in evaluation and prediction."""

    @property
    def shortest_side(self) -> int:
        """The shortest side in pixels that `resize: crop` resizes to before it cuts `evaluation_size` out."""
        side = min(self.image_size)
        if self.resize_size is not None:
            return self.resize_size
        return side if side < SMALL_SIDE_PX else round(side * RESIZE_FACTOR)

    @property
    def evaluation_size(self) -> tuple[int, int]:
        """(height, width) of an image as evaluation and prediction hand it to the model: `image_size`, and with five
        or ten crops the larger image that the model cuts them out of."""
        if self.test_time.crops == "one":
            return self.image_size
        factor = self.shortest_side / min(self.image_size)
        height, width = (round(side * factor) for side in self.image_size)
        return height, width

    @model_validator(mode="after")
    def _cache_limit_has_an_effect(self) -> "ClassificationSettings":
        if self.cache_limit_gb is not None and self.cache != "disk":
            raise ValueError(f"cache_limit_gb has no effect with cache: {self.cache}; set cache: disk, or leave it out")
        return self

    @model_validator(mode="after")
    def _sizes_fit(self) -> "ClassificationSettings":
        is_cropped = self.resize == "crop"
        if self.resize_size is not None and not is_cropped and self.augment.recipe().crop != "random":
            raise ValueError(f"`resize_size` has no effect with `resize: {self.resize}`; leave one of them out")
        if is_cropped and self.shortest_side < min(self.image_size):
            raise ValueError(f"`resize_size` {self.resize_size} is less than the crop, `image_size` {self.image_size}")
        smallest = round(self.shortest_side * min(self.test_time.scales))
        if self.test_time.crops != "one" and is_cropped and smallest < min(self.image_size):
            raise ValueError(
                f"`test_time.scales` {min(self.test_time.scales)} makes the image {smallest} px, less than the crops, "
                f"`image_size` {self.image_size}"
            )
        if self.test_time.crops != "one" and (not is_cropped or self.shortest_side == min(self.image_size)):
            raise ValueError(
                f"`test_time.crops: {self.test_time.crops}` needs `resize: crop` and a `resize_size` greater than "
                f"{min(self.image_size)}; otherwise all crops are the same"
            )
        return self

    @model_validator(mode="after")
    def _windows_have_room(self) -> "ClassificationSettings":
        recipe = self.augment.recipe()
        if recipe.crop == "random" and not recipe.pad and self.shortest_side == min(self.image_size):
            raise ValueError(
                f"`augment.crop: random` leaves no room to cut windows of `image_size` {list(self.image_size)} out of; "
                "give a larger `resize_size` (256 for 224 in Krizhevsky et al. 2012), or `augment.pad`"
            )
        return self

    @model_validator(mode="after")
    def _mixed_images_have_one_loss(self) -> "ClassificationSettings":
        if isinstance(self.loss, EmbeddingTermSettings) and self.mixes_images:
            raise ValueError(
                f"`loss: {self.loss.name}` compares images by their one class; set `augment: {{mixing: 0.0}}`, or take "
                "a preset without mixup and cutmix"
            )
        return self

    @property
    def mixes_images(self) -> bool:
        """Whether training images may show two classes, by mixup or cutmix."""
        recipe = self.augment.recipe()
        return recipe.mixing > 0 and (recipe.mixup > 0 or recipe.cutmix > 0)


class ClassificationTraining(ClassificationSettings):
    """The keys of a classification `train` stage, besides those every stage has."""

    model: ClassifierModel = ClassifierModel()
    """The network by `name`, with its own keys."""

    @model_validator(mode="after")
    def _can_be_trained(self) -> "ClassificationTraining":
        model = self.model
        if model.weights is not None and model.init is not None:
            raise ValueError("`model.init` has no effect where `model.weights` are given; leave one of them out")
        if model.weights is None and model.norm == "frozen":
            raise ValueError("`model.norm: frozen` keeps what training left; it needs `model.weights`")
        if self.distill is not None and self.distill.weights is None:
            raise ValueError("`distill.weights` must name the teacher, for example `stage:NAME`")
        return self
