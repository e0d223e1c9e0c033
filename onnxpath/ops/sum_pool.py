"""SumPool: the sum over each window; padded cells add nothing. Average pooling is SumPool and a fixed Scale
by 1/count."""

from onnxpath.ops import edges, max_pool, norms
from onnxpath.ops.operator import Operator, always

OPERATOR = Operator(
    name="SumPool",
    kind="sum",
    merges=False,
    emit=max_pool.total,
    adjoints={"input": max_pool.adjoint},
    terms=max_pool.cells,
    gain=max_pool.cells,
    fan_out=max_pool.cells,
    image=max_pool.image,
    norm=norms.linear(lambda site: (float(max_pool.cells(site)), float(norms.windows(site)))),
    edges=edges.pool,
    mixes=max_pool.space,
    regular=max_pool.regular,
    keeps_batch=always,
)
