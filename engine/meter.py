"""What a run tells of itself while it trains: losses, speed, waiting, memory; and whether it should stop."""

import math
import time
from pathlib import Path

import psutil
import torch
import torch.distributed as dist
from torch import Tensor

from engine.distributed import gather_objects, is_distributed
from engine.journal import Journal
from engine.settings import LoopSettings
from engine.state import TrainState
from engine.task import Runtime
from foundation.errors import NonFiniteLossError

SECONDS_BETWEEN_SYNCS = 0.5
"""How often the ranks agree on whether to stop, about."""
MOST_STEPS_BETWEEN_SYNCS = 100


def children_cpu_seconds() -> float:
    """CPU time of the processes that this one started and that are still there."""
    total = 0.0
    for child in psutil.Process().children(recursive=True):
        try:
            times = child.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


class CostAccount:
    """Adds the CPU and wall time of training to a run's totals; what happens between `settle` and `start` is left out.

    Loader processes work for the next epoch then, so that their CPU time counts from first to last.

    Args:
        num_loader_workers: where there are none, this process starts none that work for the training.
    """

    def __init__(self, num_loader_workers: int) -> None:
        self._has_loaders = num_loader_workers > 0
        self._loaders_s = self._loaders()
        self.start()

    def start(self) -> None:
        """Count from here on."""
        self._cpu_s, self._s = time.process_time(), time.perf_counter()

    def settle(self, state: TrainState) -> None:
        """Add what was spent; every rank must call it."""
        loaders_s, cpu_s, s = self._loaders(), time.process_time(), time.perf_counter()
        state.train_cpu_s += sum(gather_objects(cpu_s - self._cpu_s + loaders_s - self._loaders_s))
        state.train_s += s - self._s
        self._loaders_s, self._cpu_s, self._s = loaders_s, cpu_s, s

    def _loaders(self) -> float:
        return children_cpu_seconds() if self._has_loaders else 0.0


class StepMeter:
    """Gathers the figures of single steps and writes a record every `log_every_steps`.

    The ranks meet in one small all-reduce every half second or so, in which rank 0 says whether to stop and when to
    meet next; between the meetings a step costs no communication of ours.
    """

    def __init__(self, journal: Journal, loop: LoopSettings, runtime: Runtime, stop_file: Path) -> None:
        self.journal, self.loop, self.runtime, self.stop_file = journal, loop, runtime, stop_file
        self._process = psutil.Process()
        self._on_gpu = runtime.device.type == "cuda"
        self._until_meeting = self._steps_between_meetings = 1
        self._met_at = time.perf_counter()
        self._unchecked: tuple[int, tuple[int, ...], Tensor] | None = None
        self._ids: tuple[int, ...] = ()
        self._step_loss: dict[str, Tensor] = {}
        self._reset()

    def _reset(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._steps = 0
        self._images = 0
        self._waited_s = 0.0
        self._since = time.perf_counter()

    def start_epoch(self, epoch: int) -> None:
        """Begin timing: evaluation and checkpoints between epochs do not count as training."""
        self.epoch = epoch
        self._since = time.perf_counter()

    def waiting(self) -> None:
        """The loop now waits for a batch."""
        self._wait_from = time.perf_counter()

    def loaded(self) -> None:
        """The batch is here."""
        self._waited_s += time.perf_counter() - self._wait_from

    def add(self, sample_ids: tuple[int, ...], losses: dict[str, Tensor]) -> None:
        """Take the loss terms of one micro-batch."""
        self._ids += sample_ids
        self._images += len(sample_ids)
        for name, value in losses.items():
            self._step_loss[name] = self._step_loss[name] + value.float() if name in self._step_loss else value.float()

    def check_finite(self, step: int) -> None:
        """Raise if this step's loss is NaN or infinite; on a GPU, if the step before's was, so as not to wait for it.

        Raises:
            NonFiniteLossError: naming the step and this rank's sample ids.
        """
        if self._on_gpu:
            self.check_rest()
        self._unchecked = (step, self._ids, torch.stack(list(self._step_loss.values())).sum())
        self._ids = ()
        if not self._on_gpu:
            self.check_rest()

    def check_rest(self) -> None:
        """Look at the loss that `check_finite` left for later; call it before anything of that step is kept.

        Raises:
            NonFiniteLossError: as `check_finite`.
        """
        if self._unchecked is None:
            return
        step, sample_ids, total = self._unchecked
        self._unchecked = None
        if not math.isfinite(total.item()):
            raise NonFiniteLossError(
                f"the loss became {total.item()} in step {step + 1}; the batch of worker {self.runtime.rank} held the "
                f"samples {list(sample_ids)}. Look at them with `orchestrator data preview`, lower "
                "loop.optimizer.lr, or set loop.clip_norm or loop.precision: fp32."
            )

    def step_done(self, step: int, lr: float, grad_norm: Tensor | None) -> bool:
        """Count a finished step; return whether a stop was asked for (the same on every rank)."""
        for name, value in self._step_loss.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value
        self._step_loss = {}
        self._steps += 1
        self._lr = lr
        if step % self.loop.log_every_steps == 0:
            self._write(step, lr, grad_norm)
        self._until_meeting -= 1
        return self._until_meeting <= 0 and self._meet()

    def epoch_done(self, step: int) -> None:
        """Write what was gathered since the last record, and wait for the GPU so that times are true.

        Raises:
            NonFiniteLossError: as `check_rest`.
        """
        self.check_rest()
        if self._on_gpu:
            torch.cuda.synchronize(self.runtime.device)
        if self._steps:
            self._write(step, self._lr, None)

    def _meet(self) -> bool:
        now = time.perf_counter()
        step_s = (now - self._met_at) / self._steps_between_meetings
        interval = min(MOST_STEPS_BETWEEN_SYNCS, max(1, round(SECONDS_BETWEEN_SYNCS / max(step_s, 1e-4))))
        stop = self.runtime.rank == 0 and self.stop_file.exists()
        if is_distributed():
            is_main = float(self.runtime.rank == 0)
            message = torch.tensor([is_main * interval, is_main * stop], device=self.runtime.device)
            dist.all_reduce(message)
            interval, stop = int(message[0].item()), bool(message[1].item())
        self._met_at = now
        self._until_meeting = self._steps_between_meetings = interval
        return stop

    def _write(self, step: int, lr: float, grad_norm: Tensor | None) -> None:
        """Write a record of the steps since the last one; losses are rank 0's mean, images are those of all ranks."""
        if self.runtime.rank == 0:
            elapsed = time.perf_counter() - self._since
            losses = {name: value.item() / self._steps for name, value in self._sums.items()}
            self.journal.write(
                "step",
                epoch=self.epoch,
                step=step,
                loss=sum(losses.values()),
                **losses,
                lr=lr,
                **({} if grad_norm is None else {"grad_norm": grad_norm.item()}),
                images_per_s=self._images * self.runtime.world_size / elapsed,
                wait_share=self._waited_s / elapsed,
                memory_mb=self._memory_mb(),
            )
        self._reset()

    def _memory_mb(self) -> float:
        if self._on_gpu:
            return torch.cuda.max_memory_allocated(self.runtime.device) / 2**20
        return self._process.memory_info().rss / 2**20
