"""Run a network once and show every operation to observers. What an operation costs or sees is told elsewhere."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

SAME_STORAGE = ("_unsafe_view", "reshape", "_reshape_alias", "detach", "alias", "lift_fresh")
"""Views that their schema does not mark as such."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of the library below the modules (`aten.convolution`, …) with what went in and came out."""

    name: str
    """Without its overload: `aten.convolution`."""
    function: OpOverload
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    result: Any
    path: str
    """The innermost module at work: `layer1.0.conv1`; empty for the network itself."""
    segment: int
    """Rises whenever the module at work changes: operations with the same number follow one another in one module."""

    @property
    def inputs(self) -> list[Tensor]:
        """All tensors that went in, weights included."""
        return [leaf for leaf in tree_leaves((self.args, self.kwargs)) if isinstance(leaf, Tensor)]

    @property
    def outputs(self) -> list[Tensor]:
        """All tensors that came out."""
        return [leaf for leaf in tree_leaves(self.result) if isinstance(leaf, Tensor)]

    @property
    def is_view(self) -> bool:
        """Whether no number was moved: the result looks at the input's memory in another shape."""
        if self.name.removeprefix("aten.") in SAME_STORAGE:
            return True
        returns = self.function._schema.returns
        alias = returns[0].alias_info if returns else None
        return alias is not None and not alias.is_write


class Observer(Protocol):
    """Whoever wants to see the operations of a run, in their order."""

    def see(self, operation: Operation) -> None:
        """Take notice of one operation."""
        ...


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, observers: Sequence[Observer]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.observers = observers
        self.paths = [""]
        self.segment = 0

    def enter(self, path: str) -> None:
        self.paths.append(path)
        self.segment += 1

    def leave(self) -> None:
        self.paths.pop()
        self.segment += 1

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = str(func.overloadpacket)
        operation = Operation(name, func, tuple(args), kwargs or {}, result, self.paths[-1], self.segment)
        for observer in self.observers:
            observer.see(operation)
        return result


def record(network: nn.Module, images: Tensor, observers: Sequence[Observer]) -> Any:
    """Run `network` on `images` and show every operation to the observers.

    Args:
        network: in the mode and on the device in which it shall be watched; `meta` costs no memory and hardly any time.
        images: (B, 3, H, W) on the same device.

    Returns:
        What the network returned.
    """
    recorder = _Recorder(observers)
    with ExitStack() as stack:
        for path, module in network.named_modules():
            if path:
                stack.callback(_follow(recorder, module, path))
        stack.enter_context(plain_attention())
        stack.enter_context(recorder)
        return network(images)


@contextmanager
def plain_attention() -> Iterator[None]:
    """Make attention visible: without the fused encoder layer, and as one operation on the `meta` device too.

    In evaluation `nn.MultiheadAttention` takes a path that no counter sees. On `meta` attention would fall apart into
    products that write out the (N, N) matrix, which no device that people train on does.
    """
    was_fast, original = torch.backends.mha.get_fastpath_enabled(), F.scaled_dot_product_attention
    torch.backends.mha.set_fastpath_enabled(False)
    F.scaled_dot_product_attention = _attention_on(original)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(was_fast)
        F.scaled_dot_product_attention = original


def _attention_on(original: Any) -> Any:
    def attention(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        **options: Any,
    ) -> Tensor:
        has_learnt_mask = attn_mask is not None and attn_mask.requires_grad
        is_plain = query.ndim == 4 and not options.get("enable_gqa") and not has_learnt_mask
        if query.device.type != "meta" or not is_plain:
            result: Tensor = original(query, key, value, attn_mask, dropout_p, is_causal, **options)
            return result
        return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            query, key, value, 0.0, is_causal, attn_mask=attn_mask, scale=options.get("scale")
        )[0]

    return attention


def _follow(recorder: _Recorder, module: nn.Module, path: str) -> Any:
    before = module.register_forward_pre_hook(lambda *_: recorder.enter(path))
    after = module.register_forward_hook(lambda *_: recorder.leave(), always_call=True)

    def remove() -> None:
        before.remove()
        after.remove()

    return remove
