"""Pad. Zeros are a movement; another constant is a fixed bias on the padded cells; edge, reflect and wrap
copy cells of the input, a Gather per axis. Negative pads remove cells, before anything is added."""

import numpy as np

from onnxpath.importer.lower.context import Context, FileNode, lowers
from onnxpath.importer.lower.rules.activation import UNBOUNDED
from onnxpath.importer.lower.rules.operands import (
    activation,
    axes,
    constant,
    constant_integers,
    integers,
    result,
    text,
)
from onnxpath.importer.lower.rules.shaping import affordable, crop, scale, select, title, zero_pad
from onnxpath.ops.quantizer import Quantization


def _pads(context: Context, node: FileNode, rank: int) -> tuple[list[int], list[int]]:
    """Begins and ends for every axis."""
    key = "paddings" if node.attribute("pads") is None and node.attribute("paddings") is not None else "pads"
    if node.attribute(key) is not None:
        listed = integers(context, node, key)
    else:
        listed = constant_integers(context, node, 1, "its pads")
        if listed is None:
            context.invalid(node, "it has no pads")
    named = constant_integers(context, node, 3, "its axes")
    along = axes(context, node, range(rank) if named is None else named, rank)
    if len(listed) != 2 * len(along):
        context.invalid(node, f"it has {len(listed)} pads for {len(along)} axes, expected two per axis")
    begin, end = [0] * rank, [0] * rank
    for position, k in enumerate(along):
        begin[k], end[k] = listed[position], listed[len(along) + position]
    return begin, end


def _value(context: Context, node: FileNode) -> float:
    found = constant(context, node, 2, "its constant value")
    if found is None:
        value = node.attribute("value", 0.0)
        if not isinstance(value, int | float):
            context.invalid(node, f"attribute value should be a number, found {value!r}")
    elif found.array.size != 1:
        context.invalid(
            node,
            f"its constant value '{node.input(2)}' has shape {list(found.array.shape)}, expected one number",
        )
    else:
        value = found.array.reshape(-1)[0]
    grid = context.codes.get(node.input(0))
    if isinstance(grid, Quantization):  # an integer that stands for a number
        value = (int(value) - grid.zero) * grid.step
    if not abs(float(value)) < UNBOUNDED / 10:
        context.refuse(
            node,
            f"it pads with {float(value):g}, an infinite bias; give the MaxPool that follows its own pads"
            " instead",
        )
    return float(value)


@lowers("Pad")
def pad(context: Context, node: FileNode) -> None:
    x, shape = activation(context, node)
    mode = text(context, node, "mode", "constant", ("constant", "reflect", "edge", "wrap"))
    begin, end = _pads(context, node, len(shape))
    kept = []
    for k, n in enumerate(shape):
        first, last = max(0, -begin[k]), n - max(0, -end[k])
        if first >= last:
            context.invalid(
                node, f"its pads {begin[k]} and {end[k]} leave nothing of axis {k}, which has {n} cells"
            )
        kept.append((k, range(first, last)))
    x = crop(context, node, x, kept)
    begin, end = [max(0, b) for b in begin], [max(0, e) for e in end]
    if mode == "constant":
        value = _value(context, node)
        x = zero_pad(context, node, x, begin, end)
        if value and (any(begin) or any(end)):
            x = scale(
                context,
                node,
                x,
                bias=context.fixed(f"{title(node)}:value", _border(context, node, x, begin, end, value)),
            )
    else:
        for k, (b, e) in enumerate(zip(begin, end, strict=True)):
            if b or e:
                x = select(context, node, x, k, _copies(context, node, context.shapes[x][k], b, e, mode))
    result(context, node, x)


def _border(
    context: Context, node: FileNode, x: str, begin: list[int], end: list[int], value: float
) -> np.ndarray:
    """`value` on the padded cells, 0 inside; axes without padding have length 1."""
    shape = context.shapes[x]
    border = np.full(
        affordable(context, node, [n if b or e else 1 for n, b, e in zip(shape, begin, end, strict=True)]),
        value,
    )
    border[
        tuple(slice(b, n - e) if b or e else slice(None) for n, b, e in zip(shape, begin, end, strict=True))
    ] = 0
    return border


def _copies(context: Context, node: FileNode, n: int, begin: int, end: int, mode: str) -> np.ndarray:
    """Which cell of an axis of length n each cell of the padded axis copies."""
    affordable(context, node, (n + begin + end,))
    cells = np.arange(-begin, n + end)
    if mode == "edge":
        return np.clip(cells, 0, n - 1)
    if mode == "wrap":
        return cells % n
    if max(begin, end) >= n:
        context.invalid(
            node, f"it reflects {max(begin, end)} cells of an axis of length {n}, at most {n - 1} can be"
        )
    return n - 1 - np.abs(n - 1 - np.abs(cells))
