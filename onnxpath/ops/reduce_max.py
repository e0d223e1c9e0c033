"""ReduceMax: the maximum over `axes`, which stay with length 1 (global max pooling); its total is the sum
over them."""

from onnxpath.model.network import Site
from onnxpath.ops import edges, norms, reduce_sum
from onnxpath.ops.graph import Graph
from onnxpath.ops.operator import Operator, always, once
from onnxpath.ops.spelling import attained


def _emit(g: Graph, site: Site, inputs: list[str]) -> str:
    return g.op("ReduceMax", [inputs[0], g.ints(site["axes"])], keepdims=1)


def _routed(g: Graph, site: Site, cotangent: str, index: int, inputs: list[str], output: str) -> str:
    hit = attained(g, inputs[0], output)
    return g.op(
        "Mul", [hit, g.op("Div", [cotangent, g.op("ReduceSum", [hit, g.ints(site["axes"])], keepdims=1)])]
    )


OPERATOR = Operator(
    name="ReduceMax",
    kind="max",
    merges=False,
    emit=_emit,
    total=reduce_sum.total,
    adjoints={"input": reduce_sum.adjoint, "routed": _routed},
    terms=reduce_sum.terms,
    image=reduce_sum.image,
    fan_out=once,
    norm=norms.moved,
    edges=edges.reduce,
    mixes=reduce_sum.mixes,
    regular=always,
    keeps_batch=reduce_sum.keeps_batch,
)
