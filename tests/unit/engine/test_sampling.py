"""The order of samples: a function of (seed, epoch), cut the same way for any number of workers."""

import pytest

from engine.sampling import SamplingPlan, epoch_order, evaluation_batches, split_evenly
from foundation.errors import ConfigError


def _plan(num_samples: int = 37, batch_size: int = 8, world_size: int = 1, micro: int | None = None) -> SamplingPlan:
    return SamplingPlan(num_samples, batch_size, world_size, micro, seed=5)


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("micro", [None, 1, 2])
def test_steps_hold_the_same_samples_for_any_workers_and_micro_batches(world_size: int, micro: int | None) -> None:
    plan = _plan(world_size=world_size, micro=micro)
    per_step: list[list[int]] = [[] for _ in range(plan.steps_per_epoch)]
    for rank in range(world_size):
        step = 0
        for micro_batch in plan.micro_batches(epoch=2, rank=rank):
            per_step[step].extend(key.sample_id for key in micro_batch.keys)
            step += micro_batch.is_last
        assert step == plan.steps_per_epoch
    assert [sorted(step) for step in per_step] == [sorted(step[:, 0].tolist()) for step in _plan().steps(2)]


@pytest.mark.parametrize(("world_size", "micro"), [(1, None), (2, None), (2, 2), (3, 1)])
def test_shares_average_to_the_whole_step(world_size: int, micro: int | None) -> None:
    plan = _plan(world_size=world_size, micro=micro)
    for first_step in range(plan.steps_per_epoch):
        share, step_share = 0.0, 0.0
        for rank in range(world_size):
            for micro_batch in plan.micro_batches(0, rank, first_step):
                share += micro_batch.share / world_size
                step_share += micro_batch.step_share / world_size
                if micro_batch.is_last:
                    break
        assert share == pytest.approx(1.0)
        assert step_share == pytest.approx(1.0)


def test_epochs_differ_and_repeat_with_the_seed() -> None:
    assert epoch_order(50, 1, 0).tolist() != epoch_order(50, 1, 1).tolist()
    assert epoch_order(50, 1, 0).tolist() == epoch_order(50, 1, 0).tolist()
    assert sorted(epoch_order(50, 2, 7).tolist()) == list(range(50))


def test_starting_in_the_middle_leaves_out_just_the_steps_before() -> None:
    plan = _plan(world_size=2)
    whole = list(plan.micro_batches(1, rank=1))
    assert list(plan.micro_batches(1, rank=1, first_step=3)) == whole[3:]


def test_batches_are_never_larger_than_asked_and_nearly_equal() -> None:
    sizes = [len(step) for step in _plan(292, 8).steps(0)]
    assert max(sizes) <= 8
    assert max(sizes) - min(sizes) <= 1
    assert sum(sizes) == 292


def test_more_workers_than_a_batch_has_images_is_refused() -> None:
    with pytest.raises(ConfigError, match="every worker needs at least one"):
        _plan(num_samples=5, batch_size=2, world_size=3)


@pytest.mark.parametrize(("count", "parts", "sizes"), [(7, 3, [3, 2, 2]), (2, 4, [1, 1, 0, 0]), (0, 2, [0, 0])])
def test_split_evenly(count: int, parts: int, sizes: list[int]) -> None:
    assert split_evenly(count, parts) == sizes


@pytest.mark.parametrize("world_size", [1, 2, 5])
def test_an_evaluation_shows_each_sample_once(world_size: int) -> None:
    shown = [
        key.sample_id
        for rank in range(world_size)
        for batch in evaluation_batches(13, 4, rank, world_size)
        for key in batch
    ]
    assert sorted(shown) == list(range(13))
