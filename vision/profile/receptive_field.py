"""Receptive fields of all layers, followed along the flow of data through branches and shortcuts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from vision.profile.axis import Axis, Number
from vision.profile.recorder import Operation
from vision.profile.sight import Sight
from vision.profile.sight_rules import sights_after


@dataclass(frozen=True, slots=True)
class ReceptiveField:
    """What one position of a feature map depends on; pairs are (rows, columns) in pixels of the image."""

    size: tuple[int, int] | None
    """Side lengths, unlimited by the image's edges; None = no map is left, or it cannot be followed."""
    stride: tuple[float, float] | None
    """Distance in the image between neighbouring positions."""
    padding: tuple[float, float] | None
    """How far the field of the first position reaches over the image's upper and left edge."""
    context: str = ""
    """Why every position sees the whole image besides; empty = it does not."""
    unknown: str = ""
    """Why it could not be followed; empty = it was."""

    @property
    def is_global(self) -> bool:
        """Whether the whole image is seen."""
        return bool(self.context)

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "size": list(self.size) if self.size else None,
            "stride": list(self.stride) if self.stride else None,
            "padding": list(self.padding) if self.padding else None,
            "is_global": self.is_global,
            "global_because": self.context or None,
            "unknown_because": self.unknown or None,
        }


class ReceptiveFields:
    """Observes a run and knows what every tensor of it sees. Implements `recorder.Observer`.

    Sizes follow Araujo et al. 2019, Distill, doi:10.23915/distill.00021, but on the operations that really ran: where
    paths of different depth meet, the field is the smallest window that covers them all. Convolution, pooling, slices,
    padding and resampling are exact or, for resampling, a bound over its phases; an operation in which all positions
    meet (attention, pooling of the whole map) makes the field global.
    """

    def __init__(self, images: Tensor) -> None:
        """Begin with the image, each pixel of which sees itself."""
        self._sights: Any = WeakIdKeyDictionary()
        self._sights[images] = Sight(Axis(), Axis())
        self._made: Any = WeakIdKeyDictionary()
        self._made[images] = 0
        self._last_use: list[int] = [0]

    def see(self, operation: Operation) -> None:
        """Follow one operation."""
        step = len(self._last_use)
        for tensor in operation.inputs:
            if tensor in self._made:
                self._last_use[self._made[tensor]] = step
        self._last_use.append(step)
        for tensor, sight in sights_after(operation, self._sights.get):
            self._sights[tensor] = sight
            self._made[tensor] = step

    def of(self, tensor: Tensor) -> ReceptiveField | None:
        """Return what a tensor of the run sees; None if nothing of the image."""
        sight = self._sights.get(tensor)
        return None if sight is None else field_of(sight)

    @property
    def num_steps(self) -> int:
        """Operations seen so far."""
        return len(self._last_use) - 1

    def meeting_steps(self) -> set[int]:
        """Find the operations after which the network is a single tensor: all that comes later flows through it."""
        meeting, open_until = set(), 0
        for step, last_use in enumerate(self._last_use):
            if open_until <= step:
                meeting.add(step)
            open_until = max(open_until, last_use)
        return meeting


def field_of(sight: Sight) -> ReceptiveField:
    """Return a sight in pixels."""
    if sight.rows is None or sight.columns is None:
        return ReceptiveField(None, None, None, sight.context, sight.unknown)
    axes = (sight.rows, sight.columns)
    return ReceptiveField(
        size=(axes[0].size, axes[1].size),
        stride=(_number(axes[0].stride), _number(axes[1].stride)),
        padding=(_number(-axes[0].first), _number(-axes[1].first)),
        context=sight.context,
        unknown=sight.unknown,
    )


def _number(value: Number) -> float:
    return int(value) if value == int(value) else float(value)


@dataclass(frozen=True, slots=True)
class StageField:
    """The receptive field at the end of all layers that share a stride."""

    layer: str
    field: ReceptiveField


def stage_fields(layers: Sequence[tuple[str, ReceptiveField | None, bool]]) -> list[StageField]:
    """Pick the last layer of each stride.

    Args:
        layers: (path, field, whether all data flows through it) in the order of the run. Layers within parallel
            branches are passed over, unless a stride has no others.

    Returns:
        One per stride, in the order of their first layers.
    """
    picked: dict[tuple[float, float], StageField] = {}
    is_meeting: dict[tuple[float, float], bool] = {}
    for path, field, meets in layers:
        if field is None or field.stride is None:
            continue
        if meets or not is_meeting.get(field.stride, False):
            picked[field.stride] = StageField(path, field)
            is_meeting[field.stride] = meets
    return list(picked.values())
