"""Settings of the loop, as they stand under `loop`, `resources`, `failure` and `checkpoint` in a file. No torch."""

from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from foundation.settings import FromList, StrictModel

Probability = Annotated[float, Field(ge=0.0, le=1.0)]


class OptimizerSettings(StrictModel):
    """An optimizer of `torch.optim`, by its own name and with its own arguments."""

    name: Literal["sgd", "adam", "adamw", "rmsprop", "adagrad", "nadam"] = "adamw"
    """Its name in `torch.optim`, in lower case."""
    lr: PositiveFloat = 1e-3
    """Learning rate for the global batch, before the schedule's factor."""
    weight_decay: NonNegativeFloat = 0.0
    """As the optimizer has it: decoupled for adamw, added to the gradient for the others."""
    momentum: Probability = 0.9
    """For sgd and rmsprop."""
    nesterov: bool = False
    """For sgd."""
    betas: Annotated[tuple[float, float], FromList] = (0.9, 0.999)
    """For adam, adamw, nadam."""
    no_decay_on_norm_and_bias: bool = True
    """Weight decay touches matrices and kernels only."""


class ScheduleSettings(StrictModel):
    """The learning rate over the run, as a factor on `optimizer.lr`."""

    name: Literal[
        "constant",
        "linear",
        "cosine",
        "step",
        "multistep",
        "exponential",
        "polynomial",
        "plateau",
    ] = "cosine"
    """How the rate falls after the warm-up; the keys below say to which of them they belong."""
    warmup_steps: NonNegativeInt = 0
    """Linear warm-up from near 0 over this many optimizer steps, before any schedule."""
    warmup_epochs: NonNegativeFloat = 0.0
    """The same in epochs; the longer of the two counts."""
    final_factor: Probability = 0.01
    """linear, cosine, polynomial: the factor at the last step."""
    step_epochs: PositiveInt = 10
    """step: multiply by `factor` every so many epochs."""
    milestones: Annotated[tuple[PositiveInt, ...], FromList] = ()
    """multistep: the epochs at which to multiply by `factor`."""
    factor: PositiveFloat = 0.1
    """step, multistep, plateau: the multiplier; exponential: the multiplier per epoch."""
    power: PositiveFloat = 2.0
    """polynomial: the exponent."""
    patience: NonNegativeInt = 3
    """plateau: evaluations without improvement before the rate is multiplied by `factor`."""
    metric: str | None = None
    """plateau: the validation metric to watch; null = the task's main metric."""


class EarlyStopSettings(StrictModel):
    """Stop when a validation metric no longer improves."""

    metric: str | None = None
    """A validation metric, such as `map_50`; null = the task's main metric."""
    patience: PositiveInt = 8
    """Evaluations without improvement."""
    min_delta: NonNegativeFloat = 0.0
    """A metric has improved if it is better than the best by more than this."""


class LoopSettings(StrictModel):
    """The training loop, the same for every task."""

    epochs: PositiveInt = 10
    """Passes over the train split."""
    batch_size: PositiveInt = 16
    """GLOBAL batch: images per optimizer step over all workers; kept when their number changes."""
    micro_batch: PositiveInt | None = None
    """At most so many images per worker in one forward pass; gradient accumulation does the rest."""
    optimizer: OptimizerSettings = OptimizerSettings()
    """The optimizer and its arguments."""
    schedule: ScheduleSettings = ScheduleSettings()
    """The learning rate over the run."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """auto = bf16 where the device has it in hardware, else fp32. fp16 (GPU only) uses a gradient scaler."""
    clip_norm: PositiveFloat | None = None
    """Clip the global gradient norm to this."""
    ema: Probability | None = None
    """Decay of the exponential moving average of the weights, which is what is evaluated and shipped."""
    sync_bn: bool = False
    """Batch normalisation over all workers."""
    channels_last: bool = True
    """Keep activations in torch's channels_last memory format, which suits most convolutional models."""
    compile: bool = False
    """torch.compile the model; needs minutes of warm-up on a CPU."""
    early_stop: EarlyStopSettings | None = None
    """Stop when a validation metric no longer improves; null = train all epochs."""
    eval_every: PositiveInt = 1
    """Evaluate on the validation split every so many epochs, and after the last."""
    select: Literal["best", "last"] = "last"
    """Which weights become the bundle: those of the last step, or of the best evaluation."""
    metric: str | None = None
    """The validation metric that `select: best` looks at; null = the task's main metric."""
    log_every_steps: PositiveInt = 10
    """Optimizer steps between two points of the curves."""
    num_loader_workers: NonNegativeInt = 0
    """Processes that load and augment, per training worker; 0 = in the training process."""
    ledger: bool = False
    """Write the sample ids of every step to `ledger-RANK.jsonl` in the stage's folder."""


class ResourceSettings(StrictModel):
    """Names of Ray Train's ScalingConfig."""

    num_workers: NonNegativeInt | Annotated[tuple[PositiveInt, PositiveInt], FromList] = 1
    """Training workers; 0 = in this process without Ray; [min, max] = elastic."""
    use_gpu: bool | Literal["auto"] = "auto"
    """auto = one GPU for each worker where there are any; true = refuse to run without."""
    resources_per_worker: dict[str, PositiveFloat | PositiveInt] = {"CPU": 1}
    """What Ray reserves for each worker."""


class FailureSettings(StrictModel):
    """Names of Ray Train's FailureConfig, and how long to wait for silence."""

    max_failures: NonNegativeInt = 3
    """Restarts from the last checkpoint before the stage counts as failed."""
    hang_timeout_s: PositiveInt = 300
    """A collective operation that takes longer than this is a failure."""


class CheckpointSettings(StrictModel):
    """Names of Ray Train's CheckpointConfig, and how often."""

    every_steps: PositiveInt | None = None
    """Besides the one at the end of every epoch."""
    every_epochs: PositiveInt = 1
    """At the end of every so many epochs."""
    num_to_keep: PositiveInt = 2
    """The newest checkpoints that stay on disk."""


JsonDict = dict[str, Any]
