"""The canonical operators, one file each, found by name in `OPERATORS`. See docs/operators.md to add one."""

from onnxpath.model.network import Node
from onnxpath.ops import (
    activation,
    add,
    concat,
    conv,
    conv_transpose,
    expand,
    gather,
    matmul,
    max_pool,
    maximum,
    pad,
    prelu,
    quantizer,
    reduce_max,
    reduce_sum,
    relu,
    reshape,
    scale,
    slice,
    sum_pool,
    transpose,
    unfold,
)
from onnxpath.ops.operator import Operator

_MODULES = (
    conv, conv_transpose, matmul, scale, relu, max_pool, reduce_max, maximum, add, sum_pool, reduce_sum,
    concat, slice, reshape, transpose, gather, pad, expand, activation, prelu, quantizer, unfold,
)  # fmt: skip

OPERATORS: dict[str, Operator] = {module.OPERATOR.name: module.OPERATOR for module in _MODULES}


def nonlinear(node: Node) -> bool:
    """Whether a node is a function of one number, and no linear one: a walk over boxes needs lines there."""
    return OPERATORS[node.op].kind in ("relu", "activation", "quantizer")
