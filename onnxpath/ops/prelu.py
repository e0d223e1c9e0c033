"""PRelu: y = x for x > 0, α x else; α is the node's weight, of the rank of x, and broadcasts to it. LeakyRelu
has one fixed α.

Positively homogeneous, so rescaling passes through it, and α does not change. How α enters bounds:
lanes/sharp.py.
"""

import numpy as np

from onnxpath.model.network import Parameter, Site
from onnxpath.ops.function import step
from onnxpath.ops.graph import Graph
from onnxpath.ops.operator import Operator, never, plain, same_image


def _emit(g: Graph, site: Site, inputs: list[str], weight: str, bias: str | None = None) -> str:
    x = inputs[0]
    low = g.op("Min", [x, g.scalar(0.0)])
    return g.op("Add", [g.op("Relu", [x]), g.op("Mul", [low, weight])])


def _slope(g: Graph, site: Site, x: str, weight: str) -> str:
    """1 for x > 0, α else."""
    positive = step(g, x)
    return g.op("Add", [positive, g.op("Mul", [g.op("Sub", [g.scalar(1.0), positive]), weight])])


def _lipschitz(weight: np.ndarray) -> np.ndarray:
    """max(1, |α|)."""
    return np.maximum(1.0, np.abs(weight))


def _negative_slope(weight: Parameter) -> np.ndarray:
    return weight.array().astype(np.float64)


OPERATOR = Operator(
    name="PRelu", kind="activation", emit=_emit, adjoints={"slope": _slope}, image=same_image,
    homogeneous=True, lipschitz=_lipschitz, projection=never, negative_slope=_negative_slope,
    keeps_batch=lambda site: plain(site.node.weight, len(site.output_shape)),
)  # fmt: skip
