"""Settings of the parts that are exchanged in a finished network. No torch."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PositiveInt

from foundation.settings import StrictModel

Norm = Literal["batch", "frozen", "sync", "layer", "instance", "group", "switchable", "weight", "none"]
Activation = Literal["sigmoid", "tanh", "relu", "leaky_relu", "prelu", "elu", "gelu", "silu", "mish", "maxout"]
Init = Literal["xavier", "kaiming", "orthogonal", "trunc_normal", "normal"]
DropRate = Annotated[float, Field(ge=0.0, lt=1.0)]


def _odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError(f"expected an odd number, got {value}")
    return value


class DropoutSettings(StrictModel):
    """Dropout of single values, of channels or of residual branches."""

    name: Literal["inverted", "vanilla", "spatial", "stochastic_depth"]
    """inverted (scaled up in training) and vanilla (scaled down in evaluation) act before the classifier's linear
    layers; spatial drops whole channels in the deeper half of the network; stochastic_depth drops residual branches."""
    rate: DropRate
    """Chance that a value, a channel or, of the last block, the branch is dropped; 0 = switch the network's own off."""


class DropBlockSettings(StrictModel):
    """DropBlock (Ghiasi et al. 2018, arXiv:1810.12890) in the deeper half of the network."""

    name: Literal["dropblock"]
    rate: DropRate
    """Share of the values that are dropped."""
    block_size: Annotated[PositiveInt, AfterValidator(_odd)] = 7
    """Side of the dropped squares, in pixels of the feature map; odd, and on small maps what they have room for."""


class PartsSettings(StrictModel):
    """Parts exchanged in a network of the field; null = as the network has it. What cannot be applied is an error."""

    norm: Norm | None = None
    """batch; frozen = statistics and scales fixed, for pretrained weights only; sync = batch over all workers; layer,
    instance, group and switchable (the last learns a mix of batch, layer and instance); weight = none, and every weight
    as length times direction; none. All but batch, frozen and sync start anew."""
    activation: Activation | None = None
    """Instead of the network's hidden activations; the gates of attention blocks stay."""
    dropout: Annotated[DropoutSettings | DropBlockSettings, Field(discriminator="name")] | None = None
    """`{name: …, rate: …}`."""
    init: Init | None = None
    """How the weights of convolutions and linear layers start; not together with pretrained weights."""
