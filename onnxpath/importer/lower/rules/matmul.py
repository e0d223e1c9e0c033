"""Gemm and MatMul with one constant factor.

Gemm: Y = alpha A' B' + beta C with A' = A or Aᵀ, B' = B or Bᵀ; C broadcasts to Y. The constant factor may be
    on either side. MatMul follows
numpy: leading axes broadcast, and an operand of rank 1 is a row (on the left) or a column (on the right)
    whose axis the result loses.
"""

import numpy as np

from onnxpath.importer.lower.context import Context, FileNode, lowers
from onnxpath.importer.lower.rules.operands import activation, integer, number, operand, result, sized
from onnxpath.importer.lower.rules.shaping import (
    broadcast,
    common_shape,
    multiple,
    reshape,
    transpose,
    with_rank,
)
from onnxpath.model.network import Parameter, Shape

PRODUCT = "a product of two activations; one factor has to be constant"


def _constant_side(context: Context, node: FileNode) -> int:
    """Which of the two factors is the constant one."""
    names = operand(context, node, 0), operand(context, node, 1)
    if all(context.constant(name) is None for name in names):
        context.refuse(node, PRODUCT)
    return 1 if context.constant(names[1]) is not None else 0


def _multiply(
    context: Context, node: FileNode, x: str, weight: Parameter, right: bool, bias: Parameter | None = None
) -> str:
    """x W or W x, for both of rank 2 or more."""
    shape, w = context.shapes[x], weight.shape
    left, other = (shape, w) if right else (w, shape)
    if left[-1] != other[-2]:
        context.invalid(
            node, f"cannot multiply {list(left)} by {list(other)}: {left[-1]} columns meet {other[-2]} rows"
        )
    if 0 in w:
        context.invalid(node, f"its constant factor has the empty shape {list(w)}")
    if len(w) > len(shape):
        x = reshape(context, node, x, (1,) * (len(w) - len(shape)) + shape)
    leading = common_shape(context, node, [shape[:-2], w[:-2]]) if shape[:-2] or w[:-2] else ()
    out = sized(context, node, (*leading, left[-2], other[-1]))
    return context.emit(node, "MatMul", [x], out, weight=weight, bias=bias, side="right" if right else "left")


@lowers("MatMul")
def matmul(context: Context, node: FileNode) -> None:
    side = _constant_side(context, node)
    right = side == 1
    x, shape = activation(context, node, 1 - side)
    name = node.inputs[side]
    constant = context.constants[name]
    array = constant.array
    if not shape or not array.ndim:
        context.invalid(node, "a factor is a scalar")
    final = _matmul_shape(context, node, shape, array.shape, right)
    while array.ndim > 2 and array.shape[0] == 1:
        array = array[0]
    if array.ndim == 1:
        array = array[:, None] if right else array[None, :]
    if len(shape) == 1:
        x = reshape(context, node, x, (1, *shape) if right else (*shape, 1))
    y = _multiply(context, node, x, context.parameter(name, constant, array), right)
    result(context, node, reshape(context, node, y, final))


def _matmul_shape(context: Context, node: FileNode, activation: Shape, constant: Shape, right: bool) -> Shape:
    left, other = (activation, constant) if right else (constant, activation)
    leading = common_shape(context, node, [left[:-2], other[:-2]]) if left[:-2] or other[:-2] else ()
    return (*leading, *left[-2:-1], *(other[-1:] if len(other) > 1 else ()))


@lowers("Gemm")
def gemm(context: Context, node: FileNode) -> None:
    side = _constant_side(context, node)
    flipped = [bool(integer(context, node, key, 0)) for key in ("transA", "transB")]
    alpha, beta = number(context, node, "alpha", 1.0), number(context, node, "beta", 1.0)
    x, shape = activation(context, node, 1 - side)
    name = node.inputs[side]
    constant = context.constants[name]
    if len(shape) != 2 or constant.array.ndim != 2:
        context.invalid(
            node, f"its factors have shapes {list(shape)} and {list(constant.array.shape)}, expected matrices"
        )
    weight = context.parameter(name, constant, constant.array.T if flipped[side] else constant.array)
    if alpha != 1:
        weight = weight.scaled(np.full((1, 1), alpha))
    if flipped[1 - side]:
        x = transpose(context, node, x, (1, 0))
    rows, columns = (
        (context.shapes[x][0], weight.shape[1]) if side else (weight.shape[0], context.shapes[x][1])
    )
    bias, addend = _addend(context, node, (rows, columns), beta)
    y = _multiply(context, node, x, weight, side == 1, bias)
    if addend is not None:
        addend = multiple(context, node, broadcast(context, node, addend, (rows, columns)), beta)
        y = context.emit(node, "Add", [y, addend], (rows, columns))
    result(context, node, y)


def _addend(context: Context, node: FileNode, out: Shape, beta: float) -> tuple[Parameter | None, str | None]:
    """C as a bias when it is constant, as a canonical tensor when it is not."""
    name = node.input(2)
    if not name or beta == 0:
        return None, None
    constant = context.constant(name)
    if constant is None:
        return None, activation(context, node, 2)[0]
    array = constant.array
    while array.ndim > 1 and array.shape[0] == 1:
        array = array[0]
    array = with_rank(array, max(1, array.ndim))
    if constant.array.ndim > 2 or any(
        n not in (1, m) for n, m in zip(array.shape, out[-array.ndim :], strict=True)
    ):
        context.invalid(node, f"C of shape {list(constant.array.shape)} does not broadcast to {list(out)}")
    bias = context.parameter(name, constant, array)
    return bias if beta == 1 else bias.scaled(np.full((1,) * array.ndim, beta)), None
