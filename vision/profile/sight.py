"""What the features of a tensor see of the image, and where in the tensor its rows and columns lie."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

from vision.profile.axis import Axis

ROWS_COLUMNS = (-2, -1)


@dataclass(frozen=True, slots=True)
class Sight:
    """Receptive field of every position of a tensor."""

    rows: Axis | None
    """Down the image; None = the tensor has no positions left, or they cannot be followed."""
    columns: Axis | None
    """Across the image; None together with `rows`."""
    dims: tuple[int, int] = ROWS_COLUMNS
    """The tensor's dimensions of rows and columns, negative; the same one twice where they are flattened to tokens."""
    grid: tuple[int, int] | None = None
    """(rows, columns) of flattened tokens, while they are whole."""
    context: str = ""
    """Why every position sees the whole image as well, as through squeeze and excitation; empty = it does not."""
    unknown: str = ""
    """Why the positions could not be followed; empty = they were."""

    @property
    def is_local(self) -> bool:
        """Whether positions look at a place in the image."""
        return self.rows is not None

    @property
    def is_flat(self) -> bool:
        """Whether rows and columns share one dimension."""
        return self.dims[0] == self.dims[1]

    def beside(self, context: str) -> "Sight":
        """See the whole image besides, for that reason; an earlier reason stands."""
        return replace(self, context=self.context or context)

    def laid(self, rows: int, columns: int, grid: tuple[int, int] | None = None) -> "Sight":
        """Lie along other dimensions of the tensor."""
        return replace(self, dims=(rows, columns), grid=grid)


def everything(reason: str) -> Sight:
    """See the whole image and nothing in particular."""
    return Sight(None, None, context=reason)


def lost(reason: str, context: str = "") -> Sight:
    """Have positions that cannot be followed any further."""
    return Sight(None, None, context=context, unknown=reason)


def joined(sights: Sequence[Sight]) -> Sight:
    """See what any of several tensors sees, when they meet position by position.

    Args:
        sights: at least one.
    """
    context = next((sight.context for sight in sights if sight.context), "")
    unknown = next((sight.unknown for sight in sights if sight.unknown), "")
    local = [sight for sight in sights if sight.is_local]
    if unknown:
        return lost(unknown, context)
    if not local:
        return everything(context)
    result = local[0]
    for sight in local[1:]:
        assert result.rows and result.columns and sight.rows and sight.columns
        rows, columns = result.rows.joined(sight.rows), result.columns.joined(sight.columns)
        if rows is None or columns is None or sight.dims != result.dims:
            return lost("maps of different strides or layouts meet", context)
        result = replace(result, rows=rows, columns=columns)
    return replace(result, context=context)


def viewed(sight: Sight, old: Sequence[int], new: Sequence[int]) -> Sight:
    """Follow rows and columns from a tensor of shape `old` to the same numbers in shape `new`."""
    nearest = min(sight.dims)
    if list(old[nearest:]) == list(new[nearest:]) and len(new) >= -nearest:
        return sight
    rows, columns = (dim + len(old) for dim in sight.dims)
    if sight.is_flat:
        return _viewed_tokens(sight, rows, old, new)
    places = []
    for dim in (rows, columns):
        before, after = _group_of(dim, old, new)
        if old[dim] > 1 and [part for part in before if part not in (rows, columns)]:
            return everything("the map is flattened") if len(after) <= 1 else lost("the map is cut into windows")
        places.append((before, after))
    (first, first_after), (second, second_after) = places
    if old[rows] == 1 or old[columns] == 1:
        return everything("the map is flattened")
    if first == second and len(first_after) == 1:
        dim = first_after[0] - len(new)
        return sight.laid(dim, dim, grid=(old[rows], old[columns]))
    if len(first_after) == 1 and len(second_after) == 1 and first != second:
        return sight.laid(first_after[0] - len(new), second_after[0] - len(new))
    return lost("the map is cut into windows")


def _viewed_tokens(sight: Sight, dim: int, old: Sequence[int], new: Sequence[int]) -> Sight:
    before, after = _group_of(dim, old, new)
    if before == [dim] and len(after) == 1:
        return sight.laid(after[0] - len(new), after[0] - len(new), sight.grid)
    if before == [dim] and sight.grid and [new[part] for part in after] == list(sight.grid):
        return sight.laid(after[0] - len(new), after[1] - len(new))
    if len(after) == 1:
        return everything("the map is flattened")
    return lost("the map is cut into windows")


def _group_of(dim: int, old: Sequence[int], new: Sequence[int]) -> tuple[list[int], list[int]]:
    """Find the smallest runs of dimensions around `dim` that hold the same numbers in both shapes; without ones."""
    left = [index for index, size in enumerate(old) if size != 1]
    right = [index for index, size in enumerate(new) if size != 1]
    while left and right:
        before, after = [left.pop(0)], [right.pop(0)]
        while prod(old[index] for index in before) != prod(new[index] for index in after):
            if prod(old[index] for index in before) < prod(new[index] for index in after):
                before.append(left.pop(0))
            else:
                after.append(right.pop(0))
        if dim in before:
            return before, after
    return [dim], []
