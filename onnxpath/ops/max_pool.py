"""MaxPool: y[p] = max over the window at p. Padding is −∞: a padded cell is no antecedent of the neuron.

In the paper's model a window is a 1-max-pool neuron with edges of weight 1; the absolute passes replace it by
the sum over the window (`total`), and its adjoint is that of the sum.
"""

from math import prod

import numpy as np

from onnxpath.model.network import Site
from onnxpath.ops import edges, norms
from onnxpath.ops.graph import Graph
from onnxpath.ops.operator import Operator, always
from onnxpath.ops.spelling import adjoint_sum_pool, inside, pad, routed_max_pool, sum_pool


def window(site: Site) -> dict:
    return {key: site[key] for key in ("kernel", "strides", "dilations", "pads")}


def _emit(g: Graph, site: Site, inputs: list[str]) -> str:
    x, pads, kernel = inputs[0], site["pads"], site["kernel"]
    if any(p >= k for p, k in zip(pads, kernel * 2, strict=True)):
        # ONNX Runtime wants pads smaller than the kernel; dilation and ceil_mode can need more.
        x, pads = pad(g, x, pads, value=float(np.finfo(g.dtype).min)), (0,) * len(pads)
    return g.op(
        "MaxPool",
        [x],
        kernel_shape=list(kernel),
        strides=list(site["strides"]),
        dilations=list(site["dilations"]),
        pads=list(pads),
    )


def total(g: Graph, site: Site, inputs: list[str]) -> str:
    return sum_pool(g, inputs[0], site.output_shape[2:], **window(site))


def adjoint(g: Graph, site: Site, cotangent: str, index: int, weight: str | None = None) -> str:
    channels, spatial = site.output_shape[1], site.output_shape[2:]
    return adjoint_sum_pool(g, cotangent, channels, spatial, site.input_shapes[0][2:], **window(site))


def _routed(g: Graph, site: Site, cotangent: str, index: int, inputs: list[str], output: str) -> str:
    channels, out = site.output_shape[1], site.output_shape[2:]
    return routed_max_pool(
        g, cotangent, inputs[0], output, channels, site.input_shapes[0][2:], out, **window(site)
    )


def image(site: Site, arrays: list[np.ndarray]) -> np.ndarray:
    """Per channel: the largest over space (callers make exponents uniform over space first)."""
    array = arrays[0]
    return array.max(axis=tuple(range(2, array.ndim)), keepdims=True)


def cells(site: Site) -> int:
    return prod(site["kernel"])


def space(site: Site) -> tuple[int, ...]:
    return tuple(range(2, len(site.output_shape)))


def regular(site: Site) -> bool:
    """Whether no window reaches beyond the input."""
    return inside(site.input_shapes[0][2:], site.output_shape[2:], **window(site))


OPERATOR = Operator(
    name="MaxPool",
    kind="max",
    merges=False,
    emit=_emit,
    total=total,
    adjoints={"input": adjoint, "routed": _routed},
    terms=cells,
    fan_out=cells,
    image=image,
    norm=norms.picked(norms.windows),
    edges=edges.pool,
    mixes=space,
    regular=regular,
    keeps_batch=always,
)
