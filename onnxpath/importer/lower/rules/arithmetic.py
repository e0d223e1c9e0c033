"""Sums, and products with a constant: Add, Sub, Sum, Mean, Mul, Div, Neg.

A constant added or subtracted is a bias, a constant factor or divisor is a weight: both are parameters of the
file. -1 (Neg, the second operand of a difference) and 1/count (Mean) belong to the architecture. Operands
broadcast as in numpy; opset 6 aligns the second operand at `axis` of the first instead. Products and
quotients of two activations are outside the model.
"""

import numpy as np

from onnxpath.importer.lower.context import Constant, Context, FileNode, lowers
from onnxpath.importer.lower.rules.matmul import PRODUCT
from onnxpath.importer.lower.rules.operands import activation, axis, integer, operand, result
from onnxpath.importer.lower.rules.shaping import (
    affordable,
    broadcast,
    common_shape,
    multiple,
    reshape,
    scale,
    title,
    with_rank,
)
from onnxpath.model.network import Parameter, Shape


def _shapes(context: Context, node: FileNode) -> list[Shape]:
    """The operands' shapes, the second one aligned as opset 6 asks for."""
    shapes = [context.shape(operand(context, node, k)) for k in range(len(node.inputs))]
    if not shapes:
        context.invalid(node, "it has no operands")
    if (
        context.opset < 7
        and len(shapes) == 2
        and node.attribute("axis") is not None
        and integer(context, node, "broadcast", 0)
    ):
        first, second = shapes
        start = axis(context, node, integer(context, node, "axis", 0), len(first)) if first else 0
        if start + len(second) > len(first):
            context.invalid(
                node, f"operand of shape {list(second)} does not fit {list(first)} at axis {start}"
            )
        shapes[1] = (1,) * start + tuple(second) + (1,) * (len(first) - start - len(second))
    return shapes


def _pair(context: Context, node: FileNode) -> list[Shape]:
    if len(node.inputs) != 2:
        context.invalid(node, f"it has {len(node.inputs)} operands, expected 2")
    return _shapes(context, node)


def _signed(parameter: Parameter, sign: float) -> Parameter:
    return parameter if sign == 1 else parameter.scaled(np.full((1,) * parameter.base.ndim, sign))


def _constants_sum(
    context: Context, node: FileNode, terms: list[tuple[str, Constant, Shape, float]], rank: int
) -> Parameter | None:
    """Σ sign * constant as one bias of that rank."""
    if not terms:
        return None
    if len(terms) == 1:
        name, constant, shape, sign = terms[0]
        return _signed(
            context.parameter(name, constant, with_rank(constant.array.reshape(shape), rank)), sign
        )
    affordable(context, node, common_shape(context, node, [shape for _, _, shape, _ in terms]))
    total = sum(
        sign * with_rank(c.array.reshape(shape), rank).astype(np.float64) for _, c, shape, sign in terms
    )
    sources = tuple(dict.fromkeys(s for name, c, _, _ in terms for s in c.sources or (name,)))
    return Parameter(f"{title(node)}:bias", np.asarray(total), sources=sources)


def combine(context: Context, node: FileNode, shapes: list[Shape], signs: list[float]) -> str:
    """Σ sign * operand."""
    out = common_shape(context, node, shapes)
    operands = list(zip(node.inputs, shapes, signs, strict=True))
    terms = [
        (name, context.constants[name], s, sign)
        for name, s, sign in operands
        if context.constant(name) is not None
    ]
    bias = _constants_sum(context, node, terms, len(out))
    moving = [(name, shape, sign) for name, shape, sign in operands if context.constant(name) is None]
    parts = []
    for name, shape, sign in moving:
        part = reshape(context, node, context.tensor(name), shape)
        if len(moving) > 1:
            part = multiple(context, node, part, sign)
        parts.append(broadcast(context, node, part, out))
    if len(parts) > 1:
        y = context.emit(node, "Add", parts, out)
        return scale(context, node, y, bias=bias) if bias is not None else y
    sign = moving[0][2]
    weight = None if sign == 1 else context.fixed(f"{title(node)}:sign", np.full((1,) * len(out), sign))
    return parts[0] if weight is None and bias is None else scale(context, node, parts[0], weight, bias)


@lowers("Add")
def add(context: Context, node: FileNode) -> None:
    result(context, node, combine(context, node, _pair(context, node), [1.0, 1.0]))


@lowers("Sub")
def subtract(context: Context, node: FileNode) -> None:
    result(context, node, combine(context, node, _pair(context, node), [1.0, -1.0]))


@lowers("Sum")
def total(context: Context, node: FileNode) -> None:
    result(context, node, combine(context, node, _shapes(context, node), [1.0] * len(node.inputs)))


@lowers("Mean")
def mean(context: Context, node: FileNode) -> None:
    y = combine(context, node, _shapes(context, node), [1.0] * len(node.inputs))
    result(context, node, multiple(context, node, y, 1 / len(node.inputs)))


@lowers("Neg")
def negate(context: Context, node: FileNode) -> None:
    x, _ = activation(context, node)
    result(context, node, multiple(context, node, x, -1.0))


@lowers("Mul", "Div")
def multiply(context: Context, node: FileNode) -> None:
    shapes = _pair(context, node)
    first, second = (context.constant(name) for name in node.inputs)
    divides, factor = node.op_type == "Div", second if first is None else first
    if factor is None:
        context.refuse(
            node, "a quotient of two activations; the divisor has to be constant" if divides else PRODUCT
        )
    if divides and second is None:
        context.refuse(
            node,
            f"it divides by '{node.inputs[1]}', which depends on the network's input; the divisor has to be"
            " constant",
        )
    side = 0 if first is not None else 1
    out = common_shape(context, node, shapes)
    array = with_rank(factor.array.reshape(shapes[side]), len(out))
    if divides:
        if not np.all(array):
            context.invalid(node, f"its divisor '{node.inputs[1]}' holds 0")
        array = 1 / array.astype(np.float64)
    x = reshape(context, node, context.tensor(node.inputs[1 - side]), shapes[1 - side])
    weight = context.parameter(node.inputs[side], factor, array)
    result(context, node, scale(context, node, broadcast(context, node, x, out), weight))


@lowers("Pow")
def power(context: Context, node: FileNode) -> None:
    exponent = context.constant(operand(context, node, 1))
    if (
        exponent is None
        or context.constant(operand(context, node, 0)) is not None
        or np.any(exponent.array != 1)
    ):
        context.refuse(node, "a power other than 1 is no linear operation; only exponent 1 is supported")
    x, shape = activation(context, node)
    result(
        context, node, broadcast(context, node, x, common_shape(context, node, [shape, exponent.array.shape]))
    )
