"""Learning-rate schedules as factors on the optimizer's rate.

All but `plateau` are pure functions of the optimizer step, so a resumed run needs no state to continue them.
"""

import math
from dataclasses import dataclass, field

from engine.schedule_settings import (
    CosineSettings,
    ExponentialSettings,
    LinearSettings,
    MultistepSettings,
    OneCycleSettings,
    PlateauSettings,
    PolynomialSettings,
    ScheduleSettings,
    StepSettings,
)


def warmup_factor(step: int, warmup_steps: int) -> float:
    """Linear from 1/warmup_steps at step 0 to 1 at the end of the warm-up."""
    return min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0


def decay_factor(
    settings: ScheduleSettings, step: int, warmup_steps: int, total_steps: int, steps_per_epoch: int
) -> float:
    """The schedule's factor at 0-based optimizer step `step`, warm-up left aside; `plateau` is 1 here."""
    progress = min(1.0, max(0, step - warmup_steps) / max(1, total_steps - 1 - warmup_steps))
    epoch = step // steps_per_epoch
    match settings:
        case LinearSettings():
            return 1.0 - (1.0 - settings.final_factor) * progress
        case CosineSettings():
            return settings.final_factor + (1.0 - settings.final_factor) * 0.5 * (1.0 + math.cos(math.pi * progress))
        case PolynomialSettings():
            return settings.final_factor + (1.0 - settings.final_factor) * (1.0 - progress) ** settings.power
        case StepSettings():
            return float(settings.factor ** (epoch // settings.step_epochs))
        case MultistepSettings():
            return float(settings.factor ** sum(epoch >= milestone for milestone in settings.milestones))
        case ExponentialSettings():
            return float(settings.factor**epoch)
        case OneCycleSettings():
            return _one_cycle(settings, max(0, step - warmup_steps), max(1, total_steps - warmup_steps))
        case _:
            return 1.0


def _one_cycle(settings: OneCycleSettings, step: int, total_steps: int) -> float:
    """As torch's OneCycleLR: up until step `rise` x total_steps - 1, down until the last step."""
    first = 1.0 / settings.start_divisor
    last, top = total_steps - 1, settings.rise * total_steps - 1.0
    if step < top:
        return _between(first, 1.0, step / top, settings.shape)
    return _between(1.0, first / settings.final_divisor, (step - top) / (last - top), settings.shape)


def _between(start: float, end: float, share: float, shape: str) -> float:
    share = min(1.0, share)
    if shape == "cosine":
        share = 0.5 * (1.0 - math.cos(math.pi * share))
    return start + (end - start) * share


def schedule_warnings(settings: ScheduleSettings, epochs: int, steps_per_epoch: int, evaluations: int) -> list[str]:
    """Say which part of the settings a run of this length never comes to.

    Args:
        evaluations: how often the run is evaluated.
    """
    warmup_steps = Schedule(settings, epochs * steps_per_epoch, steps_per_epoch).warmup_steps
    found = []
    if warmup_steps >= epochs * steps_per_epoch:
        found.append(f"the warm-up of {warmup_steps} steps does not end in the {epochs * steps_per_epoch} of this run")
    match settings:
        case StepSettings() if settings.step_epochs >= epochs:
            found.append(f"loop.schedule.step_epochs is {settings.step_epochs}, and the run has {epochs} epochs")
        case MultistepSettings():
            late = [str(milestone) for milestone in settings.milestones if milestone >= epochs]
            if late:
                found.append(f"loop.schedule.milestones: {', '.join(late)} lie beyond the run's {epochs} epochs")
        case PlateauSettings() if settings.patience + 1 >= evaluations:
            found.append(f"loop.schedule.patience is {settings.patience}, and the run has {evaluations} evaluations")
    return [f"{text}: this has no effect" for text in found]


@dataclass
class Schedule:
    """The factor at every step; remembers the plateau's progress, which belongs in the checkpoint."""

    settings: ScheduleSettings
    total_steps: int
    steps_per_epoch: int
    plateau_factor: float = 1.0
    best: float | None = None
    bad_evaluations: int = field(default=0)

    @property
    def warmup_steps(self) -> int:
        """Optimizer steps of warm-up."""
        return max(self.settings.warmup_steps, round(self.settings.warmup_epochs * self.steps_per_epoch))

    def factor(self, step: int) -> float:
        """Factor on the base learning rate at 0-based optimizer step `step`."""
        warmup = warmup_factor(step, self.warmup_steps)
        decay = decay_factor(self.settings, step, self.warmup_steps, self.total_steps, self.steps_per_epoch)
        return warmup * decay * self.plateau_factor

    def observe(self, value: float) -> None:
        """Tell the plateau schedule an evaluation's metric (higher is better)."""
        if not isinstance(self.settings, PlateauSettings):
            return
        if self.best is None or value > self.best + self.settings.min_delta:
            self.best, self.bad_evaluations = value, 0
            return
        self.bad_evaluations += 1
        if self.bad_evaluations > self.settings.patience:
            self.plateau_factor *= self.settings.factor
            self.bad_evaluations = 0

    def state(self) -> dict[str, float | int | None]:
        """What a checkpoint keeps."""
        return {"plateau_factor": self.plateau_factor, "best": self.best, "bad_evaluations": self.bad_evaluations}

    def load_state(self, state: dict[str, float | int | None]) -> None:
        """Continue from `state`."""
        self.plateau_factor = float(state["plateau_factor"] or 0.0)
        self.best = state["best"]
        self.bad_evaluations = int(state["bad_evaluations"] or 0)
