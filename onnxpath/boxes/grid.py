"""What a quantizer makes of an interval: one enclosure, for arrays and for graphs (docs/quantization.md).

Of h in [l, u] a quantizer q with the range [lo, hi] makes clip(h) + e, |e| <= half (ops/quantizer.py):

    q(h)     in [max(clip(l) - half, lo), min(clip(u) + half, hi)]  (widened by 2^-21 of the range),
    q(h) - h in [-half - (u - hi)+, half + (lo - l)+].

A dynamic quantizer moves a value by (U - L) (1/510 + 2^-19) at most. Of two networks, d = h_B - h_A, with
their own quantizers q_A and q_B or none,

    q_B(h_B) - q_A(h_A) = d + (q_B(h_B) - h_B) - (q_A(h_A) - h_A)           slope 1,

and with one and the same static grid it is also s d + e, s in [0, 1], |e| <= 2 half; with a grid in one
network only, s d + e less what the other network's value is beyond the range, |e| <= half: slope 0.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from onnxpath.engine.graph import GraphBuilder
from onnxpath.ops.quantizer import DYNAMIC, Channels, Dynamic, Grid, Number, Quantization, Seen, constant

Tensor = Any
"""An array, or the name of a graph's tensor."""
Ends = tuple[Tensor, Tensor]


class Arithmetic(Protocol):
    """The steps of an enclosure. stored: what a constant may be off by, relative to itself and to the range;
    up, down: move what was computed outwards by what it was rounded."""

    @property
    def stored(self) -> float: ...
    def number(self, value: Number) -> Tensor: ...
    def op(self, name: str, *parts: Tensor) -> Tensor:
        """add, sub, mul, max or min."""
        ...

    def cells(self, name: str, x: Tensor) -> Tensor:
        """max or min over all cells of a sample."""
        ...

    def up(self, x: Tensor, /) -> Tensor: ...
    def down(self, x: Tensor, /) -> Tensor: ...


class Arrays:
    """float64 arrays [n, ...]."""

    stored = 2.0**-48
    _OPS = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "max": np.maximum, "min": np.minimum}

    def number(self, value: Number) -> np.ndarray:
        return np.asarray(value, np.float64)

    def op(self, name: str, *parts: np.ndarray) -> np.ndarray:
        return self._OPS[name](*parts)

    def cells(self, name: str, x: np.ndarray) -> np.ndarray:
        return self._OPS[name].reduce(x, axis=tuple(range(1, x.ndim)), keepdims=True)

    def up(self, x: np.ndarray) -> np.ndarray:
        return x + np.abs(x) * self.stored

    def down(self, x: np.ndarray) -> np.ndarray:
        return x - np.abs(x) * self.stored


@dataclass(frozen=True, eq=False)
class Emitted:
    """Tensors of that rank in a graph; without `up` and `down` for a caller who counts its rounding."""

    graph: GraphBuilder
    rank: int
    up: Callable[[str], str] = lambda x: x
    down: Callable[[str], str] = lambda x: x
    stored: float = 1e-6

    def number(self, value: Number) -> str:
        return constant(self.graph, np.asarray(value, np.float64))

    def op(self, name: str, *parts: str) -> str:
        return self.graph.op(name.capitalize(), list(parts))

    def cells(self, name: str, x: str) -> str:
        return self.graph.op(
            f"Reduce{name.capitalize()}", [x, self.graph.ints(range(1, self.rank))], keepdims=1
        )


@dataclass(frozen=True, eq=False)
class Enclosure:
    """Of q(h): value; of q(h) - h: error, None without a quantizer."""

    value: Ends
    error: Ends | None


def is_static(grid: Grid | Seen | None) -> bool:
    """Whether the range does not depend on the numbers."""
    return isinstance(grid, Quantization | Channels)


