"""ReduceMax, ReduceSum and ReduceMean (a sum and the fixed factor 1/count).

`axes` is an attribute or, in newer opsets, an input; no axes means all of them, or none with
noop_with_empty_axes. keepdims=0 reshapes afterwards.
"""

from math import prod

from onnxpath.importer.lower.context import Context, FileNode, lowers
from onnxpath.importer.lower.rules.operands import activation, axes, integer, listed, result
from onnxpath.importer.lower.rules.shaping import multiple, reshape


@lowers("ReduceMax", "ReduceSum", "ReduceMean")
def reduction(context: Context, node: FileNode) -> None:
    x, shape = activation(context, node)
    along = axes(context, node, listed(context, node, "axes", 1) or (), len(shape))
    if not along and integer(context, node, "noop_with_empty_axes", 0):
        result(context, node, x)
        return
    along = tuple(sorted(along or range(len(shape))))
    op = "ReduceMax" if node.op_type == "ReduceMax" else "ReduceSum"
    y = (
        context.emit(node, op, [x], tuple(1 if k in along else n for k, n in enumerate(shape)), axes=along)
        if along
        else x
    )
    if node.op_type == "ReduceMean":
        y = multiple(context, node, y, 1 / prod(shape[k] for k in along))
    if not integer(context, node, "keepdims", 1):
        y = reshape(context, node, y, tuple(n for k, n in enumerate(shape) if k not in along))
    result(context, node, y)
