"""Runtimes without Ray: this process alone, and a process that torchrun started."""

import inspect
import os
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from engine.distributed import default_device

BUFFERS = next(
    name
    for name in ("forward_sync_buffers", "broadcast_buffers")  # the second is its older name
    if name in inspect.signature(nn.parallel.DistributedDataParallel.__init__).parameters
)


def wrap_for_ranks(model: nn.Module, device: torch.device) -> nn.Module:
    """Wrap a model in DDP when there is more than one rank.

    Buffers are not broadcast at every step: running statistics do not take part in training, and the loop makes rank
    0's count before each evaluation and in each checkpoint.
    """
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return model
    options: dict[str, Any] = {"device_ids": [device.index] if device.type == "cuda" else None, BUFFERS: False}
    return nn.parallel.DistributedDataParallel(model, gradient_as_bucket_view=True, **options)


class InProcessRuntime:
    """One worker: this process."""

    rank = 0
    world_size = 1

    def __init__(self, use_gpu: bool | str = "auto") -> None:
        self.device = default_device(use_gpu)

    def prepare_model(self, model: nn.Module) -> nn.Module:
        """Return the model as it is."""
        return model

    def report(self, metrics: dict[str, float]) -> None:
        """Nobody listens: the journal says it all."""


class TorchrunRuntime:
    """One of the processes that torchrun started; use as a context manager."""

    def __init__(self, use_gpu: bool | str = "auto", timeout_s: int = 300) -> None:
        self.device = default_device(use_gpu, int(os.environ["LOCAL_RANK"]))
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)
        backend = "cuda:nccl,cpu:gloo" if self.device.type == "cuda" else "gloo"
        dist.init_process_group(backend, timeout=timedelta(seconds=timeout_s))
        self.rank = dist.get_rank()
        self.world_size = dist.get_world_size()

    def prepare_model(self, model: nn.Module) -> nn.Module:
        """Wrap the model in DDP."""
        return wrap_for_ranks(model, self.device)

    def report(self, metrics: dict[str, float]) -> None:
        """Nobody listens: the journal says it all."""

    def __enter__(self) -> "TorchrunRuntime":
        return self

    def __exit__(self, *_: object) -> None:
        dist.destroy_process_group()
