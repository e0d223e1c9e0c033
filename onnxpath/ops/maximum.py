"""Max: the element-wise maximum of two or more tensors of one shape; its total is their sum."""

from onnxpath.network import Site
from onnxpath.ops import add
from onnxpath.ops.operator import Graph, Operator


def _emit(g: Graph, site: Site, inputs: list[str]) -> str:
    return g.op("Max", inputs)


OPERATOR = Operator(
    name="Max", kind="max", emit=_emit, total=add.total, adjoints={"input": add.adjoint},
    terms=lambda site: len(site.input_shapes), image=add.image,
)  # fmt: skip
