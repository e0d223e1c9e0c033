"""Concat and Split. A constant among the operands of a Concat is a bias: the activations are padded with
zeros at its place and the constant is added there."""

import numpy as np

from onnxpath.importer.lower.context import Context, FileNode, lowers
from onnxpath.importer.lower.rules.operands import activation, axis, integer, listed, operand, result, sized
from onnxpath.importer.lower.rules.shaping import affordable, crop, scale, title, zero_pad
from onnxpath.model.network import Parameter


@lowers("Concat")
def concat(context: Context, node: FileNode) -> None:
    names = [operand(context, node, k) for k in range(len(node.inputs))]
    shapes = [tuple(context.shape(name)) for name in names]
    rank = len(shapes[0])
    along = axis(context, node, integer(context, node, "axis", 1 if context.opset < 4 else None), rank)
    if any(
        s[:along] + s[along + 1 :] != shapes[0][:along] + shapes[0][along + 1 :] or len(s) != rank
        for s in shapes
    ):
        context.invalid(
            node, f"shapes {', '.join(str(list(s)) for s in shapes)} cannot be joined along axis {along}"
        )
    out = sized(
        context, node, (sum(s[along] for s in shapes) if k == along else n for k, n in enumerate(shapes[0]))
    )
    starts = np.cumsum([0] + [s[along] for s in shapes])
    moving = [k for k, name in enumerate(names) if context.constant(name) is None]
    parts = []
    for position, k in enumerate(moving):
        # constants before the first activation pad its begin; those after an activation pad its end
        begin, end = [0] * rank, [0] * rank
        begin[along] = int(starts[k]) if position == 0 else 0
        end[along] = int(
            (starts[moving[position + 1]] if position + 1 < len(moving) else starts[-1]) - starts[k + 1]
        )
        parts.append(zero_pad(context, node, context.tensor(names[k]), begin, end))
    y = parts[0] if len(parts) == 1 else context.emit(node, "Concat", parts, out, axis=along)
    held = [k for k in range(len(names)) if k not in moving]
    if any(np.any(context.constants[names[k]].array) for k in held):
        bias = np.zeros(
            affordable(context, node, out), np.result_type(*(context.constants[names[k]].array for k in held))
        )
        for k in held:
            bias[(slice(None),) * along + (slice(starts[k], starts[k + 1]),)] = context.constants[
                names[k]
            ].array
        if bias.dtype not in (np.float32, np.float64):
            bias = bias.astype(np.float64)
        sources = tuple(
            dict.fromkeys(s for k in held for s in context.constants[names[k]].sources or (names[k],))
        )
        y = scale(context, node, y, bias=Parameter(f"{title(node)}:constant", bias, sources=sources))
    result(context, node, y)


def _split_sizes(context: Context, node: FileNode, length: int) -> tuple[int, ...]:
    """From `split` (attribute or input), else `num_outputs` or as many equal parts as there are outputs, the
    last one smaller."""
    count = len(node.outputs)
    sizes = listed(context, node, "split", 1)
    if sizes is None:
        parts = integer(context, node, "num_outputs", count, low=1)
        size = -(-length // parts)
        sizes = tuple(min(size, length - k * size) for k in range(parts)) if parts == count else ()
    if len(sizes) != count or sum(sizes) != length or any(n < 0 for n in sizes):
        context.invalid(
            node, f"cannot split an axis of length {length} into {count} outputs of lengths {list(sizes)}"
        )
    return sizes


@lowers("Split")
def split(context: Context, node: FileNode) -> None:
    x, shape = activation(context, node)
    along = axis(context, node, integer(context, node, "axis", 0), len(shape))
    start = 0
    for name, size in zip(node.outputs, _split_sizes(context, node, shape[along]), strict=True):
        if name:
            context.bind(name, crop(context, node, x, [(along, range(start, start + size))]))
        start += size
