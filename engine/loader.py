"""DataLoaders over our own sampling plan: the order lives in the plan, never in the loader."""

import multiprocessing
from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import DataLoader, Sampler

from engine.sampling import MicroBatch, SamplingPlan
from engine.task import Batch, SampleKey, Task, TaskDataset
from foundation.errors import OrchestratorError


class PlanSampler(Sampler[list[SampleKey]]):
    """Batch sampler that follows a plan from any position to the end of the last epoch.

    The epochs follow each other without a break, so that loader processes fetch the first batches of the next one
    while the last steps of an epoch, its evaluation and its checkpoint are going on.
    """

    def __init__(self, plan: SamplingPlan, rank: int, epochs: int) -> None:
        self.plan = plan
        self.rank = rank
        self.epochs = epochs
        self._epoch = 0
        self._first_step = 0

    def set_position(self, epoch: int, first_step: int) -> None:
        """Start the next iteration at this step of this epoch; nothing before it is loaded."""
        self._epoch, self._first_step = epoch, first_step

    def micro_batches(self, epoch: int) -> Iterator[MicroBatch]:
        """The micro-batches of an epoch that an iteration from the position on loads, in its order."""
        return self.plan.micro_batches(epoch, self.rank, self._first_step if epoch == self._epoch else 0)

    def __iter__(self) -> Iterator[list[SampleKey]]:
        for epoch in range(self._epoch, self.epochs):
            for micro in self.micro_batches(epoch):
                yield list(micro.keys)

    def __len__(self) -> int:
        return ((self.epochs - self._epoch) * self.plan.steps_per_epoch - self._first_step) * self.plan.num_micro


class FixedSampler(Sampler[list[SampleKey]]):
    """Batch sampler over a given list of batches."""

    def __init__(self, batches: Sequence[list[SampleKey]]) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[list[SampleKey]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


def build_loader(
    task: Task, dataset: TaskDataset, sampler: Sampler[list[SampleKey]], num_workers: int, device: torch.device
) -> DataLoader:
    """Build a loader; its processes live as long as an iteration, and no randomness comes from it."""
    if num_workers == 0:
        return DataLoader(dataset, batch_sampler=sampler, collate_fn=task.collate)  # type: ignore[arg-type]
    return DataLoader(
        dataset,  # type: ignore[arg-type]
        batch_sampler=sampler,
        collate_fn=task.collate,
        num_workers=num_workers,
        pin_memory=device.type == "cuda",
        multiprocessing_context=multiprocessing.get_context("fork" if device.type == "cpu" else "forkserver"),
    )


def next_batch(batches: Iterator[Batch]) -> Batch:
    """Take a loader's next batch; errors of our own kind leave a loader process as they were raised in it.

    torch puts the whole traceback of the process into their message.
    """
    try:
        return next(batches)
    except OrchestratorError as error:
        name = f"{type(error).__module__}.{type(error).__qualname__}: "
        raise type(error)(str(error).rpartition(name)[2].strip()) from error
