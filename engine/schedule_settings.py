"""Settings of the learning-rate schedules, as they stand under `loop.schedule`: each by its name. No torch."""

from typing import Annotated, Literal

from pydantic import Discriminator, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from foundation.settings import FromList, Probability, StrictModel, default_name


class ScheduleBase(StrictModel):
    """What every schedule has: the learning rate over the run is a factor on `optimizer.lr`."""

    name: str
    """Which schedule; it decides the other keys."""
    warmup_steps: NonNegativeInt = 0
    """Linear warm-up from near 0 over this many optimizer steps, before any schedule."""
    warmup_epochs: NonNegativeFloat = 0.0
    """The same in epochs; the longer of the two counts."""


class ConstantSettings(ScheduleBase):
    """The same rate from the warm-up to the end."""

    name: Literal["constant"]


class LinearSettings(ScheduleBase):
    """A straight line from the warm-up to the last step."""

    name: Literal["linear"]
    final_factor: Probability = 0.01
    """The factor at the last step."""


class CosineSettings(ScheduleBase):
    """Half a cosine from the warm-up to the last step (Loshchilov and Hutter 2017, arXiv:1608.03983)."""

    name: Literal["cosine"] = "cosine"
    final_factor: Probability = 0.01
    """The factor at the last step."""


class PolynomialSettings(ScheduleBase):
    """A power of the steps that are left."""

    name: Literal["polynomial"]
    final_factor: Probability = 0.01
    """The factor at the last step."""
    power: PositiveFloat = 2.0
    """The exponent."""


class StepSettings(ScheduleBase):
    """Multiplied every so many epochs."""

    name: Literal["step"]
    step_epochs: PositiveInt = 10
    """Multiply by `factor` every so many epochs."""
    factor: PositiveFloat = 0.1
    """The multiplier."""


class MultistepSettings(ScheduleBase):
    """Multiplied at given epochs."""

    name: Literal["multistep"]
    milestones: Annotated[tuple[PositiveInt, ...], FromList, Field(min_length=1)]
    """The epochs at which to multiply by `factor`: 30 = after thirty epochs."""
    factor: PositiveFloat = 0.1
    """The multiplier."""


class ExponentialSettings(ScheduleBase):
    """Multiplied after every epoch."""

    name: Literal["exponential"]
    factor: PositiveFloat = 0.1
    """The multiplier per epoch."""


class OneCycleSettings(ScheduleBase):
    """Up to `optimizer.lr` and down to almost nothing (Smith and Topin 2018, arXiv:1708.07120).

    As torch's OneCycleLR, but the momentum is left alone.
    """

    name: Literal["one_cycle"]
    rise: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.3
    """Share of the steps in which the rate goes up."""
    start_divisor: Annotated[float, Field(ge=1.0)] = 25.0
    """The first rate is `optimizer.lr` divided by this."""
    final_divisor: Annotated[float, Field(ge=1.0)] = 1e4
    """The last rate is the first one divided by this."""
    shape: Literal["cosine", "linear"] = "cosine"
    """Of both flanks."""


class PlateauSettings(ScheduleBase):
    """Divided by ten, or what `factor` says, when validation stops improving."""

    name: Literal["plateau"]
    patience: NonNegativeInt = 3
    """Evaluations without improvement before the rate is multiplied by `factor`; one more does it."""
    factor: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.1
    """The multiplier."""
    min_delta: NonNegativeFloat = 0.0
    """The metric has improved if it is better than the best by more than this."""
    metric: str | None = None
    """The validation metric to watch; null = the task's main metric."""


ScheduleSettings = Annotated[
    Annotated[
        CosineSettings  # first: what the keys are completed by while there is no name
        | ConstantSettings
        | LinearSettings
        | StepSettings
        | MultistepSettings
        | ExponentialSettings
        | PolynomialSettings
        | OneCycleSettings
        | PlateauSettings,
        Discriminator("name"),
    ],
    default_name("cosine"),
]
"""A schedule by its `name`, with its own keys; without a name it is cosine."""
