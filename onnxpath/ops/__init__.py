"""The canonical operators, one file each, found by name in `OPERATORS`. See docs/operators.md to add one."""

from onnxpath.errors import MissingFactError
from onnxpath.model.network import EXTENSIONS
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

if set(EXTENSIONS) != {
    module.OPERATOR.name for module in _MODULES if module.OPERATOR.kind in ("activation", "quantizer")
}:
    raise MissingFactError(
        ", ".join(EXTENSIONS),
        "which operators are outside the paper's model: network.EXTENSIONS lists others than ops/",
    )

OPERATORS: dict[str, Operator] = {module.OPERATOR.name: module.OPERATOR for module in _MODULES}
