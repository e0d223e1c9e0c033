"""Quantizers of activations: QuantizeLinear and DequantizeLinear as one Quantizer node (ops/quantizer.py).

QuantizeLinear gives the node, whose tensor holds the numbers that the integers stand for; DequantizeLinear
with the same scale and zero point is that tensor. Between the two, integers may be moved and pooled: maxima
and positions are the same for both. A tensor whose cells all come from quantizers of the same grid is not
rounded again. Where the grid starts at 0 the quantizer does the work of a ReLU, and of the lower end of a
Clip, that exporters leave out then:

    q(x) = q(max(x, 0))     for lo = 0,

so a Relu is put before it, unless x cannot be negative or is an input of the network that was only moved.
"""

from collections.abc import Callable

import numpy as np

from onnxpath.importer.lower.context import Context, FileNode, lowers
from onnxpath.importer.lower.rules.activation import rectify
from onnxpath.importer.lower.rules.dequantizing import integer_range, is_integer_type, scales, zero_points
from onnxpath.importer.lower.rules.operands import activation, axis, constant, integer, operand, result
from onnxpath.importer.structure import qonnx
from onnxpath.model.network import Node, Shape, Site
from onnxpath.ops import OPERATORS
from onnxpath.ops.quantizer import Channels, Dynamic, Quantization

MOVES = (
    "Reshape",
    "Flatten",
    "Transpose",
    "Squeeze",
    "Unsqueeze",
    "Slice",
    "Split",
    "Gather",
    "Identity",
    "MaxPool",
    "Concat",
    "Expand",
    "DepthToSpace",
    "SpaceToDepth",
    "Pad",
)
"""Operators that take tensors of integers for the numbers that they stand for."""


def check_codes(context: Context, node: FileNode) -> None:
    """Refuse a node that computes with integers otherwise; those that only move them hand on what they stand
    for."""
    grids = [context.codes.get(name) for name in node.inputs if name and name not in context.constants]
    found = next((grid for grid in grids if grid is not None), None)
    if found is None or node.op_type == "DequantizeLinear":
        return
    name = next(name for name in node.inputs if name in context.codes)
    if node.op_type not in MOVES:
        context.refuse(
            node,
            f"it computes with the integers '{name}' of a quantizer; DequantizeLinear is expected to read"
            " them",
        )
    padded = node.op_type == "MaxPool" and node.attribute("auto_pad", b"NOTSET") not in (
        b"NOTSET",
        "NOTSET",
        b"VALID",
        "VALID",
    )
    constants = node.op_type == "Concat" and any(name in context.constants for name in node.inputs)
    if isinstance(found, Channels) and node.op_type not in ("Identity", "MaxPool"):
        context.refuse(
            node, f"it moves the integers '{name}' of a quantizer that has a scale for every channel"
        )
    if isinstance(found, Dynamic) and node.op_type == "Pad":
        context.refuse(
            node, f"it pads the integers '{name}' of a dynamic quantizer, whose zero point no file holds"
        )
    if any(grid != found for grid in grids) or constants or padded:
        context.refuse(node, f"it combines the integers '{name}' of a quantizer with others")
    context.codes.update(
        (output, found) for output in node.outputs[: None if node.op_type == "Split" else 1] if output
    )


def quantization(
    context: Context, node: FileNode, default: np.dtype | None, shape: Shape
) -> Quantization | Channels:
    """The grid of a QuantizeLinear or DequantizeLinear of an activation of that shape."""
    operand(context, node, 1)
    scale = constant(context, node, 1, "its scale")
    zero = constant(context, node, 2, "its zero point")
    assert scale is not None
    step = scales(context, node, node.inputs[1], scale.array)
    offset = None if zero is None else zero_points(context, node, node.inputs[2], zero.array, step)
    dtype = default if offset is None else offset.dtype
    assert dtype is not None
    if not is_integer_type(dtype) or dtype.itemsize > 2:
        context.refuse(
            node, f"it quantizes an activation to {dtype.name}; integers of 4 to 16 bits are supported"
        )
    zeros = np.zeros(step.shape, np.int64) if offset is None else offset.astype(np.int64)
    return grid_of(context, node, step, zeros, integer_range(dtype), shape)


