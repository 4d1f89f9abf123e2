"""The learning-rate range test: train a few steps at a rate that rises tenfold again and again, and watch the loss.

Source: Smith 2017, arXiv:1506.01186, section 3.3; the smoothed loss and the steepest point as in Gugger 2018.
"""

import math
from dataclasses import asdict, dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine import catalog
from engine.job import TrainJob
from engine.loader import FixedSampler, build_loader
from engine.runtimes import InProcessRuntime
from engine.sampling import SamplingPlan
from engine.settings import RandomSamplerSettings
from engine.state import StepSeeds, TrainState, build_state
from engine.step import forward_backward
from engine.task import Task, TaskSpec
from foundation.errors import ConfigError, RunFailed
from orchestrator.pipeline.load import LoadedPipeline
from orchestrator.pipeline.problems import nearest
from orchestrator.pipeline.settings import TrainStage

LOWEST, HIGHEST = 1e-7, 10.0
SMOOTHING = 0.9
"""Share of the running mean that the next step keeps; what is missing at the start is made up for."""
DIVERGED = 4.0
"""The test ends when the smoothed loss is this many times its lowest."""
FOLDER = "lr-find"
PICTURE = "lr_find.png"
LEAST_POINTS = 10


@dataclass(frozen=True)
class RangeTest:
    """What the test found."""

    rates: list[float]
    losses: list[float]
    """Smoothed."""
    steepest: float
    """Where the loss falls fastest by the rate's logarithm."""
    lowest: float
    """Where the loss is least."""
    picture: str

    @property
    def suggested(self) -> float:
        """A rate to train with: the steepest one, and at most a tenth of that with the least loss."""
        return min(self.steepest, self.lowest / 10.0)

    @property
    def lower(self) -> float:
        """Where a search may begin."""
        return self.suggested / 10.0

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "suggested": self.suggested, "lower": self.lower}


def chosen_stage(loaded: LoadedPipeline, name: str | None) -> tuple[str, TrainStage]:
    """Return the train stage to test.

    Raises:
        ConfigError: if there is none of that name, or several to choose from.
    """
    stages = {key: stage for key, stage in loaded.pipeline.stages.items() if isinstance(stage, TrainStage)}
    if name is None and len(stages) == 1:
        return next(iter(stages.items()))
    if name is None or name not in stages:
        given = "give --stage" if name is None else f"there is no train stage {name!r}"
        hint = nearest(name or "", list(stages)) or f"; train stages: {', '.join(stages) or 'none'}"
        raise ConfigError(f"{given}{hint}.")
    return name, stages[name]


def find_lr(loaded: LoadedPipeline, name: str, stage: TrainStage, steps: int) -> RangeTest:
    """Run the test in this process, with the stage's batch size and optimizer, and draw it.

    Raises:
        RunFailed: if the loss is no number from the start.
    """
    pipeline = loaded.pipeline
    folder = pipeline.storage / pipeline.name / FOLDER / name
    folder.mkdir(parents=True, exist_ok=True)
    job = _job(loaded, stage, folder)
    rates, losses = _measure(job, InProcessRuntime(stage.resources.use_gpu), steps)
    found = read_off(rates, losses, str(folder / PICTURE))
    _draw(found, folder / PICTURE)
    return found


def read_off(rates: list[float], losses: list[float], picture: str) -> RangeTest:
    """Smooth the losses and find where they fall fastest and are least.

    Raises:
        RunFailed: if there are too few finite losses.
    """
    if len(losses) < LEAST_POINTS:
        raise RunFailed(
            f"the loss became no number after {len(losses)} steps, at a learning rate of {LOWEST:g} and a little. Look "
            "at the data with `orchestrator data check`, or set loop.precision: fp32."
        )
    smooth = smoothed(losses)
    least = int(np.argmin(smooth))
    slopes = np.gradient(smooth[: max(least + 1, 3)], np.log(rates[: max(least + 1, 3)]))
    steepest = int(np.argmin(slopes))
    return RangeTest(list(rates), [float(value) for value in smooth], rates[steepest], rates[least], picture)


def smoothed(losses: list[float]) -> np.ndarray:
    """Return the running mean, (N,) float64, freed from its start at zero."""
    mean, values = 0.0, []
    for step, loss in enumerate(losses, start=1):
        mean = SMOOTHING * mean + (1.0 - SMOOTHING) * loss
        values.append(mean / (1.0 - SMOOTHING**step))
    return np.array(values)


