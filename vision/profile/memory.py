"""Bytes: what an operation reads and writes, and what a training step holds at once."""

import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from vision.profile.recorder import Operation, record

UNWRITTEN = ("aten.empty", "aten.empty_like", "aten.new_empty", "aten.empty_strided", "aten.new_empty_strided")


class Traffic(NamedTuple):
    """Bytes that an operation moves, if it runs alone."""

    weights: int
    """Read: parameters and buffers."""
    activations: int
    """Read: all other inputs."""
    written: int


def storages_of(tensors: Iterable[Tensor]) -> frozenset[int]:
    """Return the identities of the memory behind tensors; views share it."""
    return frozenset(tensor.untyped_storage()._cdata for tensor in tensors)


def traffic_of(operation: Operation, weights: frozenset[int]) -> Traffic:
    """Count the bytes that an operation reads and writes.

    Each input counts once, and numbers that are only repeated (a broadcast) count once too. What a processor keeps in
    its caches, and what a compiler fuses, is not known here: this is the traffic of one kernel per operation.

    Args:
        weights: `storages_of` the network's parameters and buffers.

    Returns:
        Zeros for a view.
    """
    if operation.is_view or operation.name in UNWRITTEN:
        return Traffic(0, 0, 0)
    inputs = _distinct(operation.inputs)
    is_weight = [tensor.untyped_storage()._cdata in weights for tensor in inputs]
    return Traffic(
        weights=sum(_bytes_of(tensor) for tensor, own in zip(inputs, is_weight, strict=True) if own),
        activations=sum(_bytes_of(tensor) for tensor, own in zip(inputs, is_weight, strict=True) if not own),
        written=sum(map(_bytes_of, _distinct(operation.outputs))),
    )


@dataclass(frozen=True, slots=True)
class TrainingMemory:
    """What one training step allocates beside the weights, in bytes."""

    batch_size: int
    activation_bytes: int
    """Kept from the forward pass for the backward pass, the images included."""
    peak_bytes: int
    """Most that is held at once during forward and backward pass: activations, gradients and what is passing."""
    weight_bytes: int
    """Parameters and buffers; not part of the two above."""
    gradient_bytes: int
    """Gradients of all parameters, as they are after the backward pass; part of `peak_bytes`, as far as they are
    there at that moment."""

    def to_json(self) -> dict[str, int]:
        """Return plain data."""
        return {
            "batch_size": self.batch_size,
            "activation_bytes": self.activation_bytes,
            "peak_bytes": self.peak_bytes,
            "weight_bytes": self.weight_bytes,
            "gradient_bytes": self.gradient_bytes,
        }


class LiveBytes:
    """Observes a run and counts the bytes that are alive. Implements `recorder.Observer`."""

    def __init__(self, known: Iterable[Tensor]) -> None:
        """Begin with nothing; `known` tensors (weights) are not counted."""
        self.live = 0
        self.peak = 0
        self._known = storages_of(known)
        self._alive: dict[int, Any] = {}

    def see(self, operation: Operation) -> None:
        """Count what an operation made."""
        for tensor in operation.outputs:
            self.add(tensor)

    def add(self, tensor: Tensor) -> None:
        """Count the memory of a tensor until it is freed."""
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._known or key in self._alive:
            return
        self._alive[key] = weakref.ref(storage, lambda _: self._free(key, size))
        self.live += size
        self.peak = max(self.peak, self.live)

    def _free(self, key: int, size: int) -> None:
        if self._alive.pop(key, None) is not None:
            self.live -= size


def training_memory(network: nn.Module, image_size: tuple[int, int], batch_size: int) -> TrainingMemory:
    """Run one training step on the `meta` device and count what is alive, allocation by allocation.

    The optimizer's state (none for plain SGD, once the parameters for momentum, twice for Adam), the allocator's
    rounding and a convolution's workspace come on top.

    Args:
        network: on the `meta` device; its mode and gradients are restored.
        image_size: (height, width).

    Raises:
        RuntimeError: if the network cannot run on the `meta` device.
    """
    parameters = list(network.parameters())
    was_training = network.training
    images = torch.empty(batch_size, 3, *image_size, device="meta")
    live = LiveBytes([*parameters, *network.buffers()])
    live.add(images)
    network.train()
    try:
        with torch.enable_grad():
            outputs = record(network, images, [live])
            activations = live.live
            _backward(outputs, live)
    finally:
        network.train(was_training)
        network.zero_grad(set_to_none=True)
    return TrainingMemory(
        batch_size=batch_size,
        activation_bytes=activations,
        peak_bytes=live.peak,
        weight_bytes=sum(map(_bytes_of, (*parameters, *network.buffers()))),
        gradient_bytes=sum(_bytes_of(parameter) for parameter in parameters if parameter.requires_grad),
    )


def _backward(outputs: Any, live: LiveBytes) -> None:
    """Send a gradient of ones through every output, as a loss would."""
    tensors = [leaf for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor) and leaf.requires_grad]
    record(_Backward(tensors), torch.empty(0, device="meta"), [live])


class _Backward(nn.Module):
    def __init__(self, outputs: list[Tensor]) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, _: Tensor) -> None:
        torch.autograd.backward(self.outputs, [torch.ones_like(output) for output in self.outputs])


def _distinct(tensors: Iterable[Tensor]) -> list[Tensor]:
    return list({id(tensor): tensor for tensor in tensors}.values())


def _bytes_of(tensor: Tensor) -> int:
    """Bytes of the numbers that are really there: a dimension of stride 0 repeats them."""
    sizes = (size for size, stride in zip(tensor.shape, tensor.stride(), strict=True) if stride != 0 or size == 0)
    return prod(sizes) * tensor.element_size()
