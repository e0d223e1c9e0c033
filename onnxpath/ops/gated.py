"""Gated activations, x times a sigmoid-like gate: Gelu, GeluTanh, Silu, Mish.

Scaling. For k > 0 let f_k(x) = f(k x) / k. Then f_k'(x) = f'(k x): L is the same, and the range is that of f
divided by k. So one parameter covers all factors a file may put inside the gate (1/√2 rounded to float16, the
1.702 of QuickGelu).

    Gelu(k)      x (1 + erf(k x / √2)) / 2, f' = Φ + x φ, f'' = (2 - x²) φ for k = 1. So f' is extreme at x =
                 ±√2 (and tends to 0 and 1): L = Φ(√2) + √2 φ(√2) < 1.12890414518516, f'(-√2) = 1 - L. inf f >
                 -0.16997120747991 (at x = -0.7517915246935645)
    Silu(k)      x σ(k x), f' = σ + x σ (1 - σ), f'' = σ (1 - σ)(2 + x (1 - 2σ)) for k = 1, which vanishes
                 where x tanh(x/2) = 2, x = ±2.399357280515468: L < 1.09983932012887. f' = 0 where 1 + x + e^x
                 = 0, x = -1.2784645427610738: inf f > -0.27846454276108
    Mish         x tanh(ln(1 + e^x)): L < 1.08849816125173 (at x = 1.4905711794854284), inf f >
                 -0.30884341301726
    GeluTanh(k, c)   x (1 + tanh(√(2/π)(k x + c (k x)³))) / 2, c near 0.044715: L < 1.12899306865878 + 10 |c -
                     0.044715|,
                 inf f > -0.17004075057126 - 2 |c - 0.044715|, divided by k.

The extrema were located to 30 digits; tests search densely for larger slopes and smaller values. The last
digits above are rounded outwards. All f(0) = 0, and f(x) <= max(x, 0), so sup f = ∞.

*Dependence on c* (k = 1, r = √(2/π) = 0.79788..., u = r (x + c x³), t = tanh u, s = 1 - t² <= 4 e^(-2|u|) <=
4 e^(-2r|x|), 0 <= c <= 0.05): ∂f'/∂c = r s x³ (2 - t r x (1 + 3 c x²)), whose modulus is at most 4 r
e^(-2r|x|) |x|³ (2 + r |x| (1 + 0.15 x²)). With y = |x|, the terms 8 r y³ e^(-2ry), 4 r² y⁴ e^(-2ry) and 0.6
r² y⁶ e^(-2ry) are largest at y = n/(2r), n the power of y, with the values 8r (3/(2re))³ = 2.11, 4r²
(4/(2re))⁴ = 1.85 and 0.6 r² (6/(2re))⁶ = 2.68; their sum is below 10. And ∂f/∂c = r s x⁴ / 2 <= 2 r
(4/(2re))⁴ = 1.16 < 2.
"""

from math import inf, pi, sqrt

from onnxpath.ops.erf import erf
from onnxpath.ops.function import Constants, Derivative, Function, never_monotone, plus, times, up
from onnxpath.ops.graph import Graph
from onnxpath.ops.smooth import softplus

CUBIC = 0.044715
ROOT_2_PI = sqrt(2 / pi)


def _scaled(lipschitz: float, infimum: float, scale: float) -> Constants:
    assert scale > 0
    return Constants(lipschitz, -up(-infimum / scale), inf)


def _derivative(g: Graph, x: str, gate: str, slope: str) -> str:
    """(x q(x))' = q + x q'."""
    return g.op("Add", [gate, g.op("Mul", [x, slope])])


def _normal(g: Graph, x: str, scale: float) -> str:
    """Φ(k x)."""
    return times(g, plus(g, erf(g, times(g, x, scale / sqrt(2))), 1.0), 0.5)


def _gelu_slope(g: Graph, x: str, scale: float) -> str:
    square = times(g, g.op("Mul", [x, x]), -scale * scale / 2)
    return _derivative(g, x, _normal(g, x, scale), times(g, g.op("Exp", [square]), scale / sqrt(2 * pi)))


