"""What is loaded when: from the position on, nothing twice, and the next epoch before it is asked for."""

import time
from pathlib import Path

import pytest
import torch

from engine.loader import PlanSampler, build_loader
from engine.sampling import SamplingPlan
from engine.task import SampleKey

PLAN = SamplingPlan(num_samples=10, batch_size=4, world_size=2, micro_batch=1, seed=5)


class RecordingDataset:
    """Writes down every key it is asked for, whatever process asks."""

    def __init__(self, record: Path) -> None:
        self.record = record

    def __len__(self) -> int:
        return PLAN.num_samples

    def __getitem__(self, key: SampleKey) -> SampleKey:
        with self.record.open("a") as file:
            file.write(f"{key.epoch} {key.sample_id}\n")
        return key

    def sample_labels(self) -> list:
        return []

    def seen(self) -> list[tuple[int, int]]:
        lines = self.record.read_text().splitlines() if self.record.exists() else []
        return [(int(line.split()[0]), int(line.split()[1])) for line in lines]


class KeysTask:
    @staticmethod
    def collate(samples: list[SampleKey]) -> list[SampleKey]:
        return list(samples)


@pytest.fixture
def dataset(tmp_path: Path) -> RecordingDataset:
    return RecordingDataset(tmp_path / "seen")


def planned(epoch: int, first_step: int = 0) -> list[list[SampleKey]]:
    return [list(micro.keys) for micro in PLAN.micro_batches(epoch, 0, first_step)]


@pytest.mark.parametrize(("epoch", "first_step"), [(0, 0), (1, 0), (1, 2), (2, 1)])
def test_epochs_follow_each_other_from_the_position_on(epoch: int, first_step: int) -> None:
    sampler = PlanSampler(PLAN, rank=0, epochs=3)
    sampler.set_position(epoch, first_step)
    expected = planned(epoch, first_step) + [batch for later in range(epoch + 1, 3) for batch in planned(later)]
    assert list(sampler) == expected
    assert len(sampler) == len(expected)
    by_epoch = [list(micro.keys) for each in range(epoch, 3) for micro in sampler.micro_batches(each)]
    assert by_epoch == expected


@pytest.mark.parametrize("num_workers", [0, 1, 2])
def test_a_resumed_run_reads_nothing_that_was_consumed(dataset: RecordingDataset, num_workers: int) -> None:
    sampler = PlanSampler(PLAN, rank=0, epochs=2)
    sampler.set_position(0, 2)
    loader = build_loader(KeysTask(), dataset, sampler, num_workers, torch.device("cpu"))
    loaded = list(loader)
    assert loaded == planned(0, 2) + planned(1)
    assert sorted(dataset.seen()) == sorted((key.epoch, key.sample_id) for batch in loaded for key in batch)


def test_loader_processes_fetch_the_next_epoch_before_it_is_asked_for(dataset: RecordingDataset) -> None:
    sampler = PlanSampler(PLAN, rank=0, epochs=2)
    batches = iter(build_loader(KeysTask(), dataset, sampler, 1, torch.device("cpu")))
    for _ in planned(0):
        next(batches)
    ahead = {(key.epoch, key.sample_id) for key in planned(1)[0]}
    deadline = time.monotonic() + 20
    while not ahead <= set(dataset.seen()):
        assert time.monotonic() < deadline, "nothing of the next epoch was loaded"
        time.sleep(0.01)
