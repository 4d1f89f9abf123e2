"""What all detectors on torchvision's parts share: normalising, anchors, labels, losses, published weights."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from detection.class_losses import ACCUMULATED
from detection.settings import DenseHeadModel
from engine.distributed import mean_over_ranks
from engine.weights import LoadReport, load_into, load_state
from foundation.errors import ConfigError
from vision.normalize import IMAGENET_MEAN, IMAGENET_STD

Targets = list[dict[str, Tensor]]
Losses = dict[str, Tensor]

FROZEN_EPS = 1e-5
"""FrozenBatchNorm2d's epsilon, which torchvision left out when its oldest detectors were trained (vision#2933)."""
COCO_ROWS = tuple(
    index
    for index, name in enumerate(FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"])
    if name not in ("__background__", "N/A")
)
"""The 80 real ones among the 91 outputs of torchvision's COCO detectors, in the order of COCO's categories."""
COCO_OUTPUTS = 91
FITTED = "fitted_"
"""Beginning of the names of tensors that hold anchors fitted to the data; published weights have none."""


class Normalize(GeneralizedRCNNTransform):
    """torchvision's place for resizing, where ours only normalises: images come letterboxed to one size."""

    def __init__(
        self,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[float, ...] = IMAGENET_STD,
        size_divisible: int = 32,
    ) -> None:
        super().__init__(0, 0, list(mean), list(std), size_divisible=size_divisible)
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor, targets: Targets | None = None) -> tuple[ImageList, Targets | None]:
        """Normalise (B, 3, H, W) float images; zeros fill up to multiples of `size_divisible` right and below."""
        batch_size, _, height, width = images.shape
        normal = (images - self.mean) / self.std
        right, below = -width % self.size_divisible, -height % self.size_divisible
        if right or below:
            normal = F.pad(normal, (0, right, 0, below))
        return ImageList(normal, [(height, width)] * batch_size), targets

    def postprocess(self, result: Targets, *_: Any) -> Targets:
        """Leave detections in the input's pixels."""
        return result


class FloatAnchors(AnchorGenerator):
    """torchvision's anchors, always in float32: in bfloat16 feature maps' own type they would be off by pixels."""

    def forward(self, image_list: ImageList, feature_maps: list[Tensor]) -> list[Tensor]:
        """Return (A, 4) xyxy anchors per image."""
        return super().forward(image_list, as_float_shapes(feature_maps))


def as_float_shapes(feature_maps: list[Tensor]) -> list[Tensor]:
    """Stand-ins of the same shapes and device in float32, without memory, for code that looks at the type."""
    zero = torch.zeros((), device=feature_maps[0].device)
    return [zero.expand(features.shape) for features in feature_maps]


def float_outputs(head: nn.Module) -> None:
    """Make a head hand out float32 under autocast, so that decoding and losses are computed in it."""
    head.register_forward_hook(lambda _, __, output: _to_float(output))


