"""Parameters, MACs and bytes: by hand, as published, and as PyTorch's own allocator records them."""

from contextlib import nullcontext

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.profiler import ProfilerActivity

from foundation.errors import ConfigError
from vision.backbones.classifiers import build_classifier
from vision.profile import measure_latency, profile_network
from vision.profile.counts import macs_of
from vision.profile.latency import MIN_REPEATS
from vision.profile.layers import Layer, LayerTable
from vision.profile.memory import training_memory
from vision.profile.recorder import record

PUBLISHED = {
    # Millions of multiply-accumulates at 224 x 224; None = those of torchvision's metadata of its weights.
    "alexnet": None,
    "vgg16": None,
    "resnet50": None,
    "mobilenet_v1": 569.0,  # Howard et al. 2017, table 4
    "mobilenet_v2": None,
    "shufflenet_v1_g1": 143.0,  # Zhang et al. 2017, table 2
    "shufflenet_v1_g3": 137.0,
    "shufflenet_v1_g8": 137.0,
    "shufflenet_v2_x1_0": None,
    "densenet121": None,
    "vit_b_16": None,
    "swin_t": None,
}


class Counter:
    """Adds up the MACs of a run."""

    def __init__(self) -> None:
        self.macs = 0

    def see(self, operation) -> None:
        self.macs += macs_of(operation)


def layers_of(network: nn.Module, images: Tensor) -> list[Layer]:
    table = LayerTable(network, images)
    with torch.no_grad():
        record(network.eval(), images, [table])
    return table.finish()


def count(network: nn.Module, images: Tensor) -> int:
    counter = Counter()
    with torch.no_grad():
        record(network.eval(), images, [counter])
    return counter.macs


@pytest.mark.parametrize("name", PUBLISHED)
def test_macs_are_the_published_ones_to_two_percent(name):
    published = PUBLISHED[name]
    if published is None:
        published = 1000 * next(iter(torchvision.models.get_model_weights(name))).meta["_ops"]
    with torch.device("meta"):
        network, images = build_classifier(name, 1000, image_size=(224, 224)), torch.empty(1, 3, 224, 224)
    layers = layers_of(network, images)
    assert sum(layer.macs for layer in layers) / 1e6 == pytest.approx(published, rel=0.02)
    assert sum(layer.parameters for layer in layers) == sum(parameter.numel() for parameter in network.parameters())


def test_a_convolution_by_hand():
    # 3 -> 8 channels, 3x3, no padding, 10x12 pixels -> 8x10 outputs.
    (layer,) = layers_of(nn.Sequential(nn.Conv2d(3, 8, 3)), torch.rand(1, 3, 10, 12))
    assert layer.parameters == 8 * 3 * 9 + 8
    assert layer.macs == 8 * 10 * 8 * 3 * 9
    assert layer.weight_bytes == 4 * (8 * 3 * 9 + 8)
    assert layer.read_bytes == 4 * 3 * 10 * 12
    assert layer.written_bytes == 4 * 8 * 8 * 10
    assert layer.output_shape == (1, 8, 8, 10)


def test_a_grouped_convolution_has_a_share_of_the_products():
    images = torch.rand(1, 8, 6, 6)
    assert count(nn.Conv2d(8, 8, 3, groups=4), images) * 4 == count(nn.Conv2d(8, 8, 3), images)


def test_views_move_nothing():
    assert layers_of(nn.Sequential(nn.Flatten(), nn.Unflatten(1, (3, 16))), torch.rand(1, 3, 4, 4)) == []


def test_addition_reads_two_maps_and_writes_one():
    class Twice(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images + images.flip(3)

    layers = layers_of(nn.Sequential(Twice()), torch.rand(1, 3, 4, 4))
    assert sum(layer.read_bytes for layer in layers) == 3 * 4 * 48  # flip reads one, addition two
    assert sum(layer.written_bytes for layer in layers) == 2 * 4 * 48


def test_attention_counts_in_evaluation_too():
    # Projections: 4 * N * D * D; attention: 2 * N * N * D.
    layer = nn.TransformerEncoderLayer(16, 2, dim_feedforward=32, batch_first=True)
    expected = 4 * 5 * 16 * 16 + 2 * 5 * 5 * 16 + 2 * 5 * 16 * 32
    assert count(layer, torch.rand(1, 5, 16)) == expected
    assert count(layer.to("meta"), torch.rand(1, 5, 16, device="meta")) == expected
    assert torch.backends.mha.get_fastpath_enabled()


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_what_the_library_counts_as_nothing(device):
    lstm = nn.LSTM(8, 16, 2, bidirectional=True, batch_first=True, device=device)
    assert count(lstm, torch.rand(3, 5, 8, device=device)) == 3 * 5 * 2 * 4 * 16 * ((8 + 16) + (32 + 16))

    class Deformable(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            offset, weight = images.new_zeros(1, 18, 6, 6), images.new_ones(4, 3, 3, 3)
            return torchvision.ops.deform_conv2d(images, offset, weight)

    assert count(Deformable(), torch.rand(1, 3, 8, 8, device=device)) == 4 * 6 * 6 * 3 * 9


def small() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.GELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10)),
    )


