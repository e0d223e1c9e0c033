"""Max: the element-wise maximum of two or more tensors of one shape; its total is their sum."""

from onnxpath.model.network import Site
from onnxpath.ops import add, edges, norms
from onnxpath.ops.graph import Graph
from onnxpath.ops.operator import Operator, always, once
from onnxpath.ops.spelling import attained


def _emit(g: Graph, site: Site, inputs: list[str]) -> str:
    return g.op("Max", inputs)


def _routed(g: Graph, site: Site, cotangent: str, index: int, inputs: list[str], output: str) -> str:
    hits = [attained(g, x, output) for x in inputs]
    return g.op("Mul", [hits[index], g.op("Div", [cotangent, g.op("Sum", hits)])])


OPERATOR = Operator(
    name="Max", kind="max", emit=_emit, total=add.total, adjoints={"input": add.adjoint, "routed": _routed},
    terms=add.operands, fan_out=once, image=add.image, norm=norms.joined, edges=edges.merged,
    mixes=lambda site: (), merges=True,
    regular=always, keeps_batch=always,
)  # fmt: skip
