"""Scale: y = s x + b, element by element; s and b have the rank of x and broadcast to its shape (either may
be absent).

A BatchNormalization that no linear operator precedes, an input normalizer, or a fixed coefficient such as
1/count. Adjoints: of the input s c, of s and b the sums of c x and c over the broadcast axes.
"""

from onnxpath.model.network import Site
from onnxpath.ops import edges
from onnxpath.ops.graph import Graph
from onnxpath.ops.matmul import reduce_to
from onnxpath.ops.operator import Operator, always, once, plain


def _emit(g: Graph, site: Site, inputs: list[str], weight: str | None = None, bias: str | None = None) -> str:
    y = g.op("Mul", [inputs[0], weight]) if weight else inputs[0]
    return g.op("Add", [y, bias]) if bias else y


def _input_adjoint(g: Graph, site: Site, cotangent: str, index: int, weight: str | None) -> str:
    return g.op("Mul", [cotangent, weight]) if weight else cotangent


def _weight_adjoint(g: Graph, site: Site, cotangent: str, inputs: list[str]) -> str:
    product = g.op("Mul", [cotangent, inputs[0]])
    return reduce_to(g, product, site.output_shape, site.node.coefficients.shape, site.batched)


def _bias_adjoint(g: Graph, site: Site, cotangent: str) -> str:
    assert site.node.bias is not None
    return reduce_to(g, cotangent, site.output_shape, site.node.bias.shape, site.batched)


OPERATOR = Operator(
    name="Scale",
    kind="weighted",
    groups=once,
    layer="diagonal",
    emit=_emit,
    adjoints={"input": _input_adjoint, "weight": _weight_adjoint, "bias": _bias_adjoint},
    terms=once,
    fan_out=once,
    axes=lambda site: None,
    channel_bias=False,
    edges=edges.scale,
    regular=always,
    keeps_batch=lambda site: all(
        plain(parameter, len(site.output_shape)) for parameter in site.node.parameters()
    ),
)
