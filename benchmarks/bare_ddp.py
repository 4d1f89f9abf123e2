"""The plain PyTorch script that `benchmarks.overhead` compares with: DDP under torchrun, nothing of our loop.

Same network, same samples per step, same optimizer and precision as the orchestrator's run; a DataLoader with torch's
DistributedSampler, DDP with its defaults. Rank 0 writes a line of JSON every few steps; it trains until it is ended.
"""

import argparse
import itertools
import json
import time
from functools import partial
from pathlib import Path

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
    parser.add_argument("request", help="JSON: settings, data, batch_size (global), lr, log (a file), log_every_steps")
    request = json.loads(parser.parse_args().request)
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
    step = 0
    with Path(request["log"]).open("w", buffering=1) as log:
        for epoch in itertools.count():
            sampler.set_epoch(epoch)
            for batch in loader:
                optimizer.zero_grad()
                with autocast():
                    loss = sum(task.losses(runner, batch).values())
                loss.backward()
                optimizer.step()
                step += 1
                if rank == 0 and step % request["log_every_steps"] == 0:
                    log.write(json.dumps({"kind": "step", "step": step, "time": time.time()}) + "\n")


if __name__ == "__main__":
    main()
