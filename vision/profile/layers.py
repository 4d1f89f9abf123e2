"""The per-layer table: what each module computes, moves and sees, in the order in which it runs."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from vision.profile.counts import macs_of
from vision.profile.memory import storages_of, traffic_of
from vision.profile.receptive_field import ReceptiveField, ReceptiveFields
from vision.profile.recorder import Operation


@dataclass(slots=True)
class Layer:
    """What one module did between its children: a leaf module's whole work, a block's own addition or concatenation."""

    path: str
    kind: str
    """The module's class; of a block, with the operation it did itself: `BasicBlock: add`."""
    parameters: int = 0
    """Of the module itself, counted where it first runs; an attention counts those of the projection it applies."""
    macs: int = 0
    weight_bytes: int = 0
    """Parameters and buffers read."""
    read_bytes: int = 0
    """Activations read."""
    written_bytes: int = 0
    output_shape: tuple[int, ...] = ()
    field: ReceptiveField | None = None
    """Of its output; None = it does not depend on the image."""
    meets: bool = False
    """Whether all data flows through its output: it lies in no parallel branch."""

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "path": self.path,
            "kind": self.kind,
            "output_shape": list(self.output_shape),
            "parameters": self.parameters,
            "macs": self.macs,
            "weight_bytes": self.weight_bytes,
            "read_bytes": self.read_bytes,
            "written_bytes": self.written_bytes,
            "receptive_field": self.field.to_json() if self.field else None,
        }


class LayerTable:
    """Observes a run and adds up its operations by layer. Implements `recorder.Observer`."""

    def __init__(self, network: nn.Module, images: Tensor) -> None:
        """Begin the table of `network` on `images`."""
        self.layers: list[Layer] = []
        self._modules = dict(network.named_modules())
        self._weights = storages_of([*network.parameters(), *network.buffers()])
        self._fields = ReceptiveFields(images)
        self._first_of: dict[str, Layer] = {}
        self._segment = -1
        self._last_steps: list[int] = []

    def see(self, operation: Operation) -> None:
        """Add one operation to the layer it belongs to."""
        self._fields.see(operation)
        if operation.is_view or not operation.outputs:
            return
        if operation.segment != self._segment:
            self._segment = operation.segment
            self.layers.append(self._begin(operation))
            self._last_steps.append(0)
        layer = self.layers[-1]
        layer.macs += macs_of(operation)
        traffic = traffic_of(operation, self._weights)
        layer.weight_bytes += traffic.weights
        layer.read_bytes += traffic.activations
        layer.written_bytes += traffic.written
        layer.output_shape = tuple(operation.outputs[0].shape)
        layer.field = self._fields.of(operation.outputs[0])
        self._last_steps[-1] = self._fields.num_steps

    def finish(self) -> list[Layer]:
        """Return the layers once the run is over."""
        meeting = self._fields.meeting_steps()
        for layer, step in zip(self.layers, self._last_steps, strict=True):
            layer.meets = step in meeting
        for path, module in self._modules.items():
            self._count_parameters(path, sum(parameter.numel() for parameter in module.parameters(recurse=False)))
        return self.layers

    def _count_parameters(self, path: str, number: int) -> None:
        """Add a module's own parameters to its first layer, or to its parent's if the parent used them itself."""
        while path and path not in self._first_of:
            path = path.rpartition(".")[0]
            if not path:  # a module that did not run, such as an auxiliary head in evaluation
                return
        if path in self._first_of:
            self._first_of[path].parameters += number

    def _begin(self, operation: Operation) -> Layer:
        module = self._modules[operation.path]
        kind = type(module).__name__
        if any(True for _ in module.children()):
            kind = f"{kind}: {operation.name.removeprefix('aten.').strip('_')}"
        layer = Layer(operation.path or "(network)", kind)
        self._first_of.setdefault(operation.path, layer)
        return layer
