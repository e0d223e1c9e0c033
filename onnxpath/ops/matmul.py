"""MatMul with a constant: y = x W + b (side "right", contracts the last axis of x) or y = W x + b (side
"left", contracts the axis before). W may carry leading axes that broadcast against those of x.

Adjoints: of the input c Wᵀ or Wᵀ c, of the weight xᵀ c or c xᵀ, each summed over the axes that broadcasting
    repeated.
"""

from math import prod

import numpy as np

from onnxpath.model.network import Shape, Site
from onnxpath.ops import edges
from onnxpath.ops.graph import Graph
from onnxpath.ops.operator import Operator, always, once, plain


def _transposed(g: Graph, x: str, rank: int) -> str:
    return g.op("Transpose", [x], perm=[*range(rank - 2), rank - 1, rank - 2])


def reduce_to(g: Graph, x: str, shape: Shape, target: Shape, batched: bool) -> str:
    """Sum over the axes of `shape` that broadcasting made out of `target`."""
    padded = (1,) * (len(shape) - len(target)) + tuple(target)
    axes = [
        k
        for k, (n, t) in enumerate(zip(shape, padded, strict=True))
        if t == 1 and (n != 1 or (k == 0 and batched))
    ]
    if axes:
        x = g.op("ReduceSum", [x, g.ints(axes)], keepdims=1)
    return g.op("Reshape", [x, g.ints(target)])


def _emit(
    g: Graph, site: Site, inputs: list[str], weight: str, bias: str | None = None, transposed: bool = False
) -> str:
    """`transposed`: the weight is bound as Wᵀ (2-D, side "right"), as files that hold Gemm(transB=1) store
    it."""
    x = inputs[0]
    if transposed and len(site.output_shape) == 2:
        return g.op("Gemm", [x, weight] + ([bias] if bias else []), transB=1)
    if transposed:
        weight = g.op("Transpose", [weight], perm=[1, 0])
    y = g.op("MatMul", [x, weight] if site["side"] == "right" else [weight, x])
    return g.op("Add", [y, bias]) if bias else y


def _input_adjoint(
    g: Graph, site: Site, cotangent: str, index: int, weight: str, transposed: bool = False
) -> str:
    rank = len(site.node.coefficients.shape)
    if transposed and len(site.output_shape) == 2:
        return g.op("MatMul", [cotangent, weight])
    wt = weight if transposed else _transposed(g, weight, rank)
    y = g.op("MatMul", [cotangent, wt] if site["side"] == "right" else [wt, cotangent])
    shape = site.input_shapes[0]
    full = site.output_shape[:-2] + shape[-2:]
    if len(full) != len(shape):
        return reduce_to(g, y, full, shape, False)
    axes = [k for k, (n, m) in enumerate(zip(full, shape, strict=True)) if n != m]
    return g.op("ReduceSum", [y, g.ints(axes)], keepdims=1) if axes else y


def _weight_adjoint(g: Graph, site: Site, cotangent: str, inputs: list[str], transposed: bool = False) -> str:
    """`transposed`: the cotangent of Wᵀ, for a weight that is bound as that."""
    shape, out = site.input_shapes[0], site.output_shape
    target = site.node.coefficients.shape
    if len(target) == 2 and site["side"] == "right":
        rows = g.op("Reshape", [inputs[0], g.ints([-1, shape[-1]])])
        c = g.op("Reshape", [cotangent, g.ints([-1, out[-1]])])
        first, second = (c, rows) if transposed else (rows, c)
        return g.op("MatMul", [_transposed(g, first, 2), second])
    if site["side"] == "right":
        product = g.op("MatMul", [_transposed(g, inputs[0], len(shape)), cotangent])
    else:
        product = g.op("MatMul", [cotangent, _transposed(g, inputs[0], len(shape))])
    return reduce_to(g, product, (*out[:-2], *target[-2:]), target, site.batched)


def _bias_adjoint(g: Graph, site: Site, cotangent: str) -> str:
    assert site.node.bias is not None
    return reduce_to(g, cotangent, site.output_shape, site.node.bias.shape, site.batched)


def _axes(site: Site) -> tuple[int, int]:
    axis = -1 if site["side"] == "right" else -2
    return len(site.input_shapes[0]) + axis, len(site.output_shape) + axis


def _matrix(site: Site, array: np.ndarray) -> np.ndarray:
    flat = array.reshape(-1, *array.shape[-2:])
    largest = flat[0] if len(flat) == 1 else flat.max(0)
    return (largest.T if site["side"] == "right" else largest)[None]


def _shift(site: Site, source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    lead = (None,) * (len(site.node.coefficients.shape) - 2)
    if site["side"] == "right":
        return source[(*lead, slice(None), None)], target[(*lead, None, slice(None))]
    return source[(*lead, None, slice(None))], target[(*lead, slice(None), None)]


def _fan_out(site: Site) -> int:
    """Every matrix of a weight with leading axes may read the same operand."""
    shape = site.node.coefficients.shape
    return shape[_weight_axes(site)[0]] * prod(shape[:-2])


def _weight_axes(site: Site) -> tuple[int, int]:
    rank = len(site.node.coefficients.shape)
    return (rank - 1, rank - 2) if site["side"] == "right" else (rank - 2, rank - 1)


def _patches(site: Site, array: np.ndarray) -> np.ndarray:
    return array.reshape(-1, *array.shape[-2:], 1)


def _overlap(site: Site) -> float:
    """How often a weight with leading axes repeats a vector."""
    out, before = site.output_shape, site.input_shapes[0]
    return prod(out[:-2]) / prod(before[:-2]) if len(out) > 2 else 1


def _keeps_batch(site: Site) -> bool:
    rank = len(site.output_shape)
    own = site["side"] == "right" if rank == 2 else plain(site.node.weight, rank)
    return own and plain(site.node.bias, rank)


OPERATOR = Operator(
    name="MatMul",
    kind="weighted",
    groups=once,
    layer="dense",
    emit=_emit,
    adjoints={"input": _input_adjoint, "weight": _weight_adjoint, "bias": _bias_adjoint},
    terms=lambda site: site.node.coefficients.shape[_weight_axes(site)[1]],
    fan_out=_fan_out,
    axes=_axes,
    weight_axes=_weight_axes,
    matrix=_matrix,
    shift=_shift,
    patches=_patches,
    overlap=_overlap,
    channel_bias=False,
    edges=edges.matmul,
    regular=always,
    keeps_batch=_keeps_batch,
)
