"""One optimizer step: forward and backward per micro-batch, then clip, step and average."""

from typing import Any

import torch
from torch import Tensor

from engine.optimizers import add_l1
from engine.settings import LoopSettings
from engine.state import TrainState, accumulation_context, total_loss
from engine.task import Task


def forward_backward(state: TrainState, task: Task, batch: Any, is_last: bool) -> dict[str, Tensor]:
    """Add the gradients of one micro-batch; return its loss terms, detached."""
    with accumulation_context(state, is_last):
        with state.precision.autocast():
            losses = task.losses(state.runner, batch)
        state.scaler.scale(total_loss(losses)).backward()  # type: ignore[no-untyped-call]
    return {name: value.detach() for name, value in losses.items()}


def finish_step(state: TrainState, loop: LoopSettings) -> tuple[float, Tensor | None]:
    """Step the optimizer at the schedule's rate; return the rate and the gradient norm, where it was clipped."""
    factor = state.schedule.factor(state.position.step)
    for group in state.optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor
    grad_norm = None
    if loop.clip_norm is not None or loop.optimizer.l1:
        state.scaler.unscale_(state.optimizer)
    if loop.clip_norm is not None:
        grad_norm = torch.nn.utils.clip_grad_norm_(state.model.parameters(), loop.clip_norm).detach()
    if loop.optimizer.l1:
        add_l1(state.optimizer)
    state.scaler.step(state.optimizer)
    state.scaler.update()
    state.optimizer.zero_grad(set_to_none=True)
    if state.average is not None:
        state.average.update(state.model)
    return loop.optimizer.lr * factor, grad_norm