def _job(loaded: LoadedPipeline, stage: TrainStage, folder: Path) -> TrainJob:
    return TrainJob(
        spec=TaskSpec(
            task=stage.task,
            settings=stage.task_settings().model_dump(mode="json"),
            data=loaded.pipeline.data[stage.data].model_dump(mode="json"),
            seed=loaded.pipeline.seed,
            epochs=stage.loop.epochs,
        ),
        loop=stage.loop,
        checkpoint=stage.checkpoint,
        folder=folder,
        train_split=stage.train_split,
        val_split=None,
        main_metric=catalog.entry(stage.task).main_metric,
        sampler=RandomSamplerSettings(),
    )


def _measure(job: TrainJob, runtime: InProcessRuntime, steps: int) -> tuple[list[float], list[float]]:
    """Train at rising rates; return those and the loss of each step, up to where it diverged."""
    task: Task = catalog.load(catalog.entry(job.spec.task).task)(job.spec)
    dataset = task.build_dataset(job.train_split, train=True)
    size = job.loop.batch_size if isinstance(job.loop.batch_size, int) else len(dataset)
    plan = SamplingPlan(len(dataset), size, 1, job.loop.micro_batch, job.spec.seed)
    wanted = [float(rate) for rate in np.geomspace(LOWEST, HIGHEST, steps)]
    micros = list(islice((m for epoch in count() for m in plan.micro_batches(epoch, 0, 0)), steps * plan.num_micro))
    keys = FixedSampler([list(micro.keys) for micro in micros])
    loader = build_loader(task, dataset, keys, job.loop.num_loader_workers, runtime.device)
    state = build_state(job, task, plan, runtime)
    state.start_epoch(0)
    seeds = StepSeeds(job.spec.seed, 0)
    losses = [0.0]
    for index, (micro, batch) in enumerate(zip(micros, loader, strict=True)):
        batch.share, batch.step_share, batch.step_key = micro.share, micro.step_share, len(losses) - 1
        seeds.apply(index)
        terms = forward_backward(state, task, batch.to(runtime.device), micro.is_last)
        losses[-1] += float(torch.stack([value.float() for value in terms.values()]).sum())
        if not micro.is_last:
            continue
        if not math.isfinite(losses[-1]):
            losses.pop()
            break
        smooth = smoothed(losses)
        if len(losses) == steps or (len(losses) > LEAST_POINTS and smooth[-1] > DIVERGED * smooth.min()):
            break
        _step(state, job, wanted[len(losses) - 1])
        losses.append(0.0)
    return wanted[: len(losses)], losses


def _step(state: TrainState, job: TrainJob, rate: float) -> None:
    """Step the optimizer at a rate; groups keep their factors to each other."""
    for group in state.optimizer.param_groups:
        group["lr"] = rate * group["initial_lr"] / job.loop.optimizer.lr
    if job.loop.clip_norm is not None:
        state.scaler.unscale_(state.optimizer)
        torch.nn.utils.clip_grad_norm_(state.model.parameters(), job.loop.clip_norm)
    state.scaler.step(state.optimizer)
    state.scaler.update()
    state.optimizer.zero_grad(set_to_none=True)


def _draw(found: RangeTest, path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot(found.rates, found.losses, color="#1f5fa8", linewidth=1.8)
    axes.set_xscale("log")
    axes.set_title("Loss at a rising learning rate", loc="left", fontsize=13, fontweight="bold")
    axes.set_xlabel("learning rate")
    axes.set_ylabel("training loss, running mean")
    low, high = min(found.losses), max(found.losses[: max(LEAST_POINTS, found.rates.index(found.lowest) + 1)])
    axes.set_ylim(low - 0.05 * (high - low), high + 0.4 * (high - low))
    for rate, text in ((found.steepest, "falls fastest"), (found.lowest, "least"), (found.suggested, "suggested")):
        axes.axvline(rate, color="#d9722b" if text == "suggested" else "#9ca3af", linewidth=1.2)
        axes.annotate(
            f"{text}\n{rate:.2g}",
            (rate, 0.98),
            (4, 0),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            va="top",
            fontsize=9,
        )
    axes.grid(axis="y", color="#e5e7eb", linewidth=0.8)
    axes.spines[["top", "right", "left"]].set_visible(False)
    figure.savefig(path, dpi=130)
