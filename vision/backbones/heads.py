"""Take the last linear layer off a classifier, or put another in its place, whoever made the network."""

from typing import Any

from torch import nn

from vision.backbones.auxiliary import AUXILIARY_MODULES
from vision.layers.follow import hand_over


class NoHead(nn.Identity):
    """Stands where the last linear layer was, and remembers its shape."""

    def __init__(self, old: nn.Linear | nn.Conv2d) -> None:
        super().__init__()
        self.num_features = num_inputs(old)
        self.is_convolution = isinstance(old, nn.Conv2d)


def split_head(network: Any) -> tuple[nn.Module, int]:
    """Take the last linear layer off, in place; auxiliary classifiers, which train it, go as well.

    Returns:
        The network, now images (B, 3, H, W) to embeddings (B, D), and D.
    """
    paths = head_paths(network)
    size = num_inputs(network.get_submodule(paths[0]))
    for path in paths:
        old: Any = network.get_submodule(path)
        if not isinstance(old, NoHead):
            _set(network, path, NoHead(old))
    for name in auxiliary_names(network):
        setattr(network, name, None)
        network.aux_logits = False  # torchvision's own switch
    return network, size


def replace_head(network: Any, num_classes: int) -> nn.Module:
    """Make the last linear layer anew for `num_classes`, in place, with those of the auxiliary classifiers.

    Returns:
        The network.
    """
    for path in head_paths(network):
        _set(network, path, _new_head(network.get_submodule(path), num_classes))
    for name in auxiliary_names(network):
        auxiliary = network.get_submodule(name)
        path = _last_linear(auxiliary)
        _set(auxiliary, path, _new_head(auxiliary.get_submodule(path), num_classes))
    if hasattr(network, "num_classes"):
        network.num_classes = num_classes  # timm's and torchvision's own record; never read in forward
    return network


def head_paths(network: Any) -> list[str]:
    """Paths of the last linear layer, or of the two of networks that are distilled; or of what stands for them."""
    taken = [path for path, module in network.named_modules() if isinstance(module, NoHead)]
    if taken:
        return taken
    if not hasattr(network, "get_classifier"):
        return [_last_linear(network)]
    classifier: Any = network.get_classifier()
    parts = classifier if isinstance(classifier, tuple | list) else (classifier,)
    path_of = {id(module): path for path, module in network.named_modules()}
    return [".".join(filter(None, (path_of[id(part)], _last_linear(part)))) for part in parts]


def auxiliary_names(network: nn.Module) -> list[str]:
    """Names of the auxiliary classifiers it has."""
    return [name for name in AUXILIARY_MODULES if isinstance(getattr(network, name, None), nn.Module)]


def num_inputs(head: Any) -> int:
    """Features that a head reads."""
    if isinstance(head, NoHead):
        return head.num_features
    return head.in_channels if isinstance(head, nn.Conv2d) else head.in_features


def _last_linear(network: nn.Module) -> str:
    """Path of the last linear layer outside the auxiliary classifiers; of the last convolution where there is none."""
    modules = [(path, m) for path, m in network.named_modules() if path.partition(".")[0] not in AUXILIARY_MODULES]
    linear = [path for path, module in modules if isinstance(module, nn.Linear)]
    convolutions = [path for path, module in modules if isinstance(module, nn.Conv2d)]
    return (linear or convolutions)[-1]


def _new_head(old: Any, num_classes: int) -> nn.Module:
    size = num_inputs(old)
    is_convolution = isinstance(old, nn.Conv2d) or (isinstance(old, NoHead) and old.is_convolution)
    has_bias = isinstance(old, NoHead) or old.bias is not None
    new = nn.Conv2d(size, num_classes, 1, bias=has_bias) if is_convolution else nn.Linear(size, num_classes, has_bias)
    if not isinstance(old, NoHead):
        new.to(old.weight.device, old.weight.dtype)
    return new


def _set(network: nn.Module, path: str, module: nn.Module) -> None:
    hand_over(network.get_submodule(path), module)  # dropout before the old head
    parent, _, name = path.rpartition(".")
    setattr(network.get_submodule(parent), name, module)
