"""What an extension activation f has to say of itself: constants that bound it, and how it is spelled
(docs/theory.md, section 4).

    |f(s) - f(t)| <= L |s - t| + jump,     inf f <= f(s) <= sup f,     |f(0)| <= at_zero for all real s, t.

`jump` is 0 for continuous functions. Every constant is a float64 number rounded outwards; none depends on the
weights.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf, isfinite, nextafter

import numpy as np

from onnxpath.ops.graph import Graph


@dataclass(frozen=True)
class Constants:
    """L, inf f, sup f, |f(0)| and the jump of one activation."""

    lipschitz: float
    infimum: float = -inf
    supremum: float = inf
    at_zero: float = 0.0
    jump: float = 0.0

    @property
    def size(self) -> float:
        """sup |f|."""
        return max(-self.infimum, self.supremum)

    @property
    def width(self) -> float:
        """sup f - inf f, rounded up."""
        return up(self.supremum - self.infimum)

    @property
    def beyond_zero(self) -> float:
        """How far f goes beyond 0 on the side where it is bounded: |f(s) - f(t)| <= max(|f(s)|, |f(t)|) +
        that; inf if on neither."""
        return min(max(0.0, -self.infimum), max(0.0, self.supremum))


def up(value: float) -> float:
    """The next float64: an upper bound of what was rounded once."""
    return nextafter(value, inf) if isfinite(value) and value != 0 else value


def down(value: float) -> float:
    """The float64 before: a lower bound of what was rounded once."""
    return nextafter(value, -inf) if isfinite(value) and value != 0 else value


@dataclass(frozen=True)
class Derivative:
    """What is known of the slopes of f over an interval, one of three facts; all but at a jump.

    extrema(*p): where f' is extreme or jumps: it is monotone between. None: nowhere that is known. over(low,
    high, *p): m <= M, float64 [n, ...], with m (t - s) <= f(t) - f(s) <= M (t - s) for s <= t in [low, high].
    curvature: |f''| is at most that.

    monotone(*p): f never falls. exact: f is evaluated without rounding. continuous(*p): where f jumps, the
    parameters of a function without the jump, which is above f by at most that.
    """

    monotone: Callable[..., bool]
    extrema: Callable[..., tuple[float, ...] | None] | None = None
    over: Callable[..., tuple[np.ndarray, np.ndarray]] | None = None
    curvature: float | None = None
    exact: bool = False
    continuous: Callable[..., tuple[float, ...]] | None = None


def always_monotone(*parameters: float) -> bool:
    return True


def never_monotone(*parameters: float) -> bool:
    return False


# Widening of slopes in float64, relative to the function's Lipschitz constant: far more than their evaluation
# errs.
SLOPE_ERROR = 1e-9


@dataclass(frozen=True)
class Function:
    """An activation by name.

    parameters: its names of numbers, in the order of the arguments after them. constants(*p): see
    `Constants`. emit(g, x, *p): graph for f(x) in the graph's precision, from primitives that ONNX Runtime
    has in it. slope(g, x, *p): graph for an element of the generalized derivative f'(x). derivative: see
    `Derivative`.
    """

    name: str
    constants: Callable[..., Constants]
    emit: Callable[..., str]
    slope: Callable[..., str]
    parameters: tuple[str, ...] = ()
    derivative: Derivative = field(kw_only=True)


def unary(op: str) -> Callable[[Graph, str], str]:
    """f(x) is one ONNX operator."""
    return lambda g, x, *parameters: g.op(op, [x])


def times(g: Graph, x: str, factor: float) -> str:
    return x if factor == 1 else g.op("Mul", [x, g.scalar(factor)])


def plus(g: Graph, x: str, term: float) -> str:
    return x if term == 0 else g.op("Add", [x, g.scalar(term)])


def step(g: Graph, x: str) -> str:
    """1 where x > 0, else 0."""
    return g.op("Max", [g.op("Sign", [x]), g.scalar(0.0)])


def horner(g: Graph, x: str, coefficients: list[float]) -> str:
    """Σ c_k x^k, the constant first."""
    y = g.op("Add", [g.op("Mul", [x, g.scalar(coefficients[-1])]), g.scalar(coefficients[-2])])
    for c in reversed(coefficients[:-2]):
        y = g.op("Add", [g.op("Mul", [y, x]), g.scalar(c)])
    return y
