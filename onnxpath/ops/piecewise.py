"""Piecewise linear and quadratic activations: Clip, Abs, Softshrink, HardSwish.

    Clip(l, h)        min(max(x, l), h), l <= h             L = 1, range [l, h]
    Abs               |x|                                   L = 1, range [0, ∞)
    Softshrink(λ)     x - Clip(-λ, λ)(x), λ >= 0            L = 1: slope 0 or 1 everywhere; f(0) = 0
    HardSwish(α, β)   x Clip(0, 1)(α x + β), α > 0, 0 <= β <= 2

HardSwish: f = 0 below -β/α, x above (1 - β)/α, and α x² + β x between, where f' = 2αx + β runs from -β to 2 -
β: hence L = max(1, β, 2 - β). Its least value is at the vertex x = -β/(2α), which lies between the ends as 0
<= β <= 2: inf f = -β²/(4α). The function of ONNX, α = 1/6 and β = 1/2, has L = 3/2 and inf f = -3/8. It is
continuous: both ends of the parabola meet their lines.
"""

from math import inf

import numpy as np

from onnxpath.ops.function import (
    SLOPE_ERROR,
    Constants,
    Derivative,
    Function,
    always_monotone,
    down,
    never_monotone,
    plus,
    step,
    times,
    up,
)
from onnxpath.ops.graph import Graph


def _clip_constants(low: float, high: float) -> Constants:
    return Constants(1.0, low, high, abs(min(max(0.0, low), high)))


def _clip(g: Graph, x: str, low: float, high: float) -> str:
    x = g.op("Max", [x, g.scalar(low)]) if low > -inf else x
    return g.op("Min", [x, g.scalar(high)]) if high < inf else x


def _clip_slope(g: Graph, x: str, low: float, high: float) -> str:
    """1 inside (low, high), 0 outside."""
    parts = [step(g, plus(g, x, -low))] if low > -inf else []
    parts += [step(g, plus(g, g.op("Neg", [x]), high))] if high < inf else []
    return parts[0] if len(parts) == 1 else g.op("Mul", parts)


def _softshrink(g: Graph, x: str, threshold: float) -> str:
    return g.op("Sub", [x, _clip(g, x, -threshold, threshold)])


def _softshrink_slope(g: Graph, x: str, threshold: float) -> str:
    return step(g, plus(g, g.op("Abs", [x]), -threshold))


def _hard_swish_constants(alpha: float, beta: float) -> Constants:
    assert alpha > 0 and 0 <= beta <= 2
    return Constants(max(1.0, beta, up(2 - beta)), down(down(-beta * beta / (4 * alpha))))


def _gate(g: Graph, x: str, alpha: float, beta: float) -> str:
    return plus(g, times(g, x, alpha), beta)


def _hard_swish(g: Graph, x: str, alpha: float, beta: float) -> str:
    return g.op("Mul", [x, _clip(g, _gate(g, x, alpha, beta), 0.0, 1.0)])


def _hard_swish_slope(g: Graph, x: str, alpha: float, beta: float) -> str:
    gate = _gate(g, x, alpha, beta)
    inner = times(g, _clip_slope(g, gate, 0.0, 1.0), alpha)
    return g.op("Add", [_clip(g, gate, 0.0, 1.0), g.op("Mul", [x, inner])])


Slopes = tuple[np.ndarray, np.ndarray]
"""m and M over [low, high], see `Derivative`."""


def _clip_slopes(low: np.ndarray, high: np.ndarray, bottom: float, top: float) -> Slopes:
    inside = (low >= bottom) & (high <= top)
    outside = (high <= bottom) | (low >= top)
    return inside.astype(float), 1.0 - outside


def _softshrink_slopes(low: np.ndarray, high: np.ndarray, threshold: float) -> Slopes:
    bottom, top = _clip_slopes(low, high, -threshold, threshold)
    return 1.0 - top, 1.0 - bottom


def _abs_slopes(low: np.ndarray, high: np.ndarray) -> Slopes:
    return np.where(low >= 0, 1.0, -1.0), np.where(high <= 0, -1.0, 1.0)


def _hard_swish_slopes(low: np.ndarray, high: np.ndarray, alpha: float, beta: float) -> Slopes:
    left, right = -beta / alpha, (1 - beta) / alpha
    start, stop = (2 * alpha * np.clip(x, left, right) + beta for x in (low, high))
    # beyond the parabola the slope is 0 or 1; the limits there are those of the part that the interval
    # touches
    before, after = low <= left, high >= right
    bottom, top = (
        np.where(high < left, 0.0, np.where(low > right, 1.0, start)),
        np.where(high < left, 0.0, np.where(low > right, 1.0, stop)),
    )
    bottom, top = np.minimum(bottom, top), np.maximum(bottom, top)
    bottom = np.where(before, np.minimum(bottom, 0.0), np.where(after, np.minimum(bottom, 1.0), bottom))
    top = np.where(after, np.maximum(top, 1.0), np.where(before, np.maximum(top, 0.0), top))
    return bottom - SLOPE_ERROR * (1 + beta), top + SLOPE_ERROR * (1 + beta)


FUNCTIONS = (
    Function(
        "Clip",
        _clip_constants,
        _clip,
        _clip_slope,
        ("low", "high"),
        derivative=Derivative(always_monotone, over=_clip_slopes, exact=True),
    ),
    Function(
        "Abs",
        lambda: Constants(1.0, 0.0),
        lambda g, x: g.op("Abs", [x]),
        lambda g, x: g.op("Sign", [x]),
        derivative=Derivative(never_monotone, over=_abs_slopes, exact=True),
    ),
    Function(
        "Softshrink",
        lambda threshold: Constants(1.0),
        _softshrink,
        _softshrink_slope,
        ("threshold",),
        derivative=Derivative(always_monotone, over=_softshrink_slopes),
    ),
    Function(
        "HardSwish",
        _hard_swish_constants,
        _hard_swish,
        _hard_swish_slope,
        ("alpha", "beta"),
        derivative=Derivative(never_monotone, over=_hard_swish_slopes),
    ),
)
