"""The few collectives the house needs. Each is the identity when there is one process."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from foundation.errors import ConfigError


def is_distributed() -> bool:
    """Whether a process group of more than one rank is up."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def rank() -> int:
    """This process's rank; 0 without a process group."""
    return dist.get_rank() if is_distributed() else 0


def world_size() -> int:
    """Number of ranks; 1 without a process group."""
    return dist.get_world_size() if is_distributed() else 1


def mean_over_ranks(value: Tensor) -> Tensor:
    """Average a tensor over all ranks, without gradient. Every rank must call it equally often."""
    value = value.detach()
    if not is_distributed():
        return value
    total = value.clone()
    dist.all_reduce(total)
    return total / dist.get_world_size()


def sum_over_ranks(value: Tensor) -> Tensor:
    """Add a tensor up over all ranks, without gradient. Every rank must call it equally often."""
    total = value.detach().clone()
    if is_distributed():
        dist.all_reduce(total)
    return total


def gather_rows(rows: Tensor) -> Tensor:
    """Stack the rows of all ranks in rank order: (N, ...) -> (sum of all N, ...); N may differ between ranks.

    The gradient of a rank's rows is the sum of what all ranks' losses give them. Every rank must call it equally often.
    """
    if not is_distributed():
        return rows
    counts = [0] * dist.get_world_size()
    dist.all_gather_object(counts, len(rows))
    return _GatherRows.apply(rows, counts)


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, counts: list[int]) -> Tensor:
        ctx.counts = counts
        # Collectives want equal shapes, so short ranks send rows that are cut off again.
        padded = rows.new_zeros(max(counts), *rows.shape[1:])
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        total = grads[0].contiguous().clone()
        dist.all_reduce(total)
        start = sum(ctx.counts[: dist.get_rank()])
        return total[start : start + ctx.counts[dist.get_rank()]], None


def gather_objects(value: Any) -> list[Any]:
    """Return every rank's value, in rank order, on every rank. For results between our own processes only."""
    if not is_distributed():
        return [value]
    gathered: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(gathered, value)
    return gathered


def broadcast_object(value: Any) -> Any:
    """Return rank 0's value on every rank."""
    if not is_distributed():
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def broadcast_buffers(module: nn.Module) -> None:
    """Overwrite every buffer with rank 0's, so that all ranks evaluate the same network."""
    if is_distributed():
        for buffer in module.buffers():
            dist.broadcast(buffer, src=0)


def bare(model: nn.Module) -> nn.Module:
    """The model without its DDP and torch.compile wrappers."""
    while True:
        if isinstance(model, nn.parallel.DistributedDataParallel):
            model = model.module
        elif hasattr(model, "_orig_mod") and isinstance(model._orig_mod, nn.Module):
            model = model._orig_mod
        else:
            return model


def default_device(use_gpu: bool | str, local_rank: int = 0) -> torch.device:
    """`cuda:LOCAL_RANK` when a GPU is asked for (or `auto` finds one), else the CPU.

    Raises:
        ConfigError: if a GPU is asked for and there is none.
    """
    if use_gpu is True and not torch.cuda.is_available():
        raise ConfigError(
            "resources.use_gpu is true, and torch finds no GPU here. Set use_gpu: auto, or see `orchestrator doctor`."
        )
    wants = torch.cuda.is_available() if use_gpu == "auto" else bool(use_gpu)
    return torch.device("cuda", local_rank) if wants else torch.device("cpu")
