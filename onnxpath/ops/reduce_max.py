"""ReduceMax: the maximum over `axes`, which stay with length 1 (global max pooling); its total is the sum over them."""

from onnxpath.network import Site
from onnxpath.ops import reduce_sum
from onnxpath.ops.operator import Graph, Operator


def _emit(g: Graph, site: Site, inputs: list[str]) -> str:
    return g.op("ReduceMax", [inputs[0], g.ints(site["axes"])], keepdims=1)


OPERATOR = Operator(
    name="ReduceMax",
    kind="max",
    emit=_emit,
    total=reduce_sum.total,
    adjoints={"input": reduce_sum.adjoint},
    terms=reduce_sum.terms,
    image=reduce_sum.image,
)
