"""Exchange parts of a finished network: torchvision's, timm's or our own."""

import copy
from collections.abc import Collection

from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from vision.layers.activations import replace_activations
from vision.layers.dropout import apply_dropout
from vision.layers.initialisation import init_weights, own_activation
from vision.layers.norms import replace_norms
from vision.layers.settings import PartsSettings


def apply_parts(network: nn.Module, parts: PartsSettings, what: str, *, has_head: bool = True) -> None:
    """Give the network the initial weights, norms, activations and dropout of `parts`, in place; null changes nothing.

    Parameters that stay keep their names.

    Args:
        what: the network in the user's words.
        has_head: False for a trunk, which ends in feature maps.

    Raises:
        ConfigError: if a part cannot be applied, with the reason.
    """
    if parts.init is not None:
        init_weights(network, parts.init, parts.activation)
    if parts.norm is not None:
        replace_norms(network, parts.norm, what, has_head=has_head)
    if parts.activation is not None:
        replace_activations(network, parts.activation, what, has_head=has_head)
    if parts.dropout is not None:
        apply_dropout(network, parts.dropout, what, has_head)


def apply_to_linear(layer: nn.Linear, parts: PartsSettings, network: nn.Module) -> None:
    """Give a linear layer that is added to a network after `apply_parts` what the network's own ones have, in place.

    Args:
        network: whose activation decides the gain of the initial weights.
    """
    if parts.init is not None:
        init_weights(layer, parts.init, own_activation(network))
    if parts.norm == "weight":
        weight_norm(layer)


def are_named_after_parts(
    names: Collection[str], network: nn.Module, parts: PartsSettings, what: str, *, has_head: bool = True
) -> bool:
    """Whether weights come from a network that has the parts already, and so fit only after `apply_parts`.

    Args:
        names: of the weights' tensors, with or without a prefix.
        network: without the parts.

    Returns:
        False where the parts change no names, for then the order does not matter.
    """
    trial = copy.deepcopy(network).to("meta")
    apply_parts(trial, parts, what, has_head=has_head)
    before, after = (
        {name for name in each.state_dict() if not name.endswith("num_batches_tracked")} for each in (network, trial)
    )
    if before == after:
        return False

    def is_there(name: str) -> bool:
        return any(other.endswith(name) for other in names)

    return all(map(is_there, after - before)) and not any(map(is_there, before - after))
