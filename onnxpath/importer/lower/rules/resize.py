"""Upsample and Resize: nearest is a Gather per axis, linear a product with a fixed interpolation matrix per
axis.

The output has floor(n s) cells (float32), or the sizes given, from which s = m / n follows;
`keep_aspect_ratio_policy` takes one s for all axes. Where the output has the input's shape it is the input,
whatever the scales say: that is what ONNX Runtime runs.
"""

from dataclasses import dataclass

import numpy as np

from onnxpath.importer.lower.context import Context, FileNode, lowers
from onnxpath.importer.lower.rules.interpolation import (
    COORDINATES,
    ROUNDINGS,
    F,
    coordinates,
    doubtful,
    linear,
    nearest,
)
from onnxpath.importer.lower.rules.operands import (
    activation,
    axes,
    constant,
    constant_integers,
    integer,
    integers,
    result,
    sized,
    text,
)
from onnxpath.importer.lower.rules.shaping import affordable, select, title, transpose
from onnxpath.model.network import Shape

Extent = tuple[Shape, tuple[np.float32, ...]]  # output lengths, scales


@dataclass(frozen=True)
class Plan:
    """How every axis is resized: output lengths, float32 scales, interpolation."""

    lengths: Shape
    scales: tuple[np.float32, ...]
    mode: str
    coordinate: str
    rounding: str


def _from_scales(
    context: Context, node: FileNode, shape: Shape, values: np.ndarray, along: tuple[int, ...]
) -> Extent:
    values = np.asarray(values)
    if values.dtype.kind not in "fiu" or values.ndim != 1 or len(values) != len(along):
        context.invalid(node, f"its scales have shape {list(values.shape)}, expected {len(along)} numbers")
    scales = [F(1)] * len(shape)
    for k, value in zip(along, values, strict=True):
        if not np.isfinite(value) or not F(value) > 0:
            context.invalid(node, f"its scale {value} should be a positive number")
        scales[k] = F(value)
    return tuple(int(np.floor(F(n) * s)) if s != 1 else n for n, s in zip(shape, scales, strict=True)), tuple(
        scales
    )


def _from_sizes(
    context: Context, node: FileNode, shape: Shape, sizes: tuple[int, ...], along: tuple[int, ...]
) -> Extent:
    if len(sizes) != len(along) or any(m < 1 for m in sizes):
        context.invalid(node, f"its sizes are {list(sizes)}, expected {len(along)} positive numbers")
    policy = text(
        context, node, "keep_aspect_ratio_policy", "stretch", ("stretch", "not_larger", "not_smaller")
    )
    if policy != "stretch" and any(k < 0 for k in node.attribute("axes", ())):
        # ONNX Runtime 1.31 leaves such an axis as it is, against the specification
        context.refuse(
            node,
            "runtimes disagree on negative axes with keep_aspect_ratio_policy; write them as non-negative"
            " axes",
        )
    lengths, scales = list(shape), [F(1)] * len(shape)
    ratios = [F(m) / F(shape[k]) for k, m in zip(along, sizes, strict=True)]
    common = min(ratios, default=F(1)) if policy == "not_larger" else max(ratios, default=F(1))
    for k, m, ratio in zip(along, sizes, ratios, strict=True):
        lengths[k], scales[k] = (
            (m, ratio) if policy == "stretch" else (int(np.floor(common * F(shape[k]) + F(0.5))), common)
        )
    return tuple(lengths), tuple(scales)


def apply(context: Context, node: FileNode, x: str, plan: Plan) -> str:
    sized(context, node, plan.lengths)
    if plan.lengths == context.shapes[x]:
        if any(s != 1 for s in plan.scales):
            context.notes.append(
                f"node '{title(node)}' has scales other than 1 and the shape of its input, which it returns,"
                " as in ONNX Runtime"
            )
        return x
    for axis, (m, s) in enumerate(zip(plan.lengths, plan.scales, strict=True)):
        n = context.shapes[x][axis]
        if n == m and s == 1:
            continue
        affordable(context, node, (m,))
        at = coordinates(plan.coordinate, n, m, s)
        if plan.mode == "nearest":
            if doubtful(plan.coordinate, plan.rounding, n, at, s):
                context.refuse(
                    node,
                    f"axis {axis} has a coordinate at the edge of two cells, where runtimes disagree; use"
                    " coordinate mode half_pixel",
                )
            x = select(context, node, x, axis, nearest(plan.rounding, n, m, at, s))
        else:
            affordable(context, node, (n, m))
            x = _interpolate(context, node, x, axis, linear(n, at))
    return x


