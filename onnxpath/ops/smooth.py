"""Smooth activations without a gate.

    Tanh           tanh x f' = 1 - tanh² x in (0, 1] L = 1, range [-1, 1]
    Sigmoid        1 / (1 + e^-x) f' = f (1 - f) <= 1/4 L = 1/4, range [0, 1], f(0) = 1/2
    Softsign       x / (1 + |x|) f' = 1 / (1 + |x|)² <= 1 L = 1, range [-1, 1]
    Softplus(τ)    ln(1 + e^x), x above τ f' = Sigmoid(x) in (0, 1) L = 1, range [0, ∞), f(0) = ln 2
    Elu(α)         x for x > 0, α(e^x - 1) f' = 1 or α e^x L = max(1, |α|), inf f = -max(α, 0)
    Celu(α)        x for x > 0, α(e^(x/α) - 1), α > 0;  f' = 1 or e^(x/α) <= 1               L = 1, inf f = -α
    Sin, Cos       |f'| <= 1 L = 1, range [-1, 1]
    Atan           f' = 1 / (1 + x²) L = 1, range [-π/2, π/2]
    Erf            f' = 2/√π e^(-x²) L = 2/√π < 1.1283791670955127, range [-1, 1]

Softplus with a finite threshold τ > 0 is what PyTorch computes: x itself above τ. It is softplus minus at
most ln(1 + e^-τ) there, so that it jumps by that at τ: |f(s) - f(t)| <= |s - t| + ln(1 + e^-τ), as ln(1 +
e^s) - s decreases. τ = ∞: no jump. Elu with α < 0 is positive for x < 0: then f >= 0. π/2 <
1.5707963267948968 and ln 2 < 0.6931471805599454.
"""

from math import inf, isfinite

import numpy as np

from onnxpath.ops.erf import erf
from onnxpath.ops.function import (
    Constants,
    Derivative,
    Function,
    always_monotone,
    horner,
    never_monotone,
    plus,
    step,
    times,
    unary,
    up,
)
from onnxpath.ops.graph import Graph

HALF_PI = 1.5707963267948968
LN_2 = 0.6931471805599454
ERF_SLOPE = 1.1283791670955127


def _one_minus_square(g: Graph, y: str) -> str:
    return g.op("Sub", [g.scalar(1.0), g.op("Mul", [y, y])])


def _sigmoid_slope(g: Graph, x: str) -> str:
    y = g.op("Sigmoid", [x])
    return g.op("Mul", [y, g.op("Sub", [g.scalar(1.0), y])])


def _softsign_slope(g: Graph, x: str) -> str:
    y = plus(g, g.op("Abs", [x]), 1.0)
    return g.op("Reciprocal", [g.op("Mul", [y, y])])


def softplus(g: Graph, x: str, threshold: float = inf) -> str:
    """max(x, 0) + ln(1 + e^-|x|): nothing overflows."""
    tail = g.op("Log", [plus(g, g.op("Exp", [g.op("Neg", [g.op("Abs", [x])])]), 1.0)])
    if isfinite(threshold):
        tail = g.op("Mul", [tail, g.op("Sub", [g.scalar(1.0), step(g, plus(g, x, -threshold))])])
    return g.op("Add", [g.op("Relu", [x]), tail])


def _softplus_constants(threshold: float) -> Constants:
    jump = up(up(float(np.log1p(np.exp(-threshold))))) if isfinite(threshold) else 0.0
    return Constants(1.0, 0.0, inf, LN_2, jump)


def _softplus_slope(g: Graph, x: str, threshold: float) -> str:
    """Sigmoid(x), and 1 above the threshold."""
    slope = g.op("Sigmoid", [x])
    return g.op("Max", [slope, step(g, plus(g, x, -threshold))]) if isfinite(threshold) else slope


def _below(g: Graph, x: str) -> str:
    """min(x, 0), so that exponentials do not overflow."""
    return g.op("Min", [x, g.scalar(0.0)])


def _exponential(g: Graph, x: str, alpha: float, rate: float) -> str:
    """max(x, 0) + alpha (e^(rate min(x, 0)) - 1)."""
    low = plus(g, g.op("Exp", [times(g, _below(g, x), rate)]), -1.0)
    return g.op("Add", [g.op("Relu", [x]), times(g, low, alpha)])


