"""Relu: y = max(0, x). The identity on the non-negative values that the absolute passes carry (Theorem B.1)."""

from onnxpath.network import Site
from onnxpath.ops.function import Constants
from onnxpath.ops.operator import Graph, Operator, same_image


def _emit(g: Graph, site: Site, inputs: list[str]) -> str:
    return g.op("Relu", inputs)


OPERATOR = Operator(name="Relu", kind="relu", emit=_emit, image=same_image, constants=lambda site: Constants(1.0, 0.0))
