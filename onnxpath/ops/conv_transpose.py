"""ConvTranspose: the adjoint of a convolution, y[o, s p + d k - pad] = Σ_i Σ_k W[i, o, k] x[i, p] + b[o].

Its input adjoint is therefore that convolution; the weight's is W̄[i, o, k] = Σ_p x[i, p] c[o, s p + d k -
pad].
"""

from math import prod

import numpy as np

from onnxpath.model.network import Site
from onnxpath.ops import edges
from onnxpath.ops.conv import attributes, channel_sum, groups, overlap, patches, weight_adjoint
from onnxpath.ops.graph import Graph
from onnxpath.ops.operator import Operator, always
from onnxpath.ops.spelling import convolution, transposed_convolution


def _emit(g: Graph, site: Site, inputs: list[str], weight: str, bias: str | None = None) -> str:
    y = transposed_convolution(
        g,
        inputs[0],
        weight,
        site.node.coefficients.shape,
        site.input_shapes[0][2:],
        site.output_shape[2:],
        **attributes(site),
    )
    if bias:
        y = g.op("Add", [y, g.op("Reshape", [bias, g.ints([1, -1] + [1] * (len(site.output_shape) - 2))])])
    return y


def _input_adjoint(g: Graph, site: Site, cotangent: str, index: int, weight: str) -> str:
    shape, spatial = site.node.coefficients.shape, site.output_shape[2:]
    return convolution(
        g, cotangent, weight, None, shape, spatial, site.input_shapes[0][2:], **attributes(site)
    )


def _weight_adjoint(g: Graph, site: Site, cotangent: str, inputs: list[str]) -> str:
    spatial, out = site.output_shape[2:], site.input_shapes[0][2:]
    return weight_adjoint(
        g, inputs[0], cotangent, site.node.coefficients.shape, spatial, out, **attributes(site)
    )


def _terms(site: Site) -> int:
    i, _, *kernel = site.node.coefficients.shape
    reached = (
        prod(-(-k // s) for k, s in zip(kernel, site["strides"], strict=True))
        if max(site["dilations"]) == 1
        else prod(kernel)
    )
    return i // site["group"] * reached


def _matrix(site: Site, array: np.ndarray) -> np.ndarray:
    i, o, *_ = array.shape
    groups = site["group"]
    sums = array.reshape(groups, i // groups, o, -1).sum(-1, dtype=np.float64)
    return sums.transpose(0, 2, 1)


def _shift(site: Site, source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    groups, (i, o, *kernel) = site["group"], site.node.coefficients.shape
    ones = (1,) * len(kernel)
    columns = (
        np.repeat(target.reshape(groups, o), i // groups, axis=0) if groups > 1 else target.reshape(1, o)
    )
    return source.reshape((i, 1) + ones), columns.reshape(columns.shape + ones)


def _regular(site: Site) -> bool:
    """Whether windows neither overlap nor are cut: then every cell is reached by one offset of the kernel."""
    kernel, strides = site.node.coefficients.shape[2:], site["strides"]
    return tuple(kernel) == tuple(strides) and not any(site["pads"]) and max(site["dilations"]) == 1


OPERATOR = Operator(
    name="ConvTranspose",
    kind="weighted",
    groups=groups,
    layer="convolution",
    emit=_emit,
    adjoints={"input": _input_adjoint, "weight": _weight_adjoint, "bias": channel_sum},
    terms=_terms,
    fan_out=lambda site: prod(site.node.coefficients.shape[1:]),
    axes=lambda site: (1, 1),
    weight_axes=lambda site: (1, 0),
    matrix=_matrix,
    shift=_shift,
    patches=patches,
    overlap=overlap,
    channel_bias=True,
    edges=edges.conv_transpose,
    regular=_regular,
    keeps_batch=always,
)
