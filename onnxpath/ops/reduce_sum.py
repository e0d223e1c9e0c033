"""ReduceSum: the sum over `axes`, which stay with length 1. Its adjoint repeats the cotangent along them."""

from math import prod

import numpy as np

from onnxpath.model.network import Site
from onnxpath.ops import edges, norms
from onnxpath.ops.graph import Graph
from onnxpath.ops.operator import Operator, always, once


def total(g: Graph, site: Site, inputs: list[str]) -> str:
    return g.op("ReduceSum", [inputs[0], g.ints(site["axes"])], keepdims=1)


def adjoint(g: Graph, site: Site, cotangent: str, index: int, weight: str | None = None) -> str:
    return g.op("Expand", [cotangent, g.ints(site.input_shapes[0])])


def image(site: Site, arrays: list[np.ndarray]) -> np.ndarray:
    return arrays[0].max(axis=site["axes"], keepdims=True)


def terms(site: Site) -> int:
    return prod(site.input_shapes[0][axis] for axis in site["axes"])


def mixes(site: Site) -> tuple[int, ...]:
    return tuple(site["axes"])


def keeps_batch(site: Site) -> bool:
    return 0 not in site["axes"]


OPERATOR = Operator(
    name="ReduceSum", kind="sum", merges=False,
    emit=total, adjoints={"input": adjoint}, terms=terms, gain=terms,
    fan_out=once, image=image,
    norm=norms.linear(lambda site: (float(terms(site)), 1.0)), edges=edges.reduce, mixes=mixes,
    regular=always, keeps_batch=keeps_batch,
)  # fmt: skip