def grid_of(
    context: Context, node: FileNode, step: np.ndarray, zeros: np.ndarray, limits: tuple[int, int],
    shape: Shape
) -> Quantization | Channels:  # fmt: skip
    """One grid for the whole tensor, or one per channel, for steps and zero points of one shape."""
    if step.size == 1:
        return Quantization(float(step.reshape(-1)[0]), int(zeros.reshape(-1)[0]), *limits)
    if step.ndim != 1 or integer(context, node, "block_size", 0):
        context.refuse(
            node,
            f"it quantizes an activation with scales of shape {list(step.shape)}; one scale, or one per"
            " channel, is supported",
        )
    position = axis(context, node, integer(context, node, "axis", 1), len(shape))
    if step.size != shape[position]:
        context.invalid(
            node,
            f"its scale '{node.inputs[1]}' has {step.size} entries; axis {position} of {list(shape)} has"
            f" {shape[position]}",
        )
    if position != 1:
        context.refuse(
            node,
            f"it quantizes an activation with one scale per index of axis {position}; axis 1, the channels,"
            " is supported",
        )
    pairs = zip(step.tolist(), zeros.tolist(), strict=True)
    return Channels(tuple(Quantization(float(s), int(z), *limits) for s, z in pairs), len(shape))


def _all_sources(
    context: Context, tensor: str, through: Callable[[Node], bool], holds: Callable[[Node | None], bool]
) -> bool:
    """Whether every cell of a tensor comes from nodes that `holds` is true of, by way of nodes that `through`
    is true of."""
    made = {node.output: node for node in context.nodes}
    waiting, seen = [tensor], {tensor}
    while waiting:
        node = made.get(waiting.pop())
        if holds(node):
            continue
        if node is None or not through(node):
            return False
        waiting += [name for name in node.inputs if name not in seen]
        seen.update(node.inputs)
    return True


def on_grid(context: Context, tensor: str, grid: Quantization | Channels) -> bool:
    """Every cell is a number of the grid: q changes nothing. 0 is one, so padding and ReLU keep to it."""
    kept = ("relu",) if isinstance(grid, Channels) else ("movement", "max", "relu")
    return _all_sources(
        context, tensor, lambda node: OPERATORS[node.op].kind in kept,
        lambda node: node is not None and node.op == "Quantizer" and node.attributes["quantizer"] == grid,
    )  # fmt: skip


def _positive_scale(node: Node) -> bool:
    return (
        node.op == "Scale"
        and node.bias is None
        and node.weight is not None
        and bool(np.all(node.weight.array() >= 0))
    )


def _not_negative(context: Context, tensor: str) -> bool:
    def holds(node: Node | None) -> bool:
        if node is None:
            return False
        if node.op == "Quantizer":
            return bool(np.all(node.attributes["quantizer"].lowest >= 0))
        constants = OPERATORS[node.op].constants
        if constants is None:
            return False
        one = (1,) * len(context.shapes[node.output])
        return constants(Site(node, (one,), one)).infimum >= 0

    return _all_sources(
        context,
        tensor,
        lambda node: OPERATORS[node.op].kind in ("movement", "max", "sum") or _positive_scale(node),
        holds,
    )


def _moved_input(context: Context, tensor: str) -> bool:
    return _all_sources(
        context,
        tensor,
        lambda node: OPERATORS[node.op].kind in ("movement", "quantizer"),
        lambda node: node is None,
    )


def rounded(context: Context, node: FileNode, x: str, grid: Quantization | Channels, shape: Shape) -> str:
    """The tensor behind a quantizer, and the ReLU that this stands for. Zeros are padded behind it, where a
    convolution takes them: q(0) = 0."""
    if on_grid(context, x, grid):
        return x
    padding = next((made for made in context.nodes if made.output == x and made.op == "Pad"), None)
    if padding is not None and isinstance(grid, Quantization):
        (source,) = padding.inputs
        return context.emit(
            node,
            "Pad",
            [rounded(context, node, source, grid, context.shapes[source])],
            shape,
            **padding.attributes,
        )
    if np.all(np.equal(grid.lowest, 0)) and not _not_negative(context, x) and not _moved_input(context, x):
        # one for all quantizers of a tensor, and none that the file has for others, so that it may be left
        # out again
        if x not in context.rectified:
            context.rectified[x] = rectify(context, node, x)
        x = context.rectified[x]
    return context.emit(node, "Quantizer", [x], shape, quantizer=grid)


