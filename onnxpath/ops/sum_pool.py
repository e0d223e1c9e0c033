"""SumPool: the sum over each window; padded cells add nothing. Average pooling is SumPool and a fixed Scale by 1/count."""

from math import prod

from onnxpath.ops import max_pool
from onnxpath.ops.operator import Operator

OPERATOR = Operator(
    name="SumPool",
    kind="sum",
    emit=max_pool.total,
    adjoints={"input": max_pool.adjoint},
    terms=lambda site: prod(site["kernel"]),
    image=max_pool.image,
)
