"""The plain PyTorch script that `benchmarks.overhead` compares with: DDP under torchrun, nothing of our loop.

Same network, same samples per step, same optimizer and precision as the orchestrator's run; a DataLoader with torch's
DistributedSampler, DDP with its defaults. Prints one JSON line from rank 0.
"""

import argparse
import json
import time
from functools import partial

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from detection.data import DetectionSample
from detection.task import DetectionTask
from engine.precision import resolve_precision
from engine.task import SampleKey, TaskSpec


class _ByIndex(Dataset):
    """The task's data set, addressed by plain index as torch's sampler does."""

    def __init__(self, task: DetectionTask) -> None:
        self.inner = task.build_dataset("train", train=True)

    def __len__(self) -> int:
        return len(self.inner)

    def __getitem__(self, index: int) -> DetectionSample:
        return self.inner[SampleKey(0, index)]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("spec", help="JSON: settings, data, batch_size (global), steps, warmup, lr")
    request = json.loads(parser.parse_args().spec)
    dist.init_process_group("gloo")
    rank, world_size = dist.get_rank(), dist.get_world_size()
    torch.manual_seed(0)
    task = DetectionTask(TaskSpec("detection", request["settings"], request["data"], epochs=10_000))
    dataset = _ByIndex(task)
    sampler = DistributedSampler(dataset, shuffle=True, drop_last=True)
    collate = partial(task.collate)
    loader = DataLoader(
        dataset, request["batch_size"] // world_size, sampler=sampler, collate_fn=collate, drop_last=True
    )
    model = task.build_model().to(memory_format=torch.channels_last)
    runner = DistributedDataParallel(model) if world_size > 1 else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=request["lr"], fused=True)
    autocast = resolve_precision("auto", torch.device("cpu")).autocast
    images, steps, epoch, started = 0, 0, 0, 0.0
    while steps < request["steps"]:
        sampler.set_epoch(epoch)
        epoch += 1
        for batch in loader:
            if steps == request["warmup"]:
                dist.barrier()
                started, images = time.perf_counter(), 0
            optimizer.zero_grad()
            with autocast():
                loss = sum(task.losses(runner, batch).values())
            loss.backward()
            optimizer.step()
            images += len(batch.sample_ids)
            steps += 1
            if steps == request["steps"]:
                break
    elapsed = time.perf_counter() - started
    if rank == 0:
        timed = request["steps"] - request["warmup"]
        print(json.dumps({"images_per_s": images * world_size / elapsed, "step_ms": 1000 * elapsed / timed}))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
