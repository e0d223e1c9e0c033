"""Unfold: one non-negative matrix M over the cells of every channel, y[c, q] = Σ_s x[c, s] M[s, q]
(docs/theory.md, section 1).

Cells are numbered in row-major order over all spatial axes; the output has the spatial `shape`. With entries
0 and 1 it copies cells, as padding, strides and the windows of a kernel do; with fractions it averages over
them. Only condensed networks have it (onnxpath.rewrites.condense). Its adjoint is the product with M^T.
"""

import numpy as np

from onnxpath.model.network import Site
from onnxpath.ops import norms
from onnxpath.ops.graph import Graph
from onnxpath.ops.operator import Operator, Unstated, always


def _flat(g: Graph, x: str, site: Site) -> str:
    return g.op("Reshape", [x, g.ints([-1, site["matrix"].shape[0]])])


def _emit(g: Graph, site: Site, inputs: list[str]) -> str:
    product = g.op("MatMul", [_flat(g, inputs[0], site), g.constant(site["matrix"])])
    return g.op("Reshape", [product, g.ints([-1, *site.output_shape[1:]])])


def _adjoint(g: Graph, site: Site, cotangent: str, index: int, weight: str | None = None) -> str:
    flat = g.op("Reshape", [cotangent, g.ints([-1, site["matrix"].shape[1]])])
    product = g.op("Gemm", [flat, g.constant(site["matrix"])], transB=1)
    return g.op("Reshape", [product, g.ints([-1, *site.input_shapes[0][1:]])])


def _image(site: Site, arrays: list[np.ndarray]) -> np.ndarray:
    """Per channel: the largest over space (callers make exponents uniform over space first)."""
    array = arrays[0]
    return array.max(axis=tuple(range(2, array.ndim)), keepdims=True)


def terms(site: Site) -> int:
    """The largest number of cells that meet in one."""
    return max(1, int(np.count_nonzero(site["matrix"], axis=0).max(initial=1)))


def spread(site: Site) -> int:
    """The largest number of cells that one cell is copied to."""
    return max(1, int(np.count_nonzero(site["matrix"], axis=1).max(initial=1)))


def gain(site: Site) -> float:
    """The largest sum of a column: how much larger than every cell a result can be."""
    return max(1.0, float(site["matrix"].sum(axis=0).max(initial=1.0)))


def _sums(site: Site) -> tuple[float, float]:
    """The largest sums over what enters one cell, and over what leaves one."""
    entering, leaving = (float(site["matrix"].sum(axis=axis).max(initial=0.0)) for axis in (0, 1))
    return entering, leaving


OPERATOR = Operator(
    name="Unfold", kind="sum", merges=False, emit=_emit, adjoints={"input": _adjoint}, terms=terms,
    fan_out=lambda site: spread(site) + 1, image=_image,
    gain=gain, norm=norms.linear(_sums), mixes=lambda site: tuple(range(2, len(site.output_shape))),
    keeps_batch=always,
    # condensed networks are for absolute passes: nothing asks for their neurons one by one
    edges=Unstated("Unfold", "edges"), regular=Unstated("Unfold", "regular"),
)  # fmt: skip
