"""How long a network takes here: measured, with all that the number depends on."""

import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

WARM_UP = 3
MIN_REPEATS = 3
BUDGET_S = 20.0
"""No further repeat begins after it, once there are `MIN_REPEATS`."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Times of a forward pass in evaluation, in milliseconds a batch."""

    median_ms: float
    fastest_ms: float
    slowest_ms: float
    repeats: int
    batch_size: int
    images_per_s: float
    """By the median."""
    precision: str
    threads: int
    """CPU threads that PyTorch may use."""
    device: str

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def measure_latency(
    network: nn.Module,
    images: Tensor,
    *,
    repeats: int,
    precision: str,
    autocast: Callable[[], AbstractContextManager],
) -> Latency:
    """Time the forward pass in evaluation, channels last, after three runs to warm up.

    Args:
        network: on the device of `images`.
        images: (B, 3, H, W) float.
        repeats: runs that are timed; fewer, but at least three, where they take longer than 20 seconds in all.
        precision: name of what `autocast` does, for the record.
        autocast: makes the context of each run.
    """
    network = network.eval().to(memory_format=torch.channels_last)
    images = images.contiguous(memory_format=torch.channels_last)
    times: list[float] = []
    begun = time.perf_counter()
    with torch.inference_mode():
        for run in range(WARM_UP + repeats):
            now = time.perf_counter()
            if len(times) >= MIN_REPEATS and now - begun > BUDGET_S:
                break
            with autocast():
                network(images)
            if images.is_cuda:
                torch.cuda.synchronize(images.device)
            if run >= WARM_UP:
                times.append(1000 * (time.perf_counter() - now))
    median = statistics.median(times)
    return Latency(
        median_ms=median,
        fastest_ms=min(times),
        slowest_ms=max(times),
        repeats=len(times),
        batch_size=len(images),
        images_per_s=1000 * len(images) / median,
        precision=precision,
        threads=torch.get_num_threads(),
        device=torch.cuda.get_device_name(images.device) if images.is_cuda else "cpu",
    )