@lowers("QuantizeLinear", quantizers=True)
def quantize(context: Context, node: FileNode) -> None:
    x, shape = activation(context, node)
    declared = integer(context, node, "output_dtype", 0)
    if declared and not node.input(2):
        context.refuse(node, "its output_dtype stands for a zero point; name the zero point")
    grid = quantization(context, node, np.dtype(np.uint8), shape)
    context.codes[node.outputs[0]] = grid
    result(context, node, rounded(context, node, x, grid, shape))


@lowers("DynamicQuantizeLinear", quantizers=True)
def quantize_dynamically(context: Context, node: FileNode) -> None:
    x, shape = activation(context, node)
    if not shape or shape[0] != 1:
        context.refuse(
            node, f"its grid depends on all {list(shape)} cells of a batch; a batch of 1 is supported"
        )
    context.codes[node.outputs[0]] = Dynamic()
    for index in (1, 2):
        context.withhold(
            node,
            index,
            "the step and zero point of a dynamic quantizer are read by what computes with its integers only",
        )
    result(context, node, context.emit(node, "Quantizer", [x], shape, quantizer=Dynamic()))
    context.dynamic[node.outputs[0]] = tuple(node.outputs[1:3])


@lowers("DequantizeLinear", quantizers=True)
def dequantize(context: Context, node: FileNode) -> None:
    x, shape = activation(context, node)
    written = context.codes.get(node.inputs[0])
    if isinstance(written, Dynamic):
        if node.inputs[1:3] != context.dynamic.get(node.inputs[0]):
            context.refuse(
                node,
                f"it reads '{node.inputs[0]}' with another scale or zero point than the dynamic quantizer"
                " that wrote it",
            )
        result(context, node, x)
        return
    if written is None:
        context.refuse(node, f"its operand '{node.inputs[0]}' is not made by QuantizeLinear")
    read = quantization(context, node, np.dtype(np.uint8), shape)
    if not node.input(2):
        read = _as_written(read, written)
    if read != written:
        if isinstance(read, Quantization) and isinstance(written, Quantization):
            context.refuse(
                node,
                f"it reads '{node.inputs[0]}' with scale {read.step:g} and zero point {read.zero}, which was"
                f" written with scale {written.step:g} and zero point {written.zero}: the numbers are other"
                " ones then, which no float twin has",
            )
        context.refuse(
            node, f"it reads '{node.inputs[0]}' with other scales or zero points than it was written with"
        )
    result(context, node, x)


def _as_written(read: Quantization | Channels, written: Quantization | Channels) -> Quantization | Channels:
    """A missing zero point is 0, of the type that was written."""
    if isinstance(read, Channels):
        grids = written.grids if isinstance(written, Channels) else (written,) * len(read.grids)
        return Channels(
            tuple(
                Quantization(own.step, 0, w.low, w.high) for own, w in zip(read.grids, grids, strict=False)
            ),
            read.rank,
        )
    return (
        Quantization(read.step, 0, written.low, written.high) if isinstance(written, Quantization) else read
    )


@lowers("Quant", quantizers=True)
def quant(context: Context, node: FileNode) -> None:
    """QONNX: quantized and dequantized by one node; scales that are not one number vary over channels."""
    x, shape = activation(context, node)
    qonnx.nearest(context, node)
    operands = [
        constant(context, node, k, what)
        for k, what in ((1, "its scale"), (2, "its zero point"), (3, "its bit width"))
    ]
    step, zeros, limits = qonnx.parameters(
        context, node, [operand.array for operand in operands if operand is not None]
    )
    if limits[1] - limits[0] >= 1 << 16:
        context.refuse(
            node, f"it quantizes an activation to {limits[0]} to {limits[1]}; 16 bits or less are supported"
        )
    if step.size > 1:
        full = (1,) * (len(shape) - step.ndim) + step.shape
        if len(full) < 2 or full != (1, shape[1], *(1,) * (len(shape) - 2)):
            context.refuse(
                node,
                f"it quantizes an activation of shape {list(shape)} with scales of shape {list(step.shape)};"
                " one, or one per channel, is supported",
            )
        step, zeros = step.reshape(-1), zeros.reshape(-1)
    result(
        context, node, rounded(context, node, x, grid_of(context, node, step, zeros, limits, shape), shape)
    )