def _to_float(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.float()
    if isinstance(value, dict):
        return {key: _to_float(item) for key, item in value.items()}
    return type(value)(_to_float(item) for item in value)


def run(
    forward: Callable[..., Any],
    images: Tensor,
    targets: Targets | None,
    *,
    is_training: bool,
    loss_names: Mapping[str, str],
    first_label: int,
) -> Losses | Targets:
    """Call a torchvision detector the way the detection task wants it.

    Args:
        images: (B, 3, H, W) float RGB in [0, 1].
        targets: per image `boxes` (N, 4) xyxy pixels and `labels` (N,); boxes without area are left out.
        loss_names: torchvision's name of each loss term, and ours.
        first_label: torchvision's label of our label 0.

    Returns:
        In training the loss terms; else per image `boxes`, `scores`, `labels`.
    """
    if not is_training:
        detections = forward(images, None)
        return [{**detection, "labels": detection["labels"] - first_label} for detection in detections]
    if targets is None:
        raise ValueError("a detector in training mode needs targets")
    shifted = []
    for target in targets:
        boxes = target["boxes"]
        has_area = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
        shifted.append({"boxes": boxes[has_area], "labels": target["labels"][has_area] + first_label})
    return {loss_names[name]: value for name, value in forward(images, shifted).items()}


def is_stock_resnet50(model: DenseHeadModel) -> bool:
    """Whether these settings describe torchvision's own RetinaNet or FCOS."""
    backbone = model.backbone
    own = (model.levels, model.fpn_channels, model.head_convs) == ((3, 4, 5, 6, 7), 256, 4)
    return own and backbone.name == "resnet50" and backbone.width == 1


def over_ranks(losses: Losses, matched_idxs: list[Tensor]) -> Losses:
    """Turn sums divided by this rank's number of positives into sums divided by the mean number over all ranks."""
    positives = torch.stack([(matches >= 0).sum() for matches in matched_idxs]).sum().float()
    factor = positives.clamp(min=1) / mean_over_ranks(positives).clamp(min=1)
    return {name: value * factor for name, value in losses.items()}


@dataclass(frozen=True, slots=True)
class ClassRows:
    """Which tensors of a detector have rows per class, and how they lie."""

    pattern: str
    """Regular expression over the state dict's names."""
    is_class_major: bool = False
    """(K, n) as a box predictor's; else (n, K), n values or anchors each."""


def load_detector(
    model: nn.Module,
    uri: str,
    *,
    architecture: str | None,
    what: str,
    num_outputs: int,
    class_rows: tuple[ClassRows, ...],
    has_background: bool,
    is_without_eps: bool = False,
) -> LoadReport:
    """Load a detector's weights; a head for other classes is made anew, and that is logged.

    A head of torchvision's COCO detectors is kept for 80 classes (COCO's own, in their order) and for 90 (with its
    gaps); a background output that our sigmoid heads do not have is left out.

    Args:
        architecture: torchvision's name of this very network, None if it has none.
        num_outputs: classes plus, with `has_background`, one.
        is_without_eps: the published weights count on FrozenBatchNorm2d without epsilon.
    """
    if uri.startswith("torchvision:") and architecture is None:
        raise ConfigError(
            f"model.weights {uri!r}: torchvision publishes no detector with these settings for {what}. Use its own "
            "backbone and channels (faster_rcnn, retinanet, fcos: backbone resnet50 with the other settings left out; "
            "ssd, ssdlite: no backbone), or give `file:PATH`."
        )
    state = load_state(uri, architecture=architecture)
    state = {name: tensor for name, tensor in state.items() if not _is_called(name, ACCUMULATED)}
    if is_without_eps and uri.startswith("torchvision:"):
        state = {n: t - FROZEN_EPS if n.endswith("running_var") else t for n, t in state.items()}
    own = model.state_dict()
    for rows in class_rows:
        for name in [name for name in state if name in own and re.search(rows.pattern, name)]:
            state[name] = _select_rows(state[name], len(own[name]), num_outputs, has_background, rows.is_class_major)
    of_data = [name for name in own if _is_called(name, FITTED) or _is_called(name, ACCUMULATED)]
    return load_into(model, state, what=what, allow_head_mismatch=True, may_differ=of_data)


def _is_called(name: str, beginning: str) -> bool:
    """Whether a tensor's own name, without its module's, begins so."""
    return name.rpartition(".")[2].startswith(beginning)


def _select_rows(theirs: Tensor, num_rows: int, num_outputs: int, has_background: bool, is_class_major: bool) -> Tensor:
    """Pick the rows of the classes that both heads have; `theirs` as it is where it cannot be said which."""
    per_class = num_rows // num_outputs
    num_theirs, rest = divmod(len(theirs), per_class)
    num_classes = num_outputs - has_background
    if rest or num_theirs == num_outputs:
        return theirs
    if num_theirs == COCO_OUTPUTS and num_classes == len(COCO_ROWS):
        kept = [0, *COCO_ROWS] if has_background else list(COCO_ROWS)
    elif not has_background and num_theirs == num_outputs + 1:
        kept = list(range(1, num_theirs))
    else:
        return theirs
    tail = theirs.shape[1:]
    if is_class_major:
        return theirs.reshape(num_theirs, per_class, *tail)[kept].flatten(0, 1)
    return theirs.reshape(per_class, num_theirs, *tail)[:, kept].flatten(0, 1)
