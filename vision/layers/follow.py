"""Let one module be followed by another without renaming the first one's parameters."""

from typing import Any

from torch import Tensor, nn


def follow(module: nn.Module, name: str, follower: nn.Module) -> None:
    """Make `follower` a child `name` of `module` that every output passes through, in the order of the calls.

    The parameters of `module` keep their names, so that weights trained with and without fit each other.
    """
    module.add_module(name, follower)
    module.register_forward_hook(_Pass(name))


def precede(module: nn.Module, name: str, leader: nn.Module) -> None:
    """Make `leader` a child `name` of `module` that every input passes through."""
    module.add_module(name, leader)
    module.register_forward_pre_hook(_PassFirst(name))


def hand_over(old: nn.Module, new: nn.Module) -> None:
    """Let what follows and precedes `old` follow and precede `new`, which takes its place in a network."""
    for hook in old._forward_hooks.values():
        if isinstance(hook, _Pass):
            follow(new, hook.name, old.get_submodule(hook.name))
    for hook in old._forward_pre_hooks.values():
        if isinstance(hook, _PassFirst):
            precede(new, hook.name, old.get_submodule(hook.name))


class _Pass:
    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, module: nn.Module, _: Any, output: Tensor) -> Any:
        return module.get_submodule(self.name)(output)


class _PassFirst:
    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...]) -> Any:
        return (module.get_submodule(self.name)(inputs[0]), *inputs[1:])
