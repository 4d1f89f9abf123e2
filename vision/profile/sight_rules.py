"""How each operation changes what a tensor sees of the image. Sums up nothing; see `receptive_field.py`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from torch import Tensor

from vision.profile.axis import Axis
from vision.profile.recorder import Operation
from vision.profile.sight import ROWS_COLUMNS, Sight, everything, joined, lost, viewed

POOLING = "pooling over the whole map"
ATTENTION = "attention between all positions"
MIXING = "a linear layer over all positions"
NEIGHBOURS = {"nearest": 0, "bilinear": 1, "bicubic": 2}


@dataclass(frozen=True, slots=True)
class Call:
    """One operation with what its inputs see."""

    operation: Operation
    sight_of: Callable[[Tensor], Sight | None]

    @property
    def args(self) -> tuple[Any, ...]:
        """Positional arguments."""
        return self.operation.args

    def argument(self, index: int, default: Any) -> Any:
        """Return a positional argument, or the default where it is left out."""
        return self.args[index] if len(self.args) > index else default

    @property
    def tensor(self) -> Tensor:
        """The first argument."""
        tensor: Tensor = self.args[0]
        return tensor

    @property
    def result(self) -> Tensor:
        """The first tensor of the result."""
        return self.operation.outputs[0]

    @property
    def sight(self) -> Sight:
        """What the first argument sees."""
        return self.sight_of(self.tensor) or everything("")


def sights_after(operation: Operation, sight_of: Callable[[Tensor], Sight | None]) -> list[tuple[Tensor, Sight]]:
    """Tell what the results of an operation see.

    Args:
        operation: any; one of an unknown kind passes for pointwise where the result is shaped like its inputs.
        sight_of: what an input sees; None for weights and constants.

    Returns:
        Each tensor of the result with its sight; nothing if no input comes from the image.
    """
    seen = [sight for sight in map(sight_of, operation.inputs) if sight is not None]
    if not seen or not operation.outputs:
        return []
    call = Call(operation, sight_of)
    name = operation.name.removeprefix("aten.")
    if name in SPLITS:
        sight = _split(call, name)
        return [(output, sight) for output in operation.outputs]
    if not any(sight.is_local for sight in seen):
        return [(operation.outputs[0], joined(seen))]
    return [(operation.outputs[0], RULES.get(name, _pointwise)(call))]


def _local(call: Call) -> list[tuple[Tensor, Sight]]:
    pairs = [(leaf, call.sight_of(leaf)) for leaf in call.operation.inputs]
    return [(leaf, sight) for leaf, sight in pairs if sight is not None]


def _pointwise(call: Call) -> Sight:
    pairs = _local(call)
    for tensor, sight in pairs:
        for dim in sight.dims if sight.is_local else ():
            size = tensor.shape[dim] if tensor.ndim >= -dim else 0
            wanted = call.result.shape[dim] if call.result.ndim >= -dim else -1
            if size not in (wanted, 1):
                return lost(f"{call.operation.name} moves positions about")
    return joined([sight for _, sight in pairs])


def _pair(value: Any, default: int = 0) -> tuple[int, int]:
    values = [int(item) for item in value] if isinstance(value, Sequence) else [int(value)]
    if not values:
        return default, default
    return values[0], values[-1]


def _axes(sight: Sight) -> tuple[Axis, Axis]:
    assert sight.rows is not None
    assert sight.columns is not None
    return sight.rows, sight.columns


def _with_axes(sight: Sight, rows: Axis, columns: Axis) -> Sight:
    return Sight(rows, columns, sight.dims, sight.grid, sight.context)


def _windowed(sight: Sight, kernel: Any, stride: Any, padding: Any, dilation: Any) -> Sight:
    if not sight.is_local or sight.dims != ROWS_COLUMNS:
        return lost("a window slides over a map laid out in another way", sight.context)
    kernels = _pair(kernel)
    strides = _pair(stride, kernels[0]) if stride else kernels
    paddings, dilations = _pair(padding), _pair(dilation)
    new = [
        axis.window(kernels[index], strides[index], paddings[index], dilations[index])
        for index, axis in enumerate(_axes(sight))
    ]
    return _with_axes(sight, new[0], new[1])


def _convolution(call: Call) -> Sight:
    weight: Tensor = call.args[1]
    _, _, _, stride, padding, dilation, is_transposed = call.args[:7]
    sight = call.sight
    if not sight.is_local:
        return sight
    if weight.ndim != 4:
        return lost("a convolution along one dimension", sight.context)
    if not is_transposed:
        return _windowed(sight, weight.shape[2:], stride, padding, dilation)
    strides, paddings, dilations = _pair(stride), _pair(padding), _pair(dilation)
    new = [
        axis.transposed(weight.shape[2 + index], strides[index], paddings[index], dilations[index])
        for index, axis in enumerate(_axes(sight))
    ]
    return _with_axes(sight, new[0], new[1])


def _max_pool(call: Call) -> Sight:
    return _windowed(call.sight, call.args[1], call.argument(2, []), call.argument(3, 0), call.argument(4, 1))


def _average_pool(call: Call) -> Sight:
    return _windowed(call.sight, call.args[1], call.argument(2, []), call.argument(3, 0), 1)


def _adaptive_pool(call: Call) -> Sight:
    old, new = call.tensor.shape[-2:], call.result.shape[-2:]
    if old == new:
        return call.sight
    if all(before % after == 0 for before, after in zip(old, new, strict=True)) and new != (1, 1):
        kernel = [before // after for before, after in zip(old, new, strict=True)]
        return _windowed(call.sight, kernel, kernel, 0, 1)
    return everything(call.sight.context or POOLING)


def _reduction(call: Call) -> Sight:
    sight = call.sight
    dims = call.argument(1, None)
    if sight.unknown or not sight.is_local:
        return sight
    ndim = call.tensor.ndim
    listed = list(range(ndim)) if dims is None or dims == [] else dims if isinstance(dims, Sequence) else [dims]
    reduced = {dim % ndim - ndim for dim in listed}
    if reduced & set(sight.dims):
        return everything(sight.context or POOLING)
    if call.argument(2, False):
        return sight
    rows, columns = (dim + sum(other > dim for other in reduced) for dim in sight.dims)
    return sight.laid(rows, columns, sight.grid)


def _layer_norm(call: Call) -> Sight:
    num_dims = len(call.args[1])
    is_over_positions = call.sight.is_local and any(dim >= -num_dims for dim in call.sight.dims)
    return call.sight.beside("the statistics of layer normalisation over the map") if is_over_positions else call.sight


def _group_norm(call: Call) -> Sight:
    return call.sight.beside("the statistics of group normalisation over the map")


def _batch_norm(call: Call) -> Sight:
    flags = [argument for argument in call.args if isinstance(argument, bool)]
    if flags and flags[0] and call.operation.name != "aten._native_batch_norm_legit_no_training":
        return call.sight.beside("the statistics of normalisation over the map")
    return call.sight


def _softmax(call: Call) -> Sight:
    dim = call.args[1]
    dim = dim - call.tensor.ndim if dim >= 0 else dim
    return everything(ATTENTION) if call.sight.is_local and dim in call.sight.dims else call.sight


def _matrix_product(call: Call) -> Sight:
    left, right = call.args[-2:] if call.operation.name in ("aten.mm", "aten.bmm") else call.args[1:3]
    sights = call.sight_of(left), call.sight_of(right)
    known = [sight for sight in sights if sight is not None]
    unknown = next((sight for sight in known if sight.unknown), None)
    if unknown is not None:
        return unknown
    if len(known) > 1:
        return everything(ATTENTION)
    for sight, contracted in zip(sights, (-1, -2), strict=True):
        if sight is not None and sight.is_local and contracted in sight.dims:
            return everything(sight.context or MIXING)
    return known[0]


def _attention(call: Call) -> Sight:
    unknown = next((sight for _, sight in _local(call) if sight.unknown), None)
    return unknown or everything(ATTENTION)


def _view(call: Call) -> Sight:
    sight = call.sight
    return viewed(sight, list(call.tensor.shape), list(call.result.shape)) if sight.is_local else sight


def _permuted(sight: Sight, order: Sequence[int]) -> Sight:
    """Follow `permute`: the new dimension i is the old `order[i]`."""
    if not sight.is_local:
        return sight
    ndim = len(order)
    where = {old % ndim - ndim: new - ndim for new, old in enumerate(order)}
    return sight.laid(where[sight.dims[0]], where[sight.dims[1]], sight.grid)


def _permute(call: Call) -> Sight:
    return _permuted(call.sight, call.args[1])


def _transpose(call: Call) -> Sight:
    order = list(range(call.tensor.ndim))
    one, other = call.argument(1, 0), call.argument(2, min(1, len(order) - 1))
    order[one], order[other] = order[other], order[one]
    return _permuted(call.sight, order)


def _unsqueeze(call: Call) -> Sight:
    sight, dim = call.sight, call.args[1]
    dim = dim - call.result.ndim if dim >= 0 else dim
    if not sight.is_local:
        return sight
    rows, columns = (old if old > dim else old - 1 for old in sight.dims)
    return sight.laid(rows, columns, sight.grid)


def _select(call: Call) -> Sight:
    sight, ndim = call.sight, call.tensor.ndim
    dim = call.args[1] % ndim - ndim
    if not sight.is_local:
        return sight
    if dim in sight.dims:
        return everything(sight.context) if sight.context else lost("single positions are picked out")
    rows, columns = (old if old > dim else old + 1 for old in sight.dims)
    return sight.laid(rows, columns, sight.grid)


def _slice(call: Call) -> Sight:
    sight, ndim = call.sight, call.tensor.ndim
    dim = call.argument(1, 0) % ndim - ndim
    start, step = call.argument(2, None) or 0, call.argument(4, 1)
    if not sight.is_local or dim not in sight.dims:
        return sight
    if sight.is_flat:  # the tokens before those of the image are cut off, or one of them is picked out
        return sight.laid(*sight.dims) if call.result.shape[dim] > 1 else everything(sight.context)
    start = start if start >= 0 else start + call.tensor.shape[dim]
    new = [
        axis.moved(start).every(step) if own == dim else axis
        for own, axis in zip(sight.dims, _axes(sight), strict=True)
    ]
    return _with_axes(sight, new[0], new[1])


def _padding(call: Call) -> Sight:
    sight, amounts = call.sight, list(call.args[1])
    if not sight.is_local:
        return sight
    if sight.is_flat:
        return lost("tokens are padded", sight.context)
    before = {-(index // 2) - 1: amount for index, amount in enumerate(amounts) if index % 2 == 0}
    rows, columns = (axis.moved(-before.get(dim, 0)) for dim, axis in zip(sight.dims, _axes(sight), strict=True))
    return _with_axes(sight, rows, columns)


def _join(call: Call) -> Sight:
    pairs = _local(call)
    dim = call.argument(1, 0)
    dim = dim - call.result.ndim if dim >= 0 else dim
    if any(sight.is_local and dim in sight.dims and not sight.is_flat for _, sight in pairs):
        return lost("maps are joined side by side")
    return joined([sight.laid(*sight.dims) if dim in sight.dims else sight for _, sight in pairs])


def _resize(call: Call) -> Sight:
    sight = call.sight
    kind = next((kind for kind in NEIGHBOURS if kind in call.operation.name), None)
    if not sight.is_local or sight.dims != ROWS_COLUMNS or kind is None:
        return sight if not sight.is_local else lost("a map is resampled", sight.context)
    factors = [
        Fraction(int(new), int(old)) for new, old in zip(call.result.shape[-2:], call.tensor.shape[-2:], strict=True)
    ]
    rows, columns = (
        axis.enlarged(factor, NEIGHBOURS[kind]) for axis, factor in zip(_axes(sight), factors, strict=True)
    )
    return _with_axes(sight, rows, columns)


def _split(call: Call, name: str) -> Sight:
    sight, ndim = call.sight, call.tensor.ndim
    position = 1 if name in ("unbind", "unsafe_chunk") else 2
    dim = call.argument(position, call.operation.kwargs.get("dim", 0)) % ndim - ndim
    if not sight.is_local:
        return sight
    if dim in sight.dims:
        return lost("the map is cut into windows", sight.context)
    if name != "unbind":
        return sight
    rows, columns = (old if old > dim else old + 1 for old in sight.dims)
    return sight.laid(rows, columns, sight.grid)


def _moved_about(call: Call) -> Sight:
    return lost(f"{call.operation.name} moves positions about", call.sight.context)


SPLITS = ("split", "split_with_sizes", "chunk", "unsafe_split", "unbind")
RULES: dict[str, Callable[[Call], Sight]] = {
    "convolution": _convolution,
    "max_pool2d_with_indices": _max_pool,
    "max_pool2d": _max_pool,
    "avg_pool2d": _average_pool,
    "_adaptive_avg_pool2d": _adaptive_pool,
    "adaptive_max_pool2d": _adaptive_pool,
    **dict.fromkeys(("mean", "sum", "amax", "amin", "max", "var", "std", "linalg_vector_norm", "norm"), _reduction),
    "native_layer_norm": _layer_norm,
    "native_group_norm": _group_norm,
    **dict.fromkeys(
        ("native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training", "cudnn_batch_norm"),
        _batch_norm,
    ),
    **dict.fromkeys(("_softmax", "_safe_softmax", "_log_softmax"), _softmax),
    **dict.fromkeys(("mm", "bmm", "addmm", "baddbmm"), _matrix_product),
    **dict.fromkeys(
        (
            "_scaled_dot_product_flash_attention_for_cpu",
            "_scaled_dot_product_flash_attention",
            "_scaled_dot_product_efficient_attention",
            "_scaled_dot_product_cudnn_attention",
        ),
        _attention,
    ),
    **dict.fromkeys(("view", "_unsafe_view", "reshape", "_reshape_alias", "squeeze"), _view),
    "permute": _permute,
    "transpose": _transpose,
    "t": _transpose,
    "unsqueeze": _unsqueeze,
    "select": _select,
    "slice": _slice,
    "cat": _join,
    **dict.fromkeys(("constant_pad_nd", "reflection_pad2d", "replication_pad2d"), _padding),
    **dict.fromkeys(("upsample_nearest2d", "upsample_bilinear2d", "upsample_bicubic2d"), _resize),
    **dict.fromkeys(
        ("index", "gather", "roll", "flip", "index_select", "take", "scatter", "sort", "topk", "im2col", "col2im"),
        _moved_about,
    ),
}
"""By the operation's name; all others pass for pointwise."""