def test_what_is_kept_for_the_backward_pass_by_hand():
    with torch.device("meta"):
        network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 2))
    memory = training_memory(network, (4, 4), 5)
    # Per image: itself, the convolution's and the ReLU's output (the latter is the linear layer's input), two logits.
    # The convolution's output is let go: a ReLU needs its own output only.
    assert memory.activation_bytes == 4 * 5 * (3 * 16 + 8 * 16 + 2)
    assert memory.gradient_bytes == memory.weight_bytes == 4 * (8 * 27 + 8 + 2 * 128 + 2)
    assert network.training
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize(
    "build", [small, lambda: torchvision.models.resnet18(num_classes=10)], ids=["small", "resnet18"]
)
def test_the_peak_is_what_the_allocator_records(build):
    network, images = build(), torch.rand(2, 3, 64, 64)
    with torch.device("meta"):
        memory = training_memory(build(), (64, 64), 2)
    assert memory.peak_bytes - images.nbytes == pytest.approx(allocated_peak(network, images), rel=0.02)


def allocated_peak(network: nn.Module, images: Tensor) -> int:
    """Most bytes allocated at once during a training step on the CPU, beyond those before it."""
    network(images).sum().backward()  # the second step does not allocate what libraries keep for themselves
    network.zero_grad(set_to_none=True)
    with torch.profiler.profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:
        output = network(images)
        output.backward(torch.ones_like(output))
    live = peak = 0
    for event in watched.profiler.kineto_results.events():
        if event.name() == "[memory]":
            live += event.nbytes()
            peak = max(peak, live)
    return peak


def test_a_batch_shares_the_weights():
    one, eight = (
        profile_network(small, name="small", image_size=(32, 32), batch_size=batch_size) for batch_size in (1, 8)
    )
    assert eight.weight_bytes == one.weight_bytes
    assert eight.read_bytes == 8 * one.read_bytes
    assert eight.intensity > one.intensity
    assert eight.macs == one.macs


def test_an_image_that_is_too_small_is_an_error_with_the_way_out():
    def build() -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 4, 11))

    with pytest.raises(ConfigError, match=r"big cannot run on images of 8x8 pixels \(.*Kernel size.*--input"):
        profile_network(build, name="big", image_size=(8, 8), batch_size=1)


def test_a_network_that_reads_its_numbers_while_it_is_built_is_profiled_too():
    def build() -> nn.Module:
        width = int(torch.tensor([4.0]).sum().item())
        return nn.Sequential(nn.Conv2d(3, width, 3))

    assert profile_network(build, name="n", image_size=(8, 8), batch_size=1).parameters == 4 * 27 + 4


def test_parameters_that_only_training_uses_are_told_apart():
    found = profile_network(
        lambda: build_classifier("googlenet2014", 10, image_size=(224, 224)),
        name="googlenet2014",
        image_size=(224, 224),
        batch_size=1,
    )
    assert 0 < found.idle_parameters < found.parameters


def test_latency_says_what_it_was_measured_with():
    clock = measure_latency(
        small(), torch.rand(2, 3, 32, 32), repeats=5, precision="fp32", autocast=lambda: nullcontext()
    )
    assert clock.fastest_ms <= clock.median_ms <= clock.slowest_ms
    assert (clock.repeats, clock.batch_size, clock.precision, clock.device) == (5, 2, "fp32", "cpu")
    assert clock.threads == torch.get_num_threads()
    assert clock.images_per_s == pytest.approx(2000 / clock.median_ms)


def test_a_slow_network_is_not_repeated_for_ever(monkeypatch):
    monkeypatch.setattr("vision.profile.latency.BUDGET_S", 0.0)
    clock = measure_latency(
        small(), torch.rand(1, 3, 32, 32), repeats=50, precision="fp32", autocast=lambda: nullcontext()
    )
    assert clock.repeats == MIN_REPEATS
