"""The whole profile of a network: everything that one run on the `meta` device tells, joined with what was measured."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from foundation.errors import ConfigError
from vision.profile.counts import FLOPS_PER_MAC
from vision.profile.latency import Latency
from vision.profile.layers import Layer, LayerTable
from vision.profile.memory import TrainingMemory, training_memory
from vision.profile.receptive_field import ReceptiveField, StageField, stage_fields
from vision.profile.recorder import record

CHANNELS = 3
META_ERRORS = (RuntimeError, NotImplementedError, TypeError, ValueError, AssertionError)
"""What torch and networks raise where `meta` tensors, or an image size, do not suit them."""


@dataclass(slots=True)
class Profile:
    """What a network costs and sees for images of one size. Numbers are float32, bytes are bytes."""

    name: str
    image_size: tuple[int, int]
    batch_size: int
    parameters: int
    buffers: int
    """Numbers that are kept but not trained, such as the statistics of batch normalisation."""
    layers: list[Layer]
    """Of one image."""
    training: TrainingMemory | None
    """Of one step with `batch_size` images; None where the step cannot run on the `meta` device."""
    latency: Latency | None = None

    @property
    def idle_parameters(self) -> int:
        """Parameters that do not run in evaluation: auxiliary heads."""
        return self.parameters - sum(layer.parameters for layer in self.layers)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one image."""
        return sum(layer.macs for layer in self.layers)

    @property
    def flops(self) -> int:
        """Floating-point operations of one image: two per multiply-accumulate."""
        return FLOPS_PER_MAC * self.macs

    @property
    def weight_bytes(self) -> int:
        """Parameters and buffers that a forward pass reads, once a batch."""
        return sum(layer.weight_bytes for layer in self.layers)

    @property
    def read_bytes(self) -> int:
        """Activations that a forward pass reads, for the whole batch."""
        return self.batch_size * sum(layer.read_bytes for layer in self.layers)

    @property
    def written_bytes(self) -> int:
        """Activations that a forward pass writes, for the whole batch."""
        return self.batch_size * sum(layer.written_bytes for layer in self.layers)

    @property
    def intensity(self) -> float:
        """FLOPs per byte read or written, at the batch size."""
        moved = self.weight_bytes + self.read_bytes + self.written_bytes
        return self.batch_size * self.flops / moved if moved else 0.0

    @property
    def stages(self) -> list[StageField]:
        """The receptive field by stride."""
        return stage_fields([(layer.path, layer.field, layer.meets) for layer in self.layers])

    @property
    def last_map(self) -> StageField | None:
        """The last layer whose positions can be told apart, before pooling or the classifier; None if there is none."""
        found = [layer for layer in self.layers if layer.field is not None and layer.field.size is not None]
        flowing = [layer for layer in found if layer.meets] or found
        if not flowing:
            return None
        last = flowing[-1]
        assert last.field is not None
        return StageField(last.path, last.field)

    @property
    def first_global(self) -> tuple[str, str] | None:
        """(layer, reason) from which on a map sees the whole image; None if that is only in the head."""
        return next(
            (
                (layer.path, layer.field.context)
                for layer in self.layers
                if layer.field is not None and layer.field.size is not None and layer.field.context
            ),
            None,
        )

    @property
    def first_unknown(self) -> tuple[str, str] | None:
        """(layer, reason) from which on the receptive field could not be followed; None if it was."""
        return next(
            (
                (layer.path, layer.field.unknown)
                for layer in self.layers
                if layer.field is not None and layer.field.unknown
            ),
            None,
        )

    def to_json(self, with_layers: bool) -> dict[str, Any]:
        """Return plain data; see docs/profile.md for the keys."""
        last, unknown = self.last_map, self.first_unknown
        field = ReceptiveField(None, None, None, unknown=unknown[1] if unknown else "")
        if last is not None and unknown is None:
            field = last.field
        answer: dict[str, Any] = {
            "name": self.name,
            "input": [CHANNELS, *self.image_size],
            "batch_size": self.batch_size,
            "parameters": self.parameters,
            "idle_parameters": self.idle_parameters,
            "buffers": self.buffers,
            "macs": self.macs,
            "flops": self.flops,
            "memory": {
                "weight_bytes": self.weight_bytes,
                "read_bytes": self.read_bytes,
                "written_bytes": self.written_bytes,
                "arithmetic_intensity": self.intensity,
            },
            "training": self.training.to_json() if self.training else None,
            "receptive_field": {
                "layer": last.layer if last and not unknown else None,
                **field.to_json(),
                "global_from": _named(self.first_global),
                "unknown_from": _named(unknown),
                "stages": [{"layer": stage.layer, **stage.field.to_json()} for stage in self.stages],
            },
            "latency": self.latency.to_json() if self.latency else None,
        }
        if with_layers:
            answer["layers"] = [layer.to_json() for layer in self.layers]
        return answer


def profile_network(
    build: Callable[[], nn.Module], *, name: str, image_size: tuple[int, int], batch_size: int
) -> Profile:
    """Profile a network without giving it memory: it is built and run on the `meta` device.

    Args:
        build: makes the network; called once, under `torch.device("meta")`.
        name: the network in the user's words.
        image_size: (height, width).
        batch_size: of a training step, and of the memory traffic.

    Returns:
        The profile without a latency.

    Raises:
        ConfigError: if the network cannot run on images of that size.
    """
    network = _on_meta(build).eval()
    images = torch.empty(1, CHANNELS, *image_size, device="meta")
    table = LayerTable(network, images)
    try:
        with torch.no_grad():
            record(network, images, [table])
    except META_ERRORS as error:
        raise ConfigError(
            f"{name} cannot run on images of {image_size[0]}x{image_size[1]} pixels "
            f"({str(error).partition(chr(10))[0] or type(error).__name__}). Give it the size it was made for with "
            "--input 3xHEIGHTxWIDTH."
        ) from error
    return Profile(
        name=name,
        image_size=image_size,
        batch_size=batch_size,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        buffers=sum(buffer.numel() for buffer in network.buffers()),
        layers=table.finish(),
        training=_training(network, image_size, batch_size),
    )


def _on_meta(build: Callable[[], nn.Module]) -> nn.Module:
    """Build without memory; a network that computes with its own constants while it is built is moved afterwards."""
    try:
        with torch.device("meta"):
            return build()
    except META_ERRORS:
        return build().to("meta")


def _training(network: nn.Module, image_size: tuple[int, int], batch_size: int) -> TrainingMemory | None:
    try:
        return training_memory(network, image_size, batch_size)
    except META_ERRORS:
        return None


def _named(place: tuple[str, str] | None) -> dict[str, str] | None:
    return {"layer": place[0], "because": place[1]} if place else None
