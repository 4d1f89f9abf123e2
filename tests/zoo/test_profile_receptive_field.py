"""Receptive fields: as published, as a gradient probe finds them, and honest where there is none."""

import math

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from vision.backbones.classifiers import build_classifier
from vision.profile.layers import LayerTable
from vision.profile.profile import Profile
from vision.profile.receptive_field import ReceptiveField, ReceptiveFields
from vision.profile.recorder import record

pytestmark = [
    pytest.mark.filterwarnings("ignore:The default weight initialization of"),  # torchvision's, of two classifiers
]


def profile(build, image_size=(224, 224)) -> Profile:
    """Profile without the training step, which takes longest."""
    with torch.device("meta"), torch.no_grad():
        network, images = build().eval(), torch.empty(1, 3, *image_size)
        table = LayerTable(network, images)
        record(network, images, [table])
    return Profile("network", image_size, 1, 0, 0, table.finish(), training=None)


def named(name: str):
    if name.startswith("timm:"):
        return lambda: timm.create_model(name.removeprefix("timm:"))
    return lambda: torchvision.models.get_model(name)


def he_2015(name: str):
    """A ResNet as published in 2015: stride in the first 1x1 convolution; torchvision has it in the 3x3 one."""

    def build() -> nn.Module:
        network = torchvision.models.get_model(name)
        for module in network.modules():
            if isinstance(module, torchvision.models.resnet.Bottleneck):
                module.conv1.stride, module.conv2.stride = module.conv2.stride, module.conv1.stride
        return network

    return build


