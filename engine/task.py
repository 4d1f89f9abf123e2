"""The protocols between the loop and a vision task. A task knows no Ray; the loop knows no boxes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn


class SampleKey(NamedTuple):
    """What the sampler hands to a data set; a sample's augmentation RNG is a function of (seed, key)."""

    epoch: int
    sample_id: int
    occurrence: int = 0
    """How often this sample was drawn before in the same epoch (samplers with replacement)."""


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """Everything a task is built from, as plain data: travels to workers and into bundles."""

    task: str
    settings: dict[str, Any]
    """The task's own settings (`detection.settings.DetectionSettings`, …) as JSON."""
    data: dict[str, Any]
    """`vision.settings.DataSettings` as JSON; empty when the task only predicts."""
    seed: int = 0
    epochs: int = 1


class Batch(Protocol):
    """What `collate` returns, a dataclass; the loop fills `share`, `step_share` and `step_key` in.

    A field that is a tensor or a list with as many entries as there are samples has one entry per sample.
    """

    sample_ids: tuple[int, ...]
    share: float
    """This micro-batch's images x ranks / images of the whole optimizer step. A loss that is a mean over
    the local images is multiplied by it, so that the mean over ranks is the global batch's loss."""
    step_share: float
    """This micro-batch's images over all ranks / images of the whole step. A loss that is normalised over
    all ranks (see `engine.distributed.mean_over_ranks`) is multiplied by it instead."""

    step_key: int
    """0-based optimizer step since the start of the run; equal on all ranks."""

    def to(self, device: torch.device) -> "Batch": ...

    def pin_memory(self) -> "Batch": ...


class Metric(Protocol):
    """A metric of a whole split: `update` per batch, `merge` the states of all ranks, then `compute`."""

    def update(self, predictions: Sequence[Any]) -> None: ...

    def state(self) -> Any:
        """Everything gathered so far, as plain picklable arrays and lists."""
        ...

    def merge(self, states: Sequence[Any]) -> None:
        """Replace the own state by the union of `states` (one per rank, the own one included)."""
        ...

    def compute(self) -> dict[str, float]: ...

    def to_json(self) -> list[dict[str, Any]]:
        """Every prediction gathered so far, as plain data in the field's own format."""
        ...


class TaskDataset(Protocol):
    """Map-style data set over `SampleKey`."""

    def __len__(self) -> int: ...

    def __getitem__(self, key: SampleKey) -> Any: ...

    def sample_labels(self) -> Sequence[np.ndarray]:
        """The classes that each sample shows, by sample id: (N,) int64 in 0 … K-1, each once; N may be 0."""
        ...


@runtime_checkable
class BoxedDataset(TaskDataset, Protocol):
    """A data set whose samples hold objects of different sizes."""

    def has_small_objects(self, max_area: float) -> np.ndarray:
        """Which samples show an object of at most so many square pixels as the model sees it, (N,) bool by sample id;
        N samples, 0 … N-1."""
        ...


class Task(Protocol):
    """One vision problem, ready to be trained. Built from its settings in every worker."""

    classes: tuple[str, ...]

    def build_model(self) -> nn.Module: ...

    def build_dataset(self, split: str, train: bool) -> TaskDataset: ...

    def collate(self, samples: Sequence[Any]) -> Batch: ...

    def losses(self, model: nn.Module, batch: Any) -> dict[str, Tensor]:
        """Named loss terms, already weighted and scaled by `share` or `step_share`; the loop adds them."""
        ...

    def predict(self, model: nn.Module, batch: Any) -> list[Any]: ...

    def build_metric(self, split: str) -> Metric: ...

    def preprocessing(self) -> dict[str, Any]:
        """What a bundle must say so that the same pixels reach the model in production."""
        ...

    def notes(self) -> list[str]:
        """What a user should hear at the start of a training, such as a head made anew for other classes.

        Called once, on rank 0 only, after model and data were built.
        """
        ...


class Runtime(Protocol):
    """Where the loop runs: this process, torchrun, or a Ray Train worker."""

    rank: int
    world_size: int
    device: torch.device

    def prepare_model(self, model: nn.Module) -> nn.Module:
        """Wrap a model that is already on the device for gradient averaging."""
        ...

    def report(self, metrics: dict[str, float]) -> None:
        """Tell the surroundings of an evaluated epoch; called by every rank."""
        ...
