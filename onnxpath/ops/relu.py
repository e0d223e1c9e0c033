"""Relu: y = max(0, x). The identity on the non-negative values that the absolute passes carry (Theorem
B.1)."""

import numpy as np

from onnxpath.model.network import Site
from onnxpath.ops import edges, norms
from onnxpath.ops.function import Constants
from onnxpath.ops.graph import Graph
from onnxpath.ops.operator import Operator, always, same_image


def _emit(g: Graph, site: Site, inputs: list[str]) -> str:
    return g.op("Relu", inputs)


def _routed(g: Graph, site: Site, cotangent: str, index: int, inputs: list[str], output: str) -> str:
    return g.op("Where", [g.compare("Greater", [output, g.scalar(0.0)]), cotangent, g.scalar(0.0)])


OPERATOR = Operator(
    name="Relu",
    kind="relu",
    emit=_emit,
    adjoints={"routed": _routed},
    image=same_image,
    constants=lambda site: Constants(1.0, 0.0),
    negative_slope=lambda weight: np.zeros(()),
    norm=norms.moved,
    edges=edges.itself,
    keeps_batch=always,
)
