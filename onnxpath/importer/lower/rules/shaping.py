"""Emitting movements: reshape, transpose, broadcast, select, pad, and the element-wise Scale, each only where
it does something.

Every function takes a canonical tensor and returns one: the same when there is nothing to do, so that two
spellings of one network come out alike.
"""

from collections.abc import Sequence
from math import prod

import numpy as np

from onnxpath.importer.lower.context import Context, FileNode
from onnxpath.importer.lower.rules.operands import LARGEST_CONSTANT, sized
from onnxpath.model.network import Parameter, Shape


def reshape(context: Context, node: FileNode, tensor: str, shape: Shape) -> str:
    own = context.shapes[tensor]
    if own == tuple(shape):
        return tensor
    if prod(own) != prod(shape):
        context.invalid(
            node, f"cannot reshape {list(own)} into {list(shape)}: the numbers of elements differ"
        )
    return context.emit(node, "Reshape", [tensor], tuple(shape))


def transpose(context: Context, node: FileNode, tensor: str, perm: Sequence[int]) -> str:
    own = context.shapes[tensor]
    if tuple(perm) == tuple(range(len(own))):
        return tensor
    return context.emit(node, "Transpose", [tensor], tuple(own[k] for k in perm), perm=tuple(perm))


def broadcast(context: Context, node: FileNode, tensor: str, shape: Shape) -> str:
    """Repeat to `shape`, as numpy broadcasting does."""
    own = context.shapes[tensor]
    if own == tuple(shape):
        return tensor
    raised = (1,) * (len(shape) - len(own)) + own
    if len(raised) != len(shape) or any(n not in (1, m) for n, m in zip(raised, shape, strict=True)):
        context.invalid(node, f"cannot broadcast {list(own)} to {list(shape)}")
    tensor = reshape(context, node, tensor, raised)
    if raised == tuple(shape):
        return tensor
    return context.emit(node, "Expand", [tensor], sized(context, node, shape))


def common_shape(context: Context, node: FileNode, shapes: Sequence[Shape]) -> Shape:
    """The shape that numpy broadcasting gives to all of them."""
    rank = max(len(shape) for shape in shapes)
    raised = [(1,) * (rank - len(shape)) + tuple(shape) for shape in shapes]
    found = []
    for lengths in zip(*raised, strict=True):
        distinct = {n for n in lengths if n != 1}
        if len(distinct) > 1:
            context.invalid(
                node, f"its operands of shapes {', '.join(str(list(s)) for s in shapes)} do not broadcast"
            )
        found.append(distinct.pop() if distinct else 1)
    return sized(context, node, found)


def crop(context: Context, node: FileNode, tensor: str, ranges: Sequence[tuple[int, range]]) -> str:
    """Slice: the cells of each axis that its range (of step 1 or more) counts."""
    shape = list(context.shapes[tensor])
    kept = [(axis, cells) for axis, cells in ranges if cells != range(shape[axis])]
    if not kept:
        return tensor
    for axis, cells in kept:
        shape[axis] = len(cells)
    return context.emit(
        node, "Slice", [tensor], sized(context, node, shape),
        axes=tuple(axis for axis, _ in kept), starts=tuple(cells[0] for _, cells in kept),
        stops=tuple(cells[-1] + 1 for _, cells in kept),
        steps=tuple(cells.step if len(cells) > 1 else 1 for _, cells in kept),
    )  # fmt: skip


def select(context: Context, node: FileNode, tensor: str, axis: int, indices: np.ndarray) -> str:
    """The cells of one axis at these indices (non-negative, in range): a Slice where they form a progression,
    else a Gather."""
    shape = list(context.shapes[tensor])
    indices = np.asarray(indices, np.int64).reshape(-1)
    shape[axis] = indices.size
    sized(context, node, shape)
    if indices.size == 1:
        return crop(context, node, tensor, [(axis, range(int(indices[0]), int(indices[0]) + 1))])
    steps = np.diff(indices)
    if steps[0] > 0 and np.all(steps == steps[0]):
        step = int(steps[0])
        return crop(context, node, tensor, [(axis, range(int(indices[0]), int(indices[-1]) + 1, step))])
    return context.emit(node, "Gather", [tensor], tuple(shape), axis=axis, indices=indices)


def zero_pad(context: Context, node: FileNode, tensor: str, begin: Sequence[int], end: Sequence[int]) -> str:
    if not any(begin) and not any(end):
        return tensor
    shape = sized(
        context, node, (n + b + e for n, b, e in zip(context.shapes[tensor], begin, end, strict=True))
    )
    return context.emit(node, "Pad", [tensor], shape, pads=(*begin, *end))


def affordable(context: Context, node: FileNode, shape: Sequence[int]) -> Shape:
    """The shape of a coefficient or an index list of 8 bytes each that a rule is about to build."""
    shape = sized(context, node, shape, LARGEST_CONSTANT)
    context.budget.hold(8 * prod(shape), f"{context.label(node)}: a coefficient of shape {list(shape)}")
    return shape


def scale(
    context: Context,
    node: FileNode,
    tensor: str,
    weight: Parameter | None = None,
    bias: Parameter | None = None,
) -> str:
    """weight * x + bias; both have the rank of x already and do not enlarge it."""
    return context.emit(node, "Scale", [tensor], context.shapes[tensor], weight=weight, bias=bias)


def multiple(context: Context, node: FileNode, tensor: str, factor: float) -> str:
    """x times a number that belongs to the architecture."""
    if factor == 1:
        return tensor
    rank = len(context.shapes[tensor])
    return scale(context, node, tensor, context.fixed(f"{title(node)}:factor", np.full((1,) * rank, factor)))


def title(node: FileNode) -> str:
    return node.name or node.outputs[0]


def with_rank(array: np.ndarray, rank: int) -> np.ndarray:
    """A view with leading axes of length 1 added, or removed, to reach `rank`."""
    excess = array.ndim - rank
    return array.reshape(array.shape[excess:] if excess > 0 else (1,) * -excess + array.shape)