def _interpolate(context: Context, node: FileNode, x: str, axis: int, matrix: np.ndarray) -> str:
    """The product of one axis with a matrix of shape (out, in)."""
    m, n = matrix.shape
    if m == n and np.array_equal(matrix, np.eye(n)):
        return x
    rank = len(context.shapes[x])
    order = [k for k in range(rank) if k != axis] + [axis]
    moved = transpose(context, node, x, order)
    if rank == 1:
        moved = context.emit(node, "Reshape", [moved], (1, n))
    weight = context.fixed(f"{title(node)}:interpolation:{axis}", matrix.T)
    moved = context.emit(
        node, "MatMul", [moved], (*context.shapes[moved][:-1], m), weight=weight, side="right"
    )
    if rank == 1:
        return context.emit(node, "Reshape", [moved], (m,))
    return transpose(context, node, moved, [int(k) for k in np.argsort(order)])


def _mode(context: Context, node: FileNode) -> str:
    mode = text(context, node, "mode", "nearest", ("nearest", "linear", "bilinear", "cubic"))
    if mode == "cubic":
        context.refuse(node, "cubic interpolation is not supported, only nearest and linear")
    return "linear" if mode == "bilinear" else mode


@lowers("Upsample")
def upsample(context: Context, node: FileNode) -> None:
    """Opsets 7 (scales as an attribute) and 9 (as an input): asymmetric coordinates."""
    x, shape = activation(context, node)
    mode = _mode(context, node)
    scales = node.attribute("scales")
    if scales is None:
        found = constant(context, node, 1, "its scales")
        if found is None:
            context.invalid(node, "it has no scales")
        scales = found.array
    lengths, scales = _from_scales(context, node, shape, np.asarray(scales), tuple(range(len(shape))))
    result(context, node, apply(context, node, x, Plan(lengths, scales, mode, "asymmetric", "simple")))


@lowers("Resize")
def resize(context: Context, node: FileNode) -> None:
    x, shape = activation(context, node)
    mode = _mode(context, node)
    old = context.opset < 11
    coordinate, rounding = "asymmetric", "simple"
    if not old:
        coordinate = text(
            context,
            node,
            "coordinate_transformation_mode",
            "half_pixel",
            (*COORDINATES, "tf_crop_and_resize"),
        )
        rounding = text(context, node, "nearest_mode", "round_prefer_floor", ROUNDINGS)
    if coordinate == "tf_crop_and_resize":
        context.refuse(
            node, "tf_crop_and_resize samples outside its input; crop with Slice and resize in another mode"
        )
    along = axes(
        context,
        node,
        integers(context, node, "axes") if node.attribute("axes") is not None else range(len(shape)),
        len(shape),
    )
    scales = constant(context, node, 1 if old else 2, "its scales")
    if scales is not None and scales.array.size:
        lengths, factors = _from_scales(context, node, shape, scales.array, along)
    else:
        sizes = None if old else constant_integers(context, node, 3, "its sizes")
        if not sizes:
            context.invalid(node, "it has neither scales nor sizes")
        lengths, factors = _from_sizes(context, node, shape, sizes, along)
    if integer(context, node, "antialias", 0) and mode == "linear" and lengths != shape:
        if any(s < 1 for s in factors):
            context.refuse(node, "downsampling with antialias=1 is not supported; export it with antialias=0")
        if any(float(s) * n != m for s, n, m in zip(factors, shape, lengths, strict=True)):
            why = (
                "where a scale is no quotient of two lengths ONNX Runtime weighs the cells at the end"
                " otherwise"
            )
            context.refuse(node, f"it has antialias=1: {why}; export it with antialias=0")
    result(context, node, apply(context, node, x, Plan(lengths, factors, mode, coordinate, rounding)))
