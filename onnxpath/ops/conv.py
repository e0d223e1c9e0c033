"""Conv: y[o, p] = Σ_i Σ_k W[o, i, k] x[i, s p + d k - pad] + b[o], over 1, 2 or 3 spatial axes, with groups.

Adjoints: of the input, the transposed convolution; of the weight, W̄[o, i, k] = Σ_p c[o, p] x[i, s p + d k -
pad], one matrix product per kernel offset; of the bias, Σ_p c[o, p].
"""

from itertools import product
from math import prod

import numpy as np

from onnxpath.model.network import Site
from onnxpath.ops import edges, norms
from onnxpath.ops.graph import Graph
from onnxpath.ops.operator import Operator, always
from onnxpath.ops.spelling import convolution, disjoint, inside, pad, transposed_convolution, windows


def attributes(site: Site) -> dict:
    return {key: site[key] for key in ("strides", "dilations", "pads", "group")}


def _single(site: Site) -> bool:
    """Whether there is one sample, and will be."""
    return not site.batched and site.output_shape[0] == 1


def _emit(
    g: Graph, site: Site, inputs: list[str], weight: str, bias: str | None = None, rows: int = 1
) -> str:
    """`rows` kernels stacked along the output axis share one pass over the input (group must be 1 then)."""
    shape = site.node.coefficients.shape
    shape = (shape[0] * rows, *shape[1:])
    return convolution(
        g,
        inputs[0],
        weight,
        bias,
        shape,
        site.input_shapes[0][2:],
        site.output_shape[2:],
        **attributes(site),
        single=_single(site),
    )


def _input_adjoint(g: Graph, site: Site, cotangent: str, index: int, weight: str) -> str:
    return transposed_convolution(
        g,
        cotangent,
        weight,
        site.node.coefficients.shape,
        site.output_shape[2:],
        site.input_shapes[0][2:],
        **attributes(site),
    )


def _rows(g: Graph, x: str, rows: int, cells: int, single: bool) -> str:
    """(N, rows, cells) -> (rows, N cells)."""
    if not single:
        x = g.op("Transpose", [g.op("Reshape", [x, g.ints([-1, rows, cells])])], perm=[1, 0, 2])
    return g.op("Reshape", [x, g.ints([rows, -1])])


