"""Pooling. MaxPool and GlobalMaxPool are max neurons; padded cells are no antecedents. An average is a sum
and a fixed factor:

    AveragePool(x)[o] = (Σ of the window's cells) / count[o]

where count[o] is the number of input cells in the window, or with count_include_pad the number of cells of
the padded input in it (cells that ceil_mode adds beyond the padding are never counted).
"""

from math import prod

import numpy as np

from onnxpath.importer.lower.context import Context, FileNode, lowers
from onnxpath.importer.lower.rules.geometry import Windows, spatial_rank, windows
from onnxpath.importer.lower.rules.operands import activation, integer, integers, result
from onnxpath.importer.lower.rules.shaping import affordable, multiple, scale, title


def _windows(context: Context, node: FileNode) -> tuple[str, tuple[int, ...], Windows]:
    x, shape = activation(context, node)
    rank = spatial_rank(context, node, shape)
    ceil = bool(integer(context, node, "ceil_mode", 0))
    kernel = integers(context, node, "kernel_shape", rank, low=1)
    seen = windows(context, node, shape[2:], kernel, ceil, pool=True)
    for axis in range(rank):
        affordable(context, node, (seen.out[axis],))
        if not np.all(seen.cells(axis, padded=False)):
            context.invalid(
                node,
                f"a window along spatial axis {axis} holds padding only (kernel {list(kernel)}, pads"
                f" {list(seen.pads)})",
            )
    return x, (*shape[:2], *seen.out), seen


def _pool(context: Context, node: FileNode, op: str, x: str, out: tuple[int, ...], seen: Windows) -> str:
    return context.emit(
        node, op, [x], out, kernel=seen.kernel, strides=seen.strides, dilations=seen.dilations, pads=seen.pads
    )


@lowers("MaxPool")
def max_pool(context: Context, node: FileNode) -> None:
    x, out, seen = _windows(context, node)
    context.withhold(node, 1, "the indices of a MaxPool are no neurons of the network")
    result(context, node, _pool(context, node, "MaxPool", x, out, seen))


@lowers("AveragePool")
def average_pool(context: Context, node: FileNode) -> None:
    x, out, seen = _windows(context, node)
    padded = bool(integer(context, node, "count_include_pad", 0))
    y = _pool(context, node, "SumPool", x, out, seen)
    counts = [seen.cells(axis, padded) for axis in range(len(seen.out))]
    if all(np.all(c == c[0]) for c in counts):
        y = multiple(context, node, y, 1 / prod(int(c[0]) for c in counts))
    else:
        rank = len(counts)
        affordable(context, node, seen.out)
        share = np.ones((1,) * (rank + 2))
        for axis, c in enumerate(counts):
            share = share / c.reshape([-1 if k == axis + 2 else 1 for k in range(rank + 2)])
        y = scale(context, node, y, context.fixed(f"{title(node)}:share", share))
    result(context, node, y)


@lowers("GlobalMaxPool")
def global_max_pool(context: Context, node: FileNode) -> None:
    x, shape = activation(context, node)
    spatial_rank(context, node, shape)
    axes = tuple(range(2, len(shape)))
    result(context, node, context.emit(node, "ReduceMax", [x], (*shape[:2], *(1 for _ in axes)), axes=axes))


@lowers("GlobalAveragePool")
def global_average_pool(context: Context, node: FileNode) -> None:
    x, shape = activation(context, node)
    spatial_rank(context, node, shape)
    axes = tuple(range(2, len(shape)))
    y = context.emit(node, "ReduceSum", [x], (*shape[:2], *(1 for _ in axes)), axes=axes)
    result(context, node, multiple(context, node, y, 1 / prod(shape[2:])))
