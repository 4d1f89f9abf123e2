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
