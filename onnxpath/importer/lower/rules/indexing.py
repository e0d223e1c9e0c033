"""Slice, Gather with constant indices, Tile and Expand: which cells of an axis are kept, or repeated."""

import numpy as np

from onnxpath.importer.lower.context import Context, FileNode, lowers
from onnxpath.importer.lower.rules.operands import (
    activation,
    axes,
    axis,
    constant_integers,
    integer,
    integers,
    listed,
    operand,
    result,
    sized,
)
from onnxpath.importer.lower.rules.shaping import affordable, broadcast, common_shape, crop, reshape, select
from onnxpath.model.network import Shape


@lowers("Slice")
def cut(context: Context, node: FileNode) -> None:
    x, shape = activation(context, node)
    starts, ends = listed(context, node, "starts", 1), listed(context, node, "ends", 2)
    if starts is None or ends is None:
        context.invalid(node, "it has no starts or no ends")
    named = listed(context, node, "axes", 3)
    steps = constant_integers(context, node, 4, "steps")
    along = axes(context, node, range(len(starts)) if named is None else named, len(shape))
    steps = (1,) * len(starts) if steps is None else steps
    if not len(starts) == len(ends) == len(along) == len(steps):
        context.invalid(
            node,
            f"{len(starts)} starts, {len(ends)} ends, {len(along)} axes and {len(steps)} steps: the lengths"
            " differ",
        )
    forward = []
    for k, start, end, step in zip(along, starts, ends, steps, strict=True):
        if step == 0:
            context.invalid(node, "a step is 0")
        cells = range(*slice(start, end, step).indices(shape[k]))
        if not cells:
            context.invalid(
                node,
                f"it keeps no cell of axis {k} (start {start}, end {end}, step {step}, length {shape[k]})",
            )
        if len(cells) == 1 or step > 0:
            forward.append((k, range(cells[0], cells[-1] + 1, max(step, 1))))
        else:
            x = select(context, node, x, k, np.arange(cells[0], cells[-1] - 1, step))
    result(context, node, crop(context, node, x, forward))


@lowers("Gather")
def gather(context: Context, node: FileNode) -> None:
    operand(context, node, 1)
    found = context.constant(node.inputs[1])
    if found is None:
        context.refuse(
            node,
            f"its indices '{node.inputs[1]}' depend on the network's input (an embedding or a data-dependent"
            " choice)",
        )
    x, shape = activation(context, node)
    along = axis(context, node, integer(context, node, "axis", 0), len(shape))
    indices = found.array
    if indices.dtype.kind not in "iu":
        context.invalid(node, f"its indices should be integers, found {indices.dtype}")
    length = shape[along]
    if indices.size == 0 or indices.min() < -length or indices.max() >= length:
        context.invalid(
            node, f"its indices '{node.inputs[1]}' are empty or out of range for an axis of length {length}"
        )
    flat = indices.astype(np.int64).reshape(-1) % length
    y = select(context, node, x, along, flat)
    result(context, node, reshape(context, node, y, (*shape[:along], *indices.shape, *shape[along + 1 :])))


def repeat(context: Context, node: FileNode, x: str, counts: Shape) -> str:
    """Every axis repeated `counts` times as a whole."""
    shape = context.shapes[x]
    sized(context, node, (n * r for n, r in zip(shape, counts, strict=True)))
    for k, (n, r) in enumerate(zip(shape, counts, strict=True)):
        if n > 1 and r > 1:
            affordable(context, node, (n * r,))
            x = select(context, node, x, k, np.tile(np.arange(n), r))
    return broadcast(context, node, x, tuple(n * r for n, r in zip(shape, counts, strict=True)))


@lowers("Tile")
def tile(context: Context, node: FileNode) -> None:
    x, shape = activation(context, node)
    counts = constant_integers(context, node, 1, "its repeats")
    if counts is None or len(counts) != len(shape) or any(r < 1 for r in counts):
        context.invalid(node, f"its repeats are {counts}, expected {len(shape)} positive numbers")
    result(context, node, repeat(context, node, x, counts))


@lowers("Expand")
def expand(context: Context, node: FileNode) -> None:
    operand(context, node, 1)
    x, shape = activation(context, node)
    target = constant_integers(context, node, 1, "its shape")
    assert target is not None
    result(
        context,
        node,
        broadcast(context, node, x, common_shape(context, node, [shape, sized(context, node, target)])),
    )


@lowers("CenterCropPad")
def center_crop_pad(context: Context, node: FileNode) -> None:
    """Cropping only: the cells of each axis around its centre."""
    x, shape = activation(context, node)
    operand(context, node, 1)
    target = constant_integers(context, node, 1, "its shape")
    assert target is not None
    along = axes(
        context,
        node,
        integers(context, node, "axes") if node.attribute("axes") is not None else range(len(shape)),
        len(shape),
    )
    if len(target) != len(along):
        context.invalid(node, f"its shape has {len(target)} entries for {len(along)} axes")
    kept = []
    for k, length in zip(along, target, strict=True):
        if not 1 <= length <= shape[k]:
            context.refuse(
                node,
                f"it pads axis {k} from {shape[k]} to {length} cells; only cropping is supported, write a Pad"
                " instead",
            )
        start = (shape[k] - length) // 2
        kept.append((k, range(start, start + length)))
    result(context, node, crop(context, node, x, kept))
