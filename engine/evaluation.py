"""Distributed, exact evaluation: every sample on exactly one rank, one metric over all of them."""

from typing import Any

import torch
from torch import nn

from engine.distributed import broadcast_buffers, broadcast_object, gather_objects
from engine.loader import FixedSampler, build_loader
from engine.precision import Precision
from engine.sampling import evaluation_batches
from engine.task import Metric, Runtime, Task


def evaluate(
    task: Task,
    model: nn.Module,
    split: str,
    batch_size: int,
    precision: Precision,
    runtime: Runtime,
    num_workers: int = 0,
) -> tuple[dict[str, float], Metric]:
    """Evaluate a bare model on a split; every rank must call it.

    Returns:
        The metrics, the same on every rank, and the metric, which on rank 0 holds all predictions.
    """
    dataset = task.build_dataset(split, train=False)
    batches = evaluation_batches(len(dataset), batch_size, runtime.rank, runtime.world_size)
    loader = build_loader(task, dataset, FixedSampler(batches), num_workers, runtime.device)
    metric = task.build_metric(split)
    broadcast_buffers(model)
    was_training = model.training
    model.eval()
    with torch.inference_mode(), precision.autocast():
        for batch in loader:
            metric.update(task.predict(model, batch.to(runtime.device)))
    model.train(was_training)
    states: list[Any] = gather_objects(metric.state())
    values: dict[str, float] = {}
    if runtime.rank == 0:
        metric.merge(states)
        values = {name: float(value) for name, value in metric.compute().items()}
    return broadcast_object(values), metric