def _exponential_slope(g: Graph, x: str, slope: float, rate: float) -> str:
    """1 for x > 0, slope e^(rate x) else."""
    positive = step(g, x)
    low = times(g, g.op("Exp", [times(g, _below(g, x), rate)]), slope)
    return g.op("Add", [positive, g.op("Mul", [low, g.op("Sub", [g.scalar(1.0), positive])])])


def _atan(g: Graph, x: str) -> str:
    """ONNX Runtime has no float64 Atan: atan x = 2 atan(x / (1 + √(1 + x²))) three times, then |y| <=
    tan(π/16) and 12 terms of Σ (-1)^k y^(2k+1) / (2k + 1), whose rest is below 10⁻¹⁸. x is cut to ±10¹⁵,
    where atan is π/2 to 10⁻¹⁵."""
    if g.dtype == np.float32:
        return g.op("Atan", [x])
    y = g.op("Max", [g.op("Min", [x, g.scalar(1e15)]), g.scalar(-1e15)])
    for _ in range(3):
        root = g.op("Sqrt", [plus(g, g.op("Mul", [y, y]), 1.0)])
        y = g.op("Div", [y, plus(g, root, 1.0)])
    series = horner(g, g.op("Mul", [y, y]), [(-1.0) ** k / (2 * k + 1) for k in range(12)])
    return times(g, g.op("Mul", [y, series]), 8.0)


def _erf_slope(g: Graph, x: str) -> str:
    return times(g, g.op("Exp", [g.op("Neg", [g.op("Mul", [x, x])])]), ERF_SLOPE)


_AT_ZERO = Derivative(always_monotone, extrema=lambda: (0.0,))
_WAVE = Derivative(never_monotone, curvature=1.0)

FUNCTIONS = (
    Function("Tanh", lambda: Constants(1.0, -1.0, 1.0), unary("Tanh"), lambda g,
    x: _one_minus_square(g, g.op("Tanh", [x])), derivative=_AT_ZERO),
    Function("Sigmoid", lambda: Constants(0.25, 0.0, 1.0, 0.5), unary("Sigmoid"), _sigmoid_slope,
        derivative=_AT_ZERO),
    Function("Softsign", lambda: Constants(1.0, -1.0, 1.0), lambda g,
    x: g.op("Div", [x, plus(g, g.op("Abs", [x]), 1.0)]), _softsign_slope, derivative=_AT_ZERO),
    Function("Softplus", _softplus_constants, softplus, _softplus_slope, ("threshold",),
        derivative=Derivative(
            always_monotone, extrema=lambda threshold: (), continuous=lambda threshold: (inf,)
        )),
    Function(
        "Elu", lambda alpha: Constants(max(1.0, abs(alpha)), min(0.0, -alpha)), lambda g, x,
        alpha: _exponential(g, x, alpha, 1.0),
        lambda g, x, alpha: _exponential_slope(g, x, alpha, 1.0), ("alpha",),
        derivative=Derivative(lambda alpha: alpha >= 0, extrema=lambda alpha: (0.0,)),
    ),
    Function(
        "Celu", lambda alpha: Constants(1.0, -alpha), lambda g, x,
        alpha: _exponential(g, x, alpha, 1 / alpha),
        lambda g, x, alpha: _exponential_slope(g, x, 1.0, 1 / alpha), ("alpha",),
        derivative=Derivative(always_monotone, extrema=lambda alpha: ()),
    ),
    Function("Sin", lambda: Constants(1.0, -1.0, 1.0), unary("Sin"), unary("Cos"), derivative=_WAVE),
    Function("Cos", lambda: Constants(1.0, -1.0, 1.0, 1.0), unary("Cos"), lambda g,
    x: g.op("Neg", [g.op("Sin", [x])]), derivative=_WAVE),
    Function(
        "Atan", lambda: Constants(1.0, -HALF_PI, HALF_PI), _atan,
        lambda g, x: g.op("Reciprocal", [plus(g, g.op("Mul", [x, x]), 1.0)]), derivative=_AT_ZERO,
    ),
    Function("Erf", lambda: Constants(ERF_SLOPE, -1.0, 1.0), erf, _erf_slope, derivative=_AT_ZERO),
)  # fmt: skip
