"""Conv and ConvTranspose with a constant kernel, over 1 to 3 spatial axes.

Conv: y[o, p] = Σ_i Σ_k W[o, i, k] x[i, s p + d k - b] + B[o]. ConvTranspose is the adjoint of a convolution:
input cell p reaches the output cells s p + d k - b, so that n cells reach (n - 1) s + d (k - 1) + 1 cells, of
which `pads` are cut off and to which `output_padding` adds cells that only the bias reaches. `output_shape`
and `auto_pad` SAME (n s cells, if that many are reached) fix the size and derive the pads.
"""

import numpy as np

from onnxpath.importer.lower.context import Constant, Context, FileNode, lowers
from onnxpath.importer.lower.rules.geometry import AUTO_PADS, spatial_rank, windows
from onnxpath.importer.lower.rules.operands import (
    LARGEST_CONSTANT,
    activation,
    constant,
    integer,
    integers,
    operand,
    result,
    sized,
    text,
)
from onnxpath.model.network import Parameter, Shape


def _kernel(context: Context, node: FileNode, shape: Shape) -> tuple[Constant, int]:
    """The weight and the number of groups, checked against each other and against the input's rank."""
    operand(context, node, 1)
    weight = context.constant(node.inputs[1])
    if weight is None:
        context.refuse(
            node,
            f"its kernel '{node.inputs[1]}' depends on the network's input: a product of two activations",
        )
    group = integer(context, node, "group", 1, low=1)
    if weight.array.ndim != len(shape) or 0 in weight.array.shape:
        context.invalid(
            node, f"kernel of shape {list(weight.array.shape)} for an input of shape {list(shape)}"
        )
    if node.attribute("kernel_shape") is not None:
        declared = integers(context, node, "kernel_shape")
        if declared != weight.array.shape[2:]:
            context.invalid(
                node,
                f"kernel_shape is {list(declared)}, its weight '{node.inputs[1]}' has"
                f" {list(weight.array.shape)}",
            )
    return weight, group


def _bias(context: Context, node: FileNode, channels: int) -> Parameter | None:
    bias = constant(context, node, 2, "its bias")
    if bias is None:
        return None
    if bias.array.shape != (channels,):
        context.invalid(
            node, f"bias '{node.inputs[2]}' has shape {list(bias.array.shape)}, expected [{channels}]"
        )
    return context.parameter(node.inputs[2], bias)


@lowers("Conv")
def convolution(context: Context, node: FileNode) -> None:
    x, shape = activation(context, node)
    spatial_rank(context, node, shape)
    weight, group = _kernel(context, node, shape)
    channels, per_group = weight.array.shape[:2]
    if per_group * group != shape[1] or channels % group:
        context.invalid(
            node,
            f"kernel of shape {list(weight.array.shape)} in {group} groups does not fit an input of"
            f" {shape[1]} channels",
        )
    seen = windows(context, node, shape[2:], weight.array.shape[2:])
    y = context.emit(
        node, "Conv", [x], sized(context, node, (shape[0], channels, *seen.out)),
        weight=context.parameter(node.inputs[1], weight), bias=_bias(context, node, channels),
        strides=seen.strides, dilations=seen.dilations, pads=seen.pads, group=group,
    )  # fmt: skip
    result(context, node, y)


@lowers("ConvTranspose")
def transposed_convolution(context: Context, node: FileNode) -> None:
    x, shape = activation(context, node)
    rank = spatial_rank(context, node, shape)
    weight, group = _kernel(context, node, shape)
    if weight.array.shape[0] != shape[1] or shape[1] % group:
        context.invalid(
            node,
            f"kernel of shape {list(weight.array.shape)} in {group} groups does not fit an input of"
            f" {shape[1]} channels",
        )
    channels = weight.array.shape[1] * group
    strides = integers(context, node, "strides", rank, 1, low=1)
    dilations = integers(context, node, "dilations", rank, 1, low=1)
    if max(strides + dilations) > LARGEST_CONSTANT:
        context.invalid(
            node,
            f"its strides are {list(strides)}, its dilations {list(dilations)}; at most"
            f" {LARGEST_CONSTANT} can be",
        )
    kernel = weight.array.shape[2:]
    reach = tuple(
        (n - 1) * s + d * (k - 1) + 1
        for n, s, d, k in zip(shape[2:], strides, dilations, kernel, strict=True)
    )
    begin, out = _transposed_extent(context, node, shape[2:], strides, reach)
    end = tuple(max(0, r - b - o) for r, b, o in zip(reach, begin, out, strict=True))
    y = context.emit(
        node, "ConvTranspose", [x], sized(context, node, (shape[0], channels, *out)),
        weight=context.parameter(node.inputs[1], weight), bias=_bias(context, node, channels),
        strides=strides, dilations=dilations, pads=begin + end, group=group,
    )  # fmt: skip
    result(context, node, y)


def _transposed_extent(
    context: Context, node: FileNode, sizes: Shape, strides: Shape, reach: Shape
) -> tuple[Shape, Shape]:
    """The begin pads and the spatial shape of the output; the end pads follow from them."""
    rank = len(sizes)
    extra = integers(context, node, "output_padding", rank, 0, low=0)
    auto_pad = text(context, node, "auto_pad", "NOTSET", AUTO_PADS)
    full = tuple(r + p for r, p in zip(reach, extra, strict=True))
    declared = node.attribute("output_shape")
    if declared is not None and np.size(declared):
        wanted = integers(context, node, "output_shape", low=0)
        wanted = wanted[2:] if len(wanted) == rank + 2 else wanted  # some files list batch and channel too
        if len(wanted) != rank:
            context.invalid(node, f"output_shape {list(wanted)}, expected {rank} entries")
    elif auto_pad.startswith("SAME"):
        wanted = tuple(min(f, n * s) for f, n, s in zip(full, sizes, strides, strict=True))
    else:
        pads = (
            integers(context, node, "pads", 2 * rank, 0, low=0) if auto_pad == "NOTSET" else (0,) * (2 * rank)
        )
        out = (f - b - e for f, b, e in zip(full, pads[:rank], pads[rank:], strict=True))
        return pads[:rank], sized(context, node, out)
    total = [max(0, f - o) for f, o in zip(full, wanted, strict=True)]
    return tuple(t // 2 if auto_pad == "SAME_UPPER" else t - t // 2 for t in total), sized(
        context, node, wanted
    )