def _tanh_gate(g: Graph, x: str, scale: float, cubic: float) -> tuple[str, str]:
    """tanh(√(2/π) (k x + c (k x)³)), and the derivative of its argument."""
    square = g.op("Mul", [x, x])
    inner = g.op("Mul", [x, plus(g, times(g, square, ROOT_2_PI * cubic * scale**3), ROOT_2_PI * scale)])
    return g.op("Tanh", [inner]), plus(
        g, times(g, square, 3 * ROOT_2_PI * cubic * scale**3), ROOT_2_PI * scale
    )


def _gelu_tanh(g: Graph, x: str, scale: float, cubic: float) -> str:
    return g.op("Mul", [x, times(g, plus(g, _tanh_gate(g, x, scale, cubic)[0], 1.0), 0.5)])


def _gelu_tanh_slope(g: Graph, x: str, scale: float, cubic: float) -> str:
    gate, inner = _tanh_gate(g, x, scale, cubic)
    slope = g.op("Mul", [g.op("Sub", [g.scalar(1.0), g.op("Mul", [gate, gate])]), times(g, inner, 0.5)])
    return _derivative(g, x, times(g, plus(g, gate, 1.0), 0.5), slope)


def _gelu_tanh_constants(scale: float, cubic: float) -> Constants:
    assert 0 <= cubic <= 0.05
    off = abs(cubic - CUBIC)
    return _scaled(up(1.12899306865878 + 10 * off), -up(0.17004075057126 + 2 * off), scale)


def _silu_slope(g: Graph, x: str, scale: float) -> str:
    gate = g.op("Sigmoid", [times(g, x, scale)])
    return _derivative(g, x, gate, times(g, g.op("Mul", [gate, g.op("Sub", [g.scalar(1.0), gate])]), scale))


def _mish(g: Graph, x: str) -> str:
    return g.op("Mul", [x, g.op("Tanh", [softplus(g, x)])])


def _mish_slope(g: Graph, x: str) -> str:
    gate = g.op("Tanh", [softplus(g, x)])
    slope = g.op("Mul", [g.op("Sub", [g.scalar(1.0), g.op("Mul", [gate, gate])]), g.op("Sigmoid", [x])])
    return _derivative(g, x, gate, slope)


def _extreme(*points: float) -> Derivative:
    """f' is extreme at these points, for k = 1."""
    return Derivative(never_monotone, extrema=lambda scale=1.0: tuple(x / scale for x in points))


def _gelu_tanh_extrema(scale: float, cubic: float) -> tuple[float, ...] | None:
    """Known for the cubic term that files have."""
    return (-1.4185040 / scale, 1.4185040 / scale) if abs(cubic - CUBIC) < 1e-9 else None


FUNCTIONS = (
    Function(
        "Gelu", lambda scale: _scaled(1.12890414518516, -0.16997120747991, scale),
        lambda g, x, scale: g.op("Mul", [x, _normal(g, x, scale)]), _gelu_slope, ("scale",),
        derivative=_extreme(-sqrt(2), sqrt(2)),
    ),
    Function("GeluTanh", _gelu_tanh_constants, _gelu_tanh, _gelu_tanh_slope, ("scale", "cubic"),
             derivative=Derivative(never_monotone, extrema=_gelu_tanh_extrema)),
    Function(
        "Silu", lambda scale: _scaled(1.09983932012887, -0.27846454276108, scale),
        lambda g, x, scale: g.op("Mul", [x, g.op("Sigmoid", [times(g, x, scale)])]), _silu_slope, ("scale",),
        derivative=_extreme(-2.399357280515468, 2.399357280515468),
    ),
    Function("Mish", lambda: Constants(1.08849816125173, -0.30884341301726), _mish, _mish_slope,
             derivative=_extreme(-2.2563895, 1.4905711794854284)),
)  # fmt: skip
