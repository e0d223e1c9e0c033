"""The error function in the precision of the graph: ONNX Runtime's CPU provider has no float64 Erf.

For x >= 0 and t = 2 / (2 + x): erfc(x) = t exp(-x² + P(2t - 1)), where P is smooth on [-1, 1]. P is replaced
by its Chebyshev series, interpolated at import of this module's first use from the continued fraction and
series of erfc; 28 terms leave 10⁻¹⁶.
"""

from functools import cache
from math import cos, erfc, log, pi

import numpy as np

from onnxpath.ops.graph import Graph

_TERMS = 28


@cache
def _coefficients() -> tuple[float, ...]:
    """Chebyshev coefficients of P, by interpolation at 64 nodes with the mathematical library's erfc."""
    nodes = [cos(pi * (k + 0.5) / 64) for k in range(64)]
    values = [_smooth((z + 1) / 2) for z in nodes]
    found = [
        2 / 64 * sum(v * cos(pi * j * (k + 0.5) / 64) for k, v in enumerate(values)) for j in range(_TERMS)
    ]
    return (found[0] / 2, *found[1:])


def _smooth(t: float) -> float:
    """ln(erfc(x) / t) + x² for x = 2/t - 2; erfcx by its continued fraction where x is large."""
    x = 2 / t - 2
    if x < 2:
        return log(erfc(x) / t) + x * x
    tail = 0.0
    for k in range(200, 0, -1):
        tail = k / 2 / (x + tail)
    return log(1 / (x + tail) / pi**0.5 / t)


def erf(g: Graph, x: str) -> str:
    if g.dtype == np.float32:
        return g.op("Erf", [x])
    size = g.op("Min", [g.op("Abs", [x]), g.scalar(30.0)])
    t = g.op("Div", [g.scalar(2.0), g.op("Add", [size, g.scalar(2.0)])])
    z = g.op("Sub", [g.op("Mul", [t, g.scalar(2.0)]), g.scalar(1.0)])
    twice = g.op("Mul", [z, g.scalar(2.0)])
    # Clenshaw: b_k = c_k + 2 z b_{k+1} - b_{k+2}, P = c_0 + z b_1 - b_2
    c = _coefficients()
    after, before = g.scalar(0.0), g.scalar(c[-1])
    for value in reversed(c[1:-1]):
        product = g.op("Add", [g.op("Mul", [twice, before]), g.scalar(value)])
        after, before = before, g.op("Sub", [product, after])
    series = g.op("Sub", [g.op("Add", [g.op("Mul", [z, before]), g.scalar(c[0])]), after])
    power = g.op("Exp", [g.op("Sub", [series, g.op("Mul", [size, size])])])
    return g.op("Mul", [g.op("Sign", [x]), g.op("Sub", [g.scalar(1.0), g.op("Mul", [t, power])])])
