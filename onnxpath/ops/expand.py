"""Expand: repeat axes of length 1 to a constant shape of the same rank. Its adjoint sums over the repeats."""

from math import prod

import numpy as np

from onnxpath.model.network import Site
from onnxpath.ops import edges, norms
from onnxpath.ops.graph import Graph
from onnxpath.ops.operator import Operator, always


def _emit(g: Graph, site: Site, inputs: list[str]) -> str:
    return g.op("Expand", [inputs[0], g.ints(site.output_shape)])


def _adjoint(g: Graph, site: Site, cotangent: str, index: int, weight: str | None = None) -> str:
    axes = [k for k, (n, m) in enumerate(zip(site.input_shapes[0], site.output_shape, strict=True)) if n != m]
    return g.op("ReduceSum", [cotangent, g.ints(axes)], keepdims=1) if axes else cotangent


def _image(site: Site, arrays: list[np.ndarray]) -> np.ndarray:
    return arrays[0]


def _copies(site: Site) -> int:
    return prod(m for n, m in zip(site.input_shapes[0], site.output_shape, strict=True) if n != m)


OPERATOR = Operator(
    name="Expand", kind="movement", view=False,
    emit=_emit, adjoints={"input": _adjoint}, image=_image, fan_out=_copies,
    norm=norms.picked(_copies),
    edges=edges.moved(lambda site, arrays: np.broadcast_to(arrays[0], site.output_shape)), regular=always,
    keeps_batch=lambda site: site.input_shapes[0][0] == site.output_shape[0],
)  # fmt: skip