def weight_adjoint(
    g: Graph, c: str, x: str, weight_shape: tuple, spatial: tuple, out: tuple,
    *, strides: tuple, dilations: tuple, pads: tuple, group: int, single: bool = False,
) -> str:  # fmt: skip
    """The cotangent of W (O, I/group, ...) of y = W * x, summed over the batch; single: a batch of one."""
    o, i, *kernel = weight_shape
    if disjoint(tuple(kernel), spatial, out, strides=strides, dilations=dilations, pads=pads, group=group):
        left, right = _rows(g, c, o, prod(out), single), _rows(g, x, i * prod(kernel), prod(out), single)
        return g.op("Reshape", [g.op("Gemm", [left, right], transB=1), g.ints([o, i, *kernel])])
    seen, count = windows(g, pad(g, x, pads), tuple(kernel), strides, dilations, out), prod(kernel)
    stacked = g.op("Concat", seen, axis=1) if count > 1 else seen[0]
    # (N, k, group, I, positions) -> (group, I k, N positions), so that the product comes out in the weight's
    # own order
    stacked = g.op("Reshape", [stacked, g.ints([0, count, group, i, -1])])
    stacked = g.op(
        "Reshape", [g.op("Transpose", [stacked], perm=[2, 3, 1, 0, 4]), g.ints([group, i * count, -1])]
    )
    left = g.op("Reshape", [c, g.ints([0, group, o // group, -1])])
    left = g.op("Reshape", [g.op("Transpose", [left], perm=[1, 2, 0, 3]), g.ints([group, o // group, -1])])
    product = g.op("MatMul", [left, g.op("Transpose", [stacked], perm=[0, 2, 1])])
    return g.op("Reshape", [product, g.ints([o, i, *kernel])])


def _weight_adjoint(g: Graph, site: Site, cotangent: str, inputs: list[str]) -> str:
    return weight_adjoint(
        g, cotangent, inputs[0], site.node.coefficients.shape, site.input_shapes[0][2:],
        site.output_shape[2:],
        **attributes(site),
        single=_single(site),
    )  # fmt: skip


def channel_sum(g: Graph, site: Site, cotangent: str) -> str:
    """Σ over the batch and space of (N, C, ...): the cotangent of a channel's bias."""
    axes = [0, *range(2, len(site.output_shape))]
    return g.op("ReduceSum", [cotangent, g.ints(axes)], keepdims=0)


def _terms(site: Site) -> int:
    return prod(site.node.coefficients.shape[1:])


def _matrix(site: Site, array: np.ndarray) -> np.ndarray:
    o, i, *kernel = array.shape
    groups = site["group"]
    flat = array.reshape(o * i, -1)
    if kernel and flat.shape[1] > 1:
        with np.errstate(over="ignore"):
            sums = flat @ np.ones(flat.shape[1], flat.dtype)
        flat = sums if np.isfinite(sums).all() else flat.sum(1, dtype=np.float64)
    return flat.reshape(groups, o // groups, i)


def groups(site: Site) -> int:
    return site["group"]


def patches(site: Site, array: np.ndarray) -> np.ndarray:
    """Of the weight (O, I/group, ...) of a convolution, or of the one that a transposed convolution
    transposes: (group, O/group, I/group, offsets)."""
    o, i, *_ = array.shape
    return array.reshape(site["group"], o // site["group"], i, -1)


def overlap(site: Site) -> float:
    return norms.overlap(site.node.coefficients.shape[2:], site["strides"], site["dilations"])


def _windows(site: Site, values: np.ndarray) -> np.ndarray:
    kernel, out, pads = site.node.coefficients.shape[2:], site.output_shape[2:], site["pads"]
    rank = len(kernel)
    padded = np.pad(values, list(zip(pads[:rank], pads[rank:], strict=True)))
    rows = []
    for offset in product(*(range(k) for k in kernel)):
        starts = [o * d for o, d in zip(offset, site["dilations"], strict=True)]
        index = tuple(
            slice(b, b + (n - 1) * s + 1, s) for b, n, s in zip(starts, out, site["strides"], strict=True)
        )
        rows.append(padded[index].reshape(-1))
    return np.stack(rows)


def _shift(site: Site, source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    groups, (o, i, *kernel) = site["group"], site.node.coefficients.shape
    ones = (1,) * len(kernel)
    rows = np.repeat(source.reshape(groups, i), o // groups, axis=0) if groups > 1 else source.reshape(1, i)
    return rows.reshape(rows.shape + ones), target.reshape((o, 1) + ones)


def _fan_out(site: Site) -> int:
    o, _, *kernel = site.node.coefficients.shape
    return o // site["group"] * prod(kernel)


def _regular(site: Site) -> bool:
    """Whether no window reaches beyond the input."""
    geometry = {key: site[key] for key in ("strides", "dilations", "pads")}
    return inside(
        site.input_shapes[0][2:], site.output_shape[2:], kernel=site.node.coefficients.shape[2:], **geometry
    )


OPERATOR = Operator(
    name="Conv",
    kind="weighted",
    groups=groups,
    layer="convolution",
    emit=_emit,
    adjoints={"input": _input_adjoint, "weight": _weight_adjoint, "bias": channel_sum},
    terms=_terms,
    fan_out=_fan_out,
    axes=lambda site: (1, 1),
    weight_axes=lambda site: (0, 1),
    matrix=_matrix,
    shift=_shift,
    patches=patches,
    overlap=overlap,
    windows=_windows,
    stack=lambda site: 0 if site["group"] == 1 else None,
    channel_bias=True,
    edges=edges.conv,
    regular=_regular,
    keeps_batch=always,
)
