"""What changes while a run trains, and how it goes into a checkpoint and comes back bit for bit."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from engine.checkpoint import Position
from engine.ema import WeightAverage
from engine.fine_tuning import Freezer, rate_factors, stages_of
from engine.job import TrainJob
from engine.optimizers import build_optimizer
from engine.pointwise import avoid_strided_pointwise
from engine.precision import Precision, resolve_precision
from engine.sampling import SamplingPlan, derive_seed
from engine.schedules import Schedule
from engine.task import Runtime, Task
from foundation.errors import WeightsError


@dataclass
class TrainState:
    """Model, optimizer and everything else that a checkpoint holds."""

    model: nn.Module
    """The bare model, on the device."""
    runner: nn.Module
    """The model as it is called: compiled and wrapped for the ranks."""
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    scaler: torch.amp.GradScaler
    precision: Precision
    average: WeightAverage | None
    wrap: Callable[[nn.Module], nn.Module]
    """Makes the runner of the model."""
    freezer: Freezer | None = None
    position: Position = field(default_factory=lambda: Position(0, 0, 0))
    train_cpu_s: float = 0.0
    """CPU seconds of all ranks and their loaders spent on training steps, over all attempts."""
    train_s: float = 0.0
    best_metric: float | None = None
    """Of `loop.metric`, which `select: best` goes by."""
    best_watched: float | None = None
    """Of the metric that early stopping watches."""
    bad_evaluations: int = 0
    last_metrics: dict[str, float] = field(default_factory=dict)

    @property
    def evaluated(self) -> nn.Module:
        """The network whose quality counts: the average where there is one."""
        return self.average.model if self.average is not None else self.model

    def start_epoch(self, epoch: int) -> bool:
        """Make the model ready to train; return whether stages were freed or frozen, for which it is wrapped anew.

        DDP averages the gradients of those parameters that were to be trained when it was made.
        """
        has_changed = self.freezer is not None and self.freezer.set_epoch(epoch)
        if has_changed:
            if isinstance(self.runner, nn.parallel.DistributedDataParallel):
                self.runner._remove_autograd_hooks()  # type: ignore[no-untyped-call]
            self.runner = self.wrap(self.model)
        self.runner.train()
        if self.freezer is not None:
            self.freezer.rest()
        return has_changed

    def to_checkpoint(self) -> dict[str, Any]:
        """Everything needed to continue exactly, as tensors and plain values."""
        return {
            "model": self.model.state_dict(),
            "average": self.average.model.state_dict() if self.average else None,
            "average_updates": self.average.updates if self.average else 0,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "schedule": self.schedule.state(),
            "position": [self.position.epoch, self.position.step_in_epoch, self.position.step],
            "train_cpu_s": self.train_cpu_s,
            "train_s": self.train_s,
            "best_metric": self.best_metric,
            "best_watched": self.best_watched,
            "bad_evaluations": self.bad_evaluations,
            "last_metrics": self.last_metrics,
        }

    def load_checkpoint(self, saved: dict[str, Any]) -> None:
        """Continue from what `to_checkpoint` gave.

        Raises:
            WeightsError: if it was written by another model.
        """
        try:
            self.model.load_state_dict(saved["model"])
            if self.average is not None and saved["average"] is not None:
                self.average.model.load_state_dict(saved["average"])
                self.average.updates = saved["average_updates"]
            self._load_optimizer(saved["optimizer"])
        except (RuntimeError, ValueError) as error:
            raise WeightsError(
                f"the checkpoint was written by another model or optimizer ({str(error).splitlines()[0]}). "
                "Use the settings it was written with, or start over with --fresh."
            ) from error
        self.scaler.load_state_dict(saved["scaler"])
        self.schedule.load_state(saved["schedule"])
        self.position = Position(*saved["position"])
        names = ("train_cpu_s", "train_s", "best_metric", "best_watched", "bad_evaluations", "last_metrics")
        for name in names:
            setattr(self, name, saved.get(name, getattr(self, name)))

    def _load_optimizer(self, saved: dict[str, Any]) -> None:
        """Take the optimizer's state, but keep the rates and factors of the settings: a search may change them."""
        settings = [{k: value for k, value in group.items() if k != "params"} for group in self.optimizer.param_groups]
        self.optimizer.load_state_dict(saved)
        for group, kept in zip(self.optimizer.param_groups, settings, strict=True):
            group.update(kept)


def build_state(job: TrainJob, task: Task, plan: SamplingPlan, runtime: Runtime) -> TrainState:
    """Build model, optimizer and schedule for a fresh run; every rank gets the same weights."""
    loop = job.loop
    torch.manual_seed(derive_seed(job.spec.seed, 0xB117D))
    model = task.build_model().to(runtime.device)
    if loop.channels_last:
        model = model.to(memory_format=torch.channels_last)
    if loop.sync_bn and runtime.world_size > 1 and runtime.device.type == "cuda":
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
    precision = resolve_precision(loop.precision, runtime.device)
    avoid_strided_pointwise(model, runtime.device)
    average = WeightAverage(model, loop.ema) if loop.ema else None
    stages = stages_of(model) if loop.fine_tune else []
    factors = rate_factors(stages, loop.fine_tune) if loop.fine_tune else None
    optimizer = build_optimizer(model, loop.optimizer, factors)
    freezer = Freezer(model, stages, loop.fine_tune.freeze_epochs) if loop.fine_tune else None
    if freezer is not None:
        freezer.set_epoch(0)

    def wrap(model: nn.Module) -> nn.Module:
        return runtime.prepare_model(torch.compile(model) if loop.compile else model)  # type: ignore[arg-type]

    return TrainState(
        model=model,
        runner=wrap(model),
        optimizer=optimizer,
        schedule=Schedule(loop.schedule, loop.epochs * plan.steps_per_epoch, plan.steps_per_epoch),
        scaler=precision.scaler(),
        precision=precision,
        average=average,
        wrap=wrap,
        freezer=freezer,
    )


class StepSeeds:
    """Seeds torch's generators before each step, so that a step's dropout or proposal sampling is a function of
    (seed, step, rank) and a resumed run needs no generator state."""

    def __init__(self, seed: int, rank: int) -> None:
        self._base = derive_seed(seed, rank, 0x57E9)

    def apply(self, step: int) -> None:
        """Seed for optimizer step `step`."""
        seed = (self._base + step * 0x9E3779B9) & 0x7FFF_FFFF_FFFF_FFFF
        # torch.manual_seed asks every kind of device that torch knows, which takes half a millisecond.
        torch.default_generator.manual_seed(seed)
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            torch.cuda.manual_seed(seed)


def total_loss(losses: dict[str, Tensor]) -> Tensor:
    """Sum of the named terms, float32."""
    return torch.stack([value.float() for value in losses.values()]).sum()


def accumulation_context(state: TrainState, is_last: bool) -> contextlib.AbstractContextManager:
    """Skip gradient averaging in all micro-batches of a step but the last."""
    if not is_last and isinstance(state.runner, nn.parallel.DistributedDataParallel):
        return state.runner.no_sync()
    return contextlib.nullcontext()
