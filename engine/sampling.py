"""Which samples make up which step: a pure function of (seed, epoch), the same for any number of workers.

An epoch's order is cut into optimizer steps of nearly equal size (none above the global batch), each step into one
slice per rank, each slice into micro-batches. No sample is dropped, padded or repeated, unless a sampler
(`engine.samplers`) draws it less or more than once; then the epoch is what was drawn, as long in every epoch.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from engine.samplers import Repeats
from engine.task import SampleKey
from foundation.errors import ConfigError


def derive_seed(*parts: int) -> int:
    """Mix integers into one 63-bit seed; the same parts always give the same seed."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))


def epoch_order(num_samples: int, seed: int, epoch: int) -> np.ndarray:
    """Return the epoch's permutation of sample ids, (num_samples,) int64."""
    return np.random.default_rng(derive_seed(seed, epoch, 0x0DDE)).permutation(num_samples)


def epoch_draws(num_samples: int, seed: int, epoch: int, repeats: Repeats | None) -> np.ndarray:
    """Return the epoch's order, (N, 2) int64: a sample id, and how often it was drawn before in this epoch."""
    if repeats is None:
        return np.stack([epoch_order(num_samples, seed, epoch), np.zeros(num_samples, np.int64)], axis=1)
    rng = np.random.default_rng(derive_seed(seed, epoch, 0x0DDE))
    ids = rng.permutation(np.repeat(np.arange(num_samples), repeats.draw(rng)))
    return np.stack([ids, _occurrences(ids)], axis=1)


def _occurrences(ids: np.ndarray) -> np.ndarray:
    """How often each id stands before its place, (N,) int64."""
    by_id = np.argsort(ids, kind="stable")
    place = np.arange(len(ids))
    is_first = np.diff(ids[by_id], prepend=-1) != 0
    occurrences = np.empty(len(ids), np.int64)
    occurrences[by_id] = place - np.maximum.accumulate(np.where(is_first, place, 0))
    return occurrences


def split_evenly(count: int, parts: int) -> list[int]:
    """Sizes of `parts` runs that cover `count` items and differ by at most one."""
    small, larger = divmod(count, parts)
    return [small + 1] * larger + [small] * (parts - larger)


def _cut(order: np.ndarray, parts: int) -> list[np.ndarray]:
    """Cut along the first axis."""
    return np.split(order, np.cumsum(split_evenly(len(order), parts))[:-1])


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """What one rank computes in one forward pass."""

    keys: tuple[SampleKey, ...]
    index: int
    """Its place among the step's micro-batches."""
    share: float
    step_share: float
    is_last: bool
    """The optimizer steps after this one."""


@dataclass(frozen=True)
class SamplingPlan:
    """Cuts epochs into steps and steps into micro-batches for one world size."""

    num_samples: int
    batch_size: int
    world_size: int
    micro_batch: int | None
    seed: int
    repeats: Repeats | None = None
    """How often each sample is drawn; None = every one once."""

    def __post_init__(self) -> None:
        smallest = self.num_drawn // self.steps_per_epoch if self.num_drawn else 0
        if smallest < self.world_size:
            raise ConfigError(
                f"{self.num_drawn} training images in batches of {self.batch_size} leave a batch of {smallest} for "
                f"{self.world_size} workers; every worker needs at least one. Raise loop.batch_size, give more images, "
                "or lower resources.num_workers."
            )

    @property
    def num_drawn(self) -> int:
        """Samples that an epoch shows, each occurrence counted."""
        return self.num_samples if self.repeats is None else self.repeats.total

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in one epoch."""
        return max(1, -(-self.num_drawn // self.batch_size))

    @property
    def num_micro(self) -> int:
        """Micro-batches per step, equal on all ranks and for all steps of a run."""
        if self.micro_batch is None:
            return 1
        smallest = self.num_drawn // self.steps_per_epoch // self.world_size
        largest = -(-self.batch_size // self.world_size)
        return max(1, min(-(-largest // self.micro_batch), smallest))

    def steps(self, epoch: int) -> list[np.ndarray]:
        """Every step of the epoch over all ranks, (N, 2) int64 as in `epoch_draws`."""
        return _cut(epoch_draws(self.num_samples, self.seed, epoch, self.repeats), self.steps_per_epoch)

    def micro_batches(self, epoch: int, rank: int, first_step: int = 0) -> Iterator[MicroBatch]:
        """Yield this rank's micro-batches from step `first_step` of the epoch on."""
        for step in self.steps(epoch)[first_step:]:
            sliced = [_cut(part, self.num_micro) for part in _cut(step, self.world_size)]
            for index in range(self.num_micro):
                mine = sliced[rank][index]
                over_all_ranks = sum(len(parts[index]) for parts in sliced)
                yield MicroBatch(
                    keys=tuple(SampleKey(epoch, sample_id, occurrence) for sample_id, occurrence in mine.tolist()),
                    index=index,
                    share=len(mine) * self.world_size / len(step),
                    step_share=over_all_ranks / len(step),
                    is_last=index == self.num_micro - 1,
                )


def evaluation_batches(num_samples: int, batch_size: int, rank: int, world_size: int) -> list[list[SampleKey]]:
    """This rank's batches of an evaluation: every sample on exactly one rank, no padding."""
    mine = range(rank, num_samples, world_size)
    return [
        [SampleKey(0, sample_id) for sample_id in mine[start : start + batch_size]]
        for start in range(0, len(mine), batch_size)
    ]
