"""Settings of the optimizers, as they stand under `loop.optimizer`: each by name, with its own arguments. No torch."""

from typing import Annotated, Literal

from pydantic import Discriminator, Field, NonNegativeFloat, PositiveFloat, model_validator

from foundation.settings import FromList, StrictModel, default_name

Decay = Annotated[float, Field(ge=0.0, lt=1.0)]
"""Share that a moving average keeps at every step."""
Betas = Annotated[tuple[Decay, Decay], FromList]


class OptimizerBase(StrictModel):
    """What every optimizer has."""

    name: str
    """Which optimizer; it decides the other keys."""
    lr: PositiveFloat = 1e-3
    """Learning rate for the global batch, before the schedule's factor."""
    weight_decay: NonNegativeFloat = 0.0
    """L2, as the optimizer has it: decoupled from the gradient for adamw, lamb and lion, added to it for the others."""
    l1: NonNegativeFloat = 0.0
    """L1: this times the sign of every weight is added to its gradient, after clipping."""
    no_decay_on_norm_and_bias: bool = True
    """`weight_decay` and `l1` touch matrices and kernels only."""


class SgdSettings(OptimizerBase):
    """Stochastic gradient descent; `momentum: 0` is the plain one."""

    name: Literal["sgd"]
    momentum: Decay = 0.9
    """Share of the last step that the next one keeps."""
    nesterov: bool = False
    """Look ahead by the momentum before taking the gradient; needs a momentum."""

    @model_validator(mode="after")
    def _nesterov_has_a_momentum(self) -> "SgdSettings":
        if self.nesterov and not self.momentum:
            raise ValueError("`nesterov: true` needs a `momentum` above 0")
        return self


class AdagradSettings(OptimizerBase):
    """Adagrad (Duchi et al. 2011)."""

    name: Literal["adagrad"]
    lr_decay: NonNegativeFloat = 0.0
    """The rate is divided by 1 + lr_decay x (steps done), besides the schedule."""
    eps: PositiveFloat = 1e-10
    """Added to the denominator."""


class AdadeltaSettings(OptimizerBase):
    """Adadelta (Zeiler 2012, arXiv:1212.5701)."""

    name: Literal["adadelta"]
    lr: PositiveFloat = 1.0
    """Factor on the step that the method finds by itself."""
    rho: Decay = 0.9
    """Decay of both moving averages."""
    eps: PositiveFloat = 1e-6
    """Added under both roots."""


class RmspropSettings(OptimizerBase):
    """RMSprop (Tieleman and Hinton 2012)."""

    name: Literal["rmsprop"]
    momentum: Decay = 0.9
    """Share of the last step that the next one keeps."""
    alpha: Decay = 0.99
    """Decay of the squared gradient's average."""
    centered: bool = False
    """Divide by the deviation from the mean gradient."""
    eps: PositiveFloat = 1e-8
    """Added to the denominator."""


class AdamFamilySettings(OptimizerBase):
    """What Adam and its relatives share."""

    betas: Betas = (0.9, 0.999)
    """Decays of the averages of the gradient and of its square."""
    eps: PositiveFloat = 1e-8
    """Added to the denominator."""


class AdamSettings(AdamFamilySettings):
    """Adam (Kingma and Ba 2015, arXiv:1412.6980)."""

    name: Literal["adam"]
    amsgrad: bool = False
    """Divide by the largest average so far (Reddi et al. 2018); the same as `name: amsgrad`."""


class AmsgradSettings(AdamFamilySettings):
    """AMSGrad (Reddi et al. 2018, arXiv:1904.09237): Adam that divides by the largest average so far."""

    name: Literal["amsgrad"]


class AdamwSettings(AdamFamilySettings):
    """AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101)."""

    name: Literal["adamw"] = "adamw"
    amsgrad: bool = False
    """Divide by the largest average so far (Reddi et al. 2018)."""


class AdamaxSettings(AdamFamilySettings):
    """Adamax (Kingma and Ba 2015, section 7): Adam with the infinity norm."""

    name: Literal["adamax"]


class NadamSettings(AdamFamilySettings):
    """NAdam (Dozat 2016): Adam with Nesterov momentum."""

    name: Literal["nadam"]
    momentum_decay: NonNegativeFloat = 4e-3
    """How fast the momentum's own schedule settles."""


class AdaboundSettings(AdamFamilySettings):
    """AdaBound (Luo et al. 2019, arXiv:1902.09843): from Adam at the start to SGD at the end."""

    name: Literal["adabound"]
    final_lr: PositiveFloat = 0.1
    """The rate of SGD that every weight's own rate closes in on; the schedule's factor counts for it too."""
    gamma: PositiveFloat = 1e-3
    """How fast the bounds close in."""
    amsbound: bool = False
    """Divide by the largest average so far, as AMSGrad does."""


class LarsSettings(OptimizerBase):
    """LARS (You et al. 2017, arXiv:1708.03888): SGD for large batches, a rate for every tensor."""

    name: Literal["lars"]
    lr: PositiveFloat = 1.0
    """Factor on every tensor's own rate, before the schedule's factor."""
    momentum: Decay = 0.9
    """Share of the last step that the next one keeps."""
    nesterov: bool = False
    """Look ahead by the momentum before taking the gradient; needs a momentum."""
    trust_coefficient: PositiveFloat = 1e-3
    """A tensor's rate is this times the norm of its weights over that of its gradient."""

    @model_validator(mode="after")
    def _nesterov_has_a_momentum(self) -> "LarsSettings":
        if self.nesterov and not self.momentum:
            raise ValueError("`nesterov: true` needs a `momentum` above 0")
        return self


class LambSettings(OptimizerBase):
    """LAMB (You et al. 2020, arXiv:1904.00962): Adam for large batches; clipping is left to `loop.clip_norm`."""

    name: Literal["lamb"]
    betas: Betas = (0.9, 0.999)
    """Decays of the averages of the gradient and of its square."""
    eps: PositiveFloat = 1e-6
    """Added to the denominator."""


class LionSettings(OptimizerBase):
    """Lion (Chen et al. 2023, arXiv:2302.06675); wants about a tenth of AdamW's rate and ten times its decay."""

    name: Literal["lion"]
    lr: PositiveFloat = 1e-4
    """Learning rate for the global batch: every weight moves by it, up or down."""
    betas: Betas = (0.9, 0.99)
    """Share of the old average in the step's direction, and in the average that is kept."""


OptimizerSettings = Annotated[
    Annotated[
        AdamwSettings  # first: what the keys are completed by while there is no name
        | SgdSettings
        | AdagradSettings
        | AdadeltaSettings
        | RmspropSettings
        | AdamSettings
        | AmsgradSettings
        | AdamaxSettings
        | NadamSettings
        | AdaboundSettings
        | LarsSettings
        | LambSettings
        | LionSettings,
        Discriminator("name"),
    ],
    default_name("adamw"),
]
"""An optimizer by its `name`, with its own arguments; without a name it is adamw."""