PUBLISHED = {
    # Araujo et al. 2019, table of github.com/google-research/receptive_field.
    "alexnet": (named("alexnet"), 195, 32),
    "vgg11": (named("vgg11"), 150, 32),
    "vgg16": (named("vgg16"), 212, 32),
    "inception_v2": (lambda: build_classifier("bn_inception", 10, image_size=(224, 224)), 699, 32),
    "inception_v3": (named("inception_v3"), 1311, 32),
    "inception_v4": (named("timm:inception_v4"), 2071, 32),
    "inception_resnet_v2": (named("timm:inception_resnet_v2"), 3039, 32),
    "mobilenet_v1": (named("timm:mobilenetv1_100"), 315, 32),
    "resnet50": (he_2015("resnet50"), 483, 32),
    "resnet101": (he_2015("resnet101"), 1027, 32),
    "resnet152": (he_2015("resnet152"), 1507, 32),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_sizes_and_strides_are_the_published_ones(name):
    build, size, stride = PUBLISHED[name]
    image_size = (299, 299) if name.startswith("inception") and name != "inception_v2" else (224, 224)
    last = profile(build, image_size).last_map
    assert (last.field.size, last.field.stride) == ((size, size), (stride, stride))


def test_the_stages_of_inception_v3_are_the_published_ones_with_their_padding():
    stages = {stage.layer: stage.field for stage in profile(named("inception_v3"), (299, 299)).stages}
    found = {name: (stages[name].size[0], stages[name].padding[0]) for name in ("Mixed_5d", "Mixed_6e", "Mixed_7c")}
    assert found == {"Mixed_5d": (127, 50), "Mixed_6e": (927, 442), "Mixed_7c": (1311, 618)}


def test_a_stride_in_the_3x3_convolution_sees_less():
    # By hand, torchvision's ResNet-50: 11 + 3*8 = 35, + 8 + 3*16 = 91, + 16 + 5*32 = 267, + 32 + 2*64 = 427.
    sizes = [stage.field.size[0] for stage in profile(named("resnet50")).stages]
    assert sizes == [7, 35, 91, 267, 427]


class Branches(nn.Module):
    """Shortcut, dilation, two depths, patches by slicing, one-sided padding, and sides that differ."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, (3, 5), padding=(1, 2))
        self.deep = nn.Sequential(nn.Conv2d(4, 4, 3, padding=2, dilation=2), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1))
        self.shallow = nn.Conv2d(4, 4, 1)
        self.end = nn.Conv2d(16, 4, 2, stride=2)

    def forward(self, images: Tensor) -> Tensor:
        features = self.stem(images)
        features = features + self.deep(features)
        features = torch.cat([self.shallow(features), self.deep(features)], 1)[:, 2:6] * features
        features = torch.cat([features[..., i::2, j::2] for i in (0, 1) for j in (0, 1)], 1)
        return self.end(nn.functional.pad(features, (1, 0, 0, 1)))


class Shuffled(nn.Module):
    """Layouts: channel shuffle, channels last with a linear layer and a norm, tokens and back."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, 2, 1, bias=False)
        self.norm = nn.LayerNorm(8)
        self.linear = nn.Linear(8, 8)
        self.last = nn.Conv2d(8, 8, 3, padding=1, groups=8)

    def forward(self, images: Tensor) -> Tensor:
        features = self.first(images)
        batch, channels, height, width = features.shape
        features = features.view(batch, 2, channels // 2, height, width).transpose(1, 2).flatten(1, 2)
        features = self.linear(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        tokens = self.linear(features.flatten(2).transpose(1, 2))
        return self.last(tokens.transpose(1, 2).reshape(batch, channels, height, width))


def trunk(name: str, last: str):
    """The part of a torchvision classifier up to a child, as a chain."""
    children = []
    for path, child in torchvision.models.get_model(name).named_children():
        children.append(child)
        if path == last:
            break
    return nn.Sequential(*children)


PROBED = {
    "branches": (Branches, 96),
    "layouts": (Shuffled, 64),
    "resnet18 to layer3": (lambda: trunk("resnet18", "layer3"), 320),
    "dilated resnet50 to layer1": (lambda: trunk("resnet50", "layer1"), 96),
    "densenet": (
        lambda: torchvision.models.DenseNet(4, (2, 2, 1), 8, num_classes=2).features,
        256,
    ),
    "mobilenet_v2": (lambda: torchvision.models.mobilenet_v2(width_mult=0.25).features[:12], 256),
    "shufflenet": (lambda: trunk("shufflenet_v2_x0_5", "stage2"), 160),
    "squeezenet": (lambda: torchvision.models.squeezenet1_1().features[:8], 160),
    "googlenet to inception4a": (lambda: trunk("googlenet", "inception4a"), 320),
}


@pytest.mark.parametrize("name", PROBED)
def test_gradients_come_from_exactly_the_field(name):
    build, side = PROBED[name]
    network = build().eval()
    field = field_of_output(network, side)
    (top, left), (bottom, right), position = gradient_extent(network, side)
    for axis, (first, last) in enumerate(((top, bottom), (left, right))):
        begin = position[axis] * field.stride[axis] - field.padding[axis]
        assert (begin, begin + field.size[axis] - 1) == (first, last)


def field_of_output(network: nn.Module, side: int) -> ReceptiveField:
    images = torch.rand(1, 3, side, side)
    fields = ReceptiveFields(images)
    with torch.no_grad():
        output = record(network, images, [fields])
    return fields.of(output)


def gradient_extent(network: nn.Module, side: int) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """Find the first and last pixel that the middle position of the output depends on.

    Weights become positive, non-linearities the identity, and the largest of a pooling window its mean, so that no
    path is silent or cancels another.
    """
    make_transparent(network.double())
    images = torch.ones(1, 3, side, side, dtype=torch.float64, requires_grad=True)
    output = network(images)
    row, column = output.shape[2] // 2, output.shape[3] // 2
    output[0, :, row, column].sum().backward()
    touched = images.grad[0].abs().sum(0) > 0
    rows, columns = touched.any(1).nonzero().flatten().tolist(), touched.any(0).nonzero().flatten().tolist()
    assert rows[0] > 0
    assert rows[-1] < side - 1, "the field must lie within the image"
    return (rows[0], columns[0]), (rows[-1], columns[-1]), (row, column)


def make_transparent(network: nn.Module) -> None:
    for name, child in network.named_children():
        if isinstance(child, nn.MaxPool2d):
            mean = nn.AvgPool2d(child.kernel_size, child.stride, child.padding, child.ceil_mode)
            setattr(network, name, mean)
        elif isinstance(child, nn.ReLU | nn.ReLU6 | nn.BatchNorm2d | nn.LayerNorm | nn.Dropout):
            setattr(network, name, nn.Identity())
        else:
            make_transparent(child)
    for parameter in network.parameters(recurse=False):
        nn.init.constant_(parameter, 1 / max(1, math.prod(parameter.shape[1:])))


class Squeezed(nn.Module):
    """A convolution, then squeeze and excitation."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.gate = nn.Conv2d(8, 8, 1)

    def forward(self, images: Tensor) -> Tensor:
        features = self.conv(images)
        return features * torch.sigmoid(self.gate(features.mean((2, 3), keepdim=True)))


def test_squeeze_and_excitation_sees_all_besides_its_own_place():
    field = field_of_output(Squeezed(), 16)
    assert field.size == (3, 3)
    assert field.is_global
    assert "pooling" in field.context


def test_attention_sees_all_from_the_first_block_on():
    found = profile(named("vit_b_16"))
    assert found.last_map.field.size == (16, 16)
    assert found.last_map.field.stride == (16, 16)
    assert found.first_global == ("encoder.layers.encoder_layer_0", "attention between all positions")


def test_windows_of_attention_are_said_not_to_be_followed():
    found = profile(named("swin_t"))
    assert found.first_unknown == ("features.1.0.attn", "the map is cut into windows")
    told = found.to_json(with_layers=False)["receptive_field"]
    assert told["unknown_from"]["layer"] == "features.1.0.attn"
    assert told["size"] is None, "the 4 pixels of a patch are not the network's field"
    assert [stage["size"] for stage in told["stages"]] == [[4, 4]]


@pytest.mark.parametrize(
    ("network", "words"),
    [
        pytest.param(nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4)), "group normalisation", id="group norm"),
        pytest.param(nn.Sequential(nn.Conv2d(3, 4, 3), nn.InstanceNorm2d(4)), "normalisation", id="instance norm"),
        pytest.param(nn.LayerNorm((3, 16, 16)), "layer normalisation", id="layer norm over the map"),
    ],
)
def test_statistics_of_the_whole_map_see_the_whole_map(network, words):
    field = field_of_output(network.eval(), 16)
    assert field.is_global
    assert words in field.context


@pytest.mark.parametrize(
    "network",
    [
        pytest.param(nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 2)), id="flattened"),
        pytest.param(nn.AdaptiveAvgPool2d(1), id="pooled"),
        pytest.param(nn.AdaptiveMaxPool2d(1), id="largest"),
    ],
)
def test_a_head_over_the_whole_map_is_global(network):
    field = field_of_output(network, 16)
    assert field.size is None
    assert field.is_global


def test_a_chain_of_one_pixel_maps_is_still_followed():
    network = nn.Sequential(nn.Conv2d(3, 8, 16, stride=16), nn.ChannelShuffle(2), nn.Conv2d(8, 8, 3, padding=1))
    assert field_of_output(network.eval(), 16).size == (48, 48)
