"""The learning-rate range test: train a few steps at a rate that rises tenfold again and again, and watch the loss.

Source: Smith 2017, arXiv:1506.01186, section 3.3; a rate in the middle of the fall as fastai's `valley` proposes it.
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
from orchestrator.pipeline.settings import TrainStage, TuneStage

LOWEST, HIGHEST = 1e-6, 10.0
SMOOTHING = 0.9
"""Share of the running mean that the next step keeps; what is missing at the start is made up for."""
DIVERGED = 4.0
"""The test ends when the running mean of the loss is this many times its lowest."""
WINDOW = 0.25
"""Standard deviation, in powers of ten of the rate, of the window in which a line is laid through the losses."""
CEILING = 1.2
"""Losses beyond this many times the first ones count as that: how far they diverge says nothing."""
FALLEN = 0.15
"""The fall has begun when this share of it is behind."""
FOLDER = "lr-find"
PICTURE = "lr_find.png"
LEAST_POINTS = 10


@dataclass(frozen=True)
class RangeTest:
    """What the test found."""

    rates: list[float]
    losses: list[float]
    """As they were measured, one for each rate."""
    smooth: list[float]
    """Of lines laid through the losses around each rate; diverging ones count as `CEILING` times the first."""
    begin: float
    """From where on the loss falls."""
    steepest: float
    """Where the loss falls fastest by the rate's logarithm."""
    lowest: float
    """Where the loss is least."""
    picture: str

    @property
    def suggested(self) -> float:
        """A rate to train with: the middle of the fall, and at most a tenth of that with the least loss."""
        return min(math.sqrt(self.begin * self.lowest), self.lowest / 10.0)

    @property
    def lower(self) -> float:
        """Where a search may begin."""
        return min(self.begin, self.suggested / 3.0)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "suggested": self.suggested, "lower": self.lower}


def chosen_stage(loaded: LoadedPipeline, name: str | None) -> tuple[str, TrainStage]:
    """Return the train stage to test; of a search its base.

    Raises:
        ConfigError: if there is none of that name, or several to choose from.
    """
    stages = loaded.pipeline.stages.items()
    known = {key: stage.base if isinstance(stage, TuneStage) else stage for key, stage in stages}
    trained = {key: stage for key, stage in known.items() if isinstance(stage, TrainStage)}
    if name is None and len(trained) == 1:
        return next(iter(trained.items()))
    if name is None or name not in trained:
        given = "give --stage" if name is None else f"there is no train stage {name!r}"
        hint = nearest(name or "", list(trained)) or f"; train stages and searches: {', '.join(trained) or 'none'}"
        raise ConfigError(f"{given}{hint}.")
    return name, trained[name]


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
    draw(found, folder / PICTURE)
    return found


def read_off(rates: list[float], losses: list[float], picture: str) -> RangeTest:
    """Smooth the losses and find where they begin to fall, fall fastest and are least.

    Raises:
        RunFailed: if there are too few finite losses, or they do not fall.
    """
    if len(losses) < LEAST_POINTS:
        raise RunFailed(
            f"the loss became no number after {len(losses)} steps, at a learning rate of {LOWEST:g} and a little. Look "
            "at the data with `orchestrator data check`, or set loop.precision: fp32."
        )
    smooth, slopes = local_lines(np.log10(rates), np.minimum(losses, CEILING * float(np.mean(losses[:LEAST_POINTS]))))
    least = int(np.argmin(smooth))
    first = float(np.median(smooth[: max(1, least // 2)]))
    if least == 0 or first <= smooth[least]:
        raise RunFailed(
            f"the loss falls at no learning rate between {LOWEST:g} and {rates[-1]:.2g}, so there is none to suggest. "
            "Take more --steps, or look at the data with `orchestrator data check`."
        )
    is_high = smooth[:least] > first - FALLEN * (first - smooth[least])
    begin = int(np.flatnonzero(is_high)[-1])
    steepest = begin + int(np.argmin(slopes[begin : least + 1]))
    found = (rates[begin], rates[steepest], rates[least], picture)
    return RangeTest(list(rates), list(losses), [float(value) for value in smooth], *found)


def local_lines(places: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lay a line through the values around each place, by least squares with weights of a Gaussian window.

    Args:
        places: (N,) float64, powers of ten.
        values: (N,) float64.

    Returns:
        (N,) heights of the lines at their places, (N,) slopes.
    """
    heights, slopes = np.empty(len(places)), np.empty(len(places))
    for index, place in enumerate(places):
        away = places - place
        weight = np.exp(-0.5 * (away / WINDOW) ** 2)
        weight /= weight.sum()
        centre, mean = weight @ away, weight @ values
        spread = weight @ (away - centre) ** 2
        slopes[index] = (weight @ ((away - centre) * (values - mean))) / spread
        heights[index] = mean - slopes[index] * centre
    return heights, slopes


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


def draw(found: RangeTest, path: Path) -> None:
    """Draw the losses and what was read off them."""
    from matplotlib.ticker import FixedLocator

    from orchestrator.tune.canvas import BLUE, DPI, GREY, ORANGE, blank  # matplotlib

    figure, axes = blank("Loss at a rising learning rate", "learning rate", "training loss")
    axes.scatter(found.rates, found.losses, color=BLUE, s=9, alpha=0.35, linewidths=0)
    axes.plot(found.rates, found.smooth, color=BLUE, linewidth=2.0)
    axes.set_xscale("log")
    seen = found.losses[: max(LEAST_POINTS, found.rates.index(found.lowest) + 1)]
    low, high = min(found.smooth), float(np.quantile(seen, 0.95))
    axes.set_ylim(low - 0.15 * (high - low), high + 0.35 * (high - low))
    marks: dict[float, list[str]] = {}
    for rate, text in ((found.suggested, "suggested"), (found.steepest, "falls fastest"), (found.lowest, "least")):
        marks.setdefault(rate, []).append(text)
    box = {"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.8}
    axes.axvspan(found.lower, found.lowest, color=ORANGE, alpha=0.08, linewidth=0)
    for row, (rate, words) in enumerate(sorted(marks.items())):
        axes.axvline(rate, color=ORANGE if "suggested" in words else GREY, linewidth=1.2)
        axes.annotate(
            f" {', '.join(words)}: {rate:.2g} ", (rate, 0.97 - 0.07 * row), (5, 0), xycoords=("data", "axes fraction"),
            textcoords="offset points", va="top", fontsize=9, bbox=box,
        )  # fmt: skip
    axes.xaxis.set_major_locator(FixedLocator([10.0**power for power in range(-6, 2)]))
    axes.set_xlim(LOWEST, max(found.rates[-1], found.lowest) * 1.5)
    figure.savefig(path, dpi=DPI)