def outside(grid: Grid | None, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """[n, ...]: neurons that a static quantizer may cut, for which a tighter interval is worth something."""
    if isinstance(grid, Quantization | Channels):
        return (low < grid.lowest) | (high > grid.highest)
    return np.zeros(low.shape, bool)


def enclose(
    n: Arithmetic, grid: Grid | Seen | None, low: Tensor, high: Tensor, cut: bool = True
) -> Enclosure:
    """What a quantizer makes of numbers in [low, high]. cut: its own values to the range, too; without, they
    may be `half` beyond."""
    if grid is None:
        return Enclosure((low, high), None)
    zero = n.number(0.0)
    if isinstance(grid, Dynamic):
        top, bottom = n.op("max", n.cells("max", high), zero), n.op("min", n.cells("min", low), zero)
        half = n.up(n.op("mul", n.op("sub", top, bottom), n.number(DYNAMIC * (1 + n.stored))))
        value = n.down(n.op("sub", low, half)), n.up(n.op("add", high, half))
        return Enclosure(value, (n.op("sub", zero, half), half))
    half = n.number(_half(n, grid))
    spare = grid.size * (2.0**-21 + n.stored) if cut else 0.0
    floor, ceiling = n.number(grid.lowest - spare), n.number(grid.highest + spare)
    bottom, top = (n.op("min", n.op("max", end, floor), ceiling) for end in (low, high))
    bottom, top = n.down(n.op("sub", bottom, half)), n.up(n.op("add", top, half))
    if cut:
        # the ends of a dynamic quantizer's grids may be half a step beyond what is known of them
        assert is_static(grid)
        bottom, top = n.op("max", bottom, floor), n.op("min", top, ceiling)
    error = (
        n.down(n.op("sub", zero, n.op("add", half, _above(n, grid, high)))),
        n.up(n.op("add", half, _below(n, grid, low))),
    )
    return Enclosure((bottom, top), error)


def _half(n: Arithmetic, grid: Quantization | Channels | Seen) -> Number:
    return grid.half * (1 + n.stored) + grid.size * n.stored


def _above(n: Arithmetic, grid: Quantization | Channels | Seen, x: Tensor) -> Tensor:
    """What x is above the range: (x - hi)+."""
    return n.up(n.op("max", n.op("sub", x, n.number(grid.highest)), n.number(0.0)))


def _below(n: Arithmetic, grid: Quantization | Channels | Seen, x: Tensor) -> Tensor:
    return n.up(n.op("max", n.op("sub", n.number(grid.lowest), x), n.number(0.0)))


def error_difference(n: Arithmetic, first: Enclosure, second: Enclosure) -> Ends | None:
    """Slope 1: of (q_B(h_B) - h_B) - (q_A(h_A) - h_A); None where neither network has a quantizer."""
    if first.error is None:
        return second.error
    if second.error is None:
        return n.op("sub", n.number(0.0), first.error[1]), n.op("sub", n.number(0.0), first.error[0])
    return (
        n.down(n.op("sub", second.error[0], first.error[1])),
        n.up(n.op("sub", second.error[1], first.error[0])),
    )


def shrunk_difference(
    n: Arithmetic, p: Grid | None, q: Grid | None, a: Ends, b: Ends, d: Ends
) -> Ends | None:
    """Slope 0: of q_B(h_B) - q_A(h_A) for h_A in a, h_B in b and d in d; None where the grids say
    nothing."""
    zero = n.number(0.0)
    low, high = n.op("min", d[0], zero), n.op("max", d[1], zero)
    if p == q and isinstance(p, Quantization | Channels):
        width = n.number(2 * _half(n, p))
        return n.down(n.op("sub", low, width)), n.up(n.op("add", high, width))
    grid, other = (q, a) if p is None else (p, b)
    if not isinstance(grid, Quantization | Channels) or (p is not None and q is not None):
        return None
    above, below = _above(n, grid, other[1]), _below(n, grid, other[0])
    minus, plus = (above, below) if p is None else (below, above)
    width = n.number(_half(n, grid))
    return (
        n.down(n.op("sub", n.op("sub", low, width), minus)),
        n.up(n.op("add", n.op("add", high, width), plus)),
    )
