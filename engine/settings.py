"""Settings of the loop, as they stand under `loop`, `resources`, `failure` and `checkpoint` in a file. No torch."""

from typing import Annotated, Any, Literal

from pydantic import (
    Discriminator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from engine.optimizer_settings import AdamwSettings, OptimizerSettings
from engine.schedule_settings import CosineSettings, ScheduleSettings
from foundation.settings import FromList, Probability, StrictModel, default_name


class EarlyStopSettings(StrictModel):
    """Stop when a validation metric no longer improves."""

    metric: str | None = None
    """A validation metric, such as `map_50`; null = the task's main metric."""
    patience: PositiveInt = 8
    """Evaluations without improvement."""
    min_delta: NonNegativeFloat = 0.0
    """A metric has improved if it is better than the best by more than this."""


class FineTuneSettings(StrictModel):
    """What of a pretrained model is trained, when and how fast; its stages go from the stem to the head."""

    freeze_epochs: NonNegativeInt | Literal["all"] = 0
    """All stages but the head rest in the first so many epochs: neither weights nor running statistics change, and
    nothing is dropped out in them. all = to the end, a linear probe."""
    backbone_lr: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Factor on the learning rate of all stages but the head."""
    layer_decay: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Factor on the learning rate from each stage to the one before it; the head has the full rate."""

    @model_validator(mode="after")
    def _has_an_effect(self) -> "FineTuneSettings":
        has_rates = self.backbone_lr != 1.0 or self.layer_decay != 1.0
        if not has_rates and self.freeze_epochs == 0:
            raise ValueError(
                "nothing is asked for; give `freeze_epochs`, `backbone_lr` or `layer_decay`, or leave it out"
            )
        if has_rates and self.freeze_epochs == "all":
            raise ValueError(
                "`backbone_lr` and `layer_decay` have no effect where `freeze_epochs: all` trains the head only"
            )
        return self


class LoopSettings(StrictModel):
    """The training loop, the same for every task."""

    epochs: PositiveInt = 10
    """Passes over the train split."""
    batch_size: PositiveInt | Literal["full"] = 16
    """GLOBAL batch: images per optimizer step over all workers; kept when their number changes. full = one step per
    epoch, over all its images; needs `micro_batch`."""
    micro_batch: PositiveInt | None = None
    """At most so many images per worker in one forward pass; gradient accumulation does the rest."""
    optimizer: OptimizerSettings = AdamwSettings()
    """The optimizer and its arguments."""
    schedule: ScheduleSettings = CosineSettings()
    """The learning rate over the run."""
    fine_tune: FineTuneSettings | None = None
    """Freeze a pretrained model's backbone, or train it at lower rates; null = everything at the same rate."""
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
    """Write to `ledger-RANK.jsonl` in the stage's folder which samples every step saw, each with a checksum of its
    pixels and targets after augmentation."""

    @model_validator(mode="after")
    def _full_batch_in_parts(self) -> "LoopSettings":
        if self.batch_size == "full" and self.micro_batch is None:
            raise ValueError("`batch_size: full` needs `micro_batch`, the images that fit into memory at once")
        return self


class RandomSamplerSettings(StrictModel):
    """Every training image once an epoch, in random order."""

    name: Literal["random"] = "random"
    """How the images of an epoch are drawn."""


class ClassBalancedSamplerSettings(StrictModel):
    """Every class equally often: draw a class, then one of its images. An epoch is as long as the split."""

    name: Literal["class_balanced"]


class SquareRootSamplerSettings(StrictModel):
    """Every class in proportion to the square root of its images: halfway between random and class_balanced."""

    name: Literal["square_root"]


class OversampleSettings(StrictModel):
    """Images of rarer classes are repeated until every class is shown as often as the largest; none is left out."""

    name: Literal["oversample"]


class UndersampleSettings(StrictModel):
    """Of every class as many images as the smallest has, other ones in every epoch."""

    name: Literal["undersample"]


class RepeatFactorSettings(StrictModel):
    """Repeat images of classes that few images show (Gupta et al. 2019, arXiv:1908.03195, section 4.1)."""

    name: Literal["repeat_factor"]
    threshold: Annotated[float, Field(gt=0.0, le=1.0)] = 1e-3
    """A class in less than this share f of the images has its images repeated sqrt(threshold / f) times."""


class SmallObjectsSettings(StrictModel):
    """Images with small objects are repeated; all others are shown once (Kisantal et al. 2019, arXiv:1902.07296)."""

    name: Literal["small_objects"]
    factor: Annotated[float, Field(gt=1.0, le=100.0)] = 2.0
    """How often an image with small objects is shown in an epoch, on average; the paper tries 2, 3 and 4."""
    max_area: PositiveFloat = 1024.0
    """An object is small up to so many square pixels, in the image as the model sees it."""


SamplerSettings = Annotated[
    Annotated[
        RandomSamplerSettings
        | ClassBalancedSamplerSettings
        | SquareRootSamplerSettings
        | OversampleSettings
        | UndersampleSettings
        | RepeatFactorSettings
        | SmallObjectsSettings,
        Discriminator("name"),
    ],
    default_name("random"),
]
"""How the images of an epoch are drawn, by `name`."""


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


EnsembleMethod = Literal["max_voting", "averaging", "weighted_averaging", "stacking"]
"""How the answers of several models become one, in a stage of `kind: ensemble`."""

JsonDict = dict[str, Any]
