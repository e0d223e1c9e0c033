"""Intervals behind quantizers, for the pass over both networks and their difference (boxes/interval.py,
docs/quantization.md).

Of h in [l, u] a quantizer with the range [lo, hi] makes a number in

    [max(clip(l) - half, lo), min(clip(u) + half, hi)]  (widened by 2^-21 of the range, as `half` is),

and it moves h by e in [-half - (u - hi)+, half + (lo - l)+]. With d = h_B - h_A, the difference of q_A(h_A)
and q_B(h_B) lies in d + e_B - e_A, and, where the quantizers are one, in s d + [-2 half, 2 half] with s in
[0, 1], s = 1 where neither network is ever cut; where only B has one, q_B(h_B) - clip(h_A) is in s d +
[-half, half], and h_A is off clip(h_A) by what it is beyond the range. A dynamic quantizer moves a value by
(U - L) (1/510 + 2^-19) at most.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from onnxpath.boxes.ranges import DYNAMIC
from onnxpath.engine.graph import GraphBuilder
from onnxpath.ops.quantizer import Channels, Dynamic, Grid, Number, Quantization, constant

Ends = tuple[str, str]
# What a constant may be off by once it is stored in the precision of a pass.
_STORED = 1e-6


@dataclass(frozen=True, eq=False)
class Quantized:
    """q(h), and the error e = q(h) - h: [low, high] each, as tensors of the graph."""

    value: Ends
    error: Ends


@dataclass(frozen=True, eq=False)
class Rounding:
    """Emits the steps; `up` and `down` move a computed tensor outwards by what it was rounded."""

    graph: GraphBuilder
    rank: int
    up: Callable[[str], str]
    down: Callable[[str], str]

    def _number(self, value: Number) -> str:
        return constant(self.graph, np.asarray(value, np.float64))

    def _half(self, grid: Quantization | Channels) -> Number:
        return grid.half * (1 + _STORED) + grid.size * _STORED

    def _above(self, x: str, limit: Number) -> str:
        """(x - limit)+."""
        return self.up(self.graph.op("Relu", [self.graph.op("Sub", [x, self._number(limit)])]))

    def _below(self, x: str, limit: Number) -> str:
        return self.up(self.graph.op("Relu", [self.graph.op("Sub", [self._number(limit), x])]))

    def apply(self, grid: Grid | None, low: str, high: str) -> Quantized | None:
        """What a quantizer does to numbers in [low, high]; None for no quantizer."""
        g = self.graph
        if grid is None:
            return None
        if isinstance(grid, Dynamic):
            axes = g.ints(range(1, self.rank))
            top = g.op("Max", [g.op("ReduceMax", [high, axes], keepdims=1), g.scalar(0.0)])
            bottom = g.op("Min", [g.op("ReduceMin", [low, axes], keepdims=1), g.scalar(0.0)])
            half = self.up(g.op("Mul", [g.op("Sub", [top, bottom]), g.scalar(DYNAMIC * (1 + _STORED))]))
            return Quantized(
                (self.down(g.op("Sub", [low, half])), self.up(g.op("Add", [high, half]))),
                (g.op("Neg", [half]), half),
            )
        half = self._number(self._half(grid))
        spare = grid.size * (2.0**-21 + _STORED)
        floor, ceiling = (self._number(end) for end in (grid.lowest - spare, grid.highest + spare))
        clipped = [g.op("Min", [g.op("Max", [end, floor]), ceiling]) for end in (low, high)]
        value = (
            g.op("Max", [self.down(g.op("Sub", [clipped[0], half])), floor]),
            g.op("Min", [self.up(g.op("Add", [clipped[1], half])), ceiling]),
        )
        error = (
            g.op("Neg", [g.op("Add", [half, self._above(high, grid.highest)])]),
            g.op("Add", [half, self._below(low, grid.lowest)]),
        )
        return Quantized(value, (self.down(error[0]), self.up(error[1])))

    def _inside(self, grid: Quantization | Channels, low: str, high: str) -> str:
        """1 where [low, high] lies in the range of the quantizer, else 0."""
        g = self.graph
        beyond = g.op(
            "Max",
            [g.op("Sub", [high, self._number(grid.highest)]), g.op("Sub", [self._number(grid.lowest), low])],
        )
        return g.op("Where", [g.compare("Greater", [beyond, g.scalar(0.0)]), g.scalar(0.0), g.scalar(1.0)])

    def _shrunk(self, grid: Quantization | Channels, d: Ends, hull: Ends) -> Ends:
        """s d, s in [0, 1]; s = 1 where nothing is cut."""
        g, inside = self.graph, self._inside(grid, *hull)
        return g.op("Min", [d[0], g.op("Mul", [d[0], inside])]), g.op(
            "Max", [d[1], g.op("Mul", [d[1], inside])]
        )

    def difference(self, p: Grid | None, q: Grid | None, a: Ends, b: Ends, d: Ends) -> Ends:
        """An interval of q_B(h_B) - q_A(h_A), for h_A in a, h_B in b and h_B - h_A in d."""
        g = self.graph
        first, second = self.apply(p, *a), self.apply(q, *b)
        low, high = d
        if second is not None:
            low, high = (
                self.down(g.op("Add", [low, second.error[0]])),
                self.up(g.op("Add", [high, second.error[1]])),
            )
        if first is not None:
            low, high = (
                self.down(g.op("Sub", [low, first.error[1]])),
                self.up(g.op("Sub", [high, first.error[0]])),
            )
        hull = g.op("Min", [a[0], b[0]]), g.op("Max", [a[1], b[1]])
        for grid, only, own in ((q, p is None, a), (p, q is None, b)):
            if isinstance(grid, Quantization | Channels) and (only or (p == q and own is a)):
                shrunk = self._shrunk(grid, d, hull)
                half = self._number(self._half(grid) * (1 if only else 2))
                less, more = g.op("Sub", [shrunk[0], half]), g.op("Add", [shrunk[1], half])
                if only:  # the other network's number is beyond the range by this much
                    above, below = self._above(own[1], grid.highest), self._below(own[0], grid.lowest)
                    minus, plus = (above, below) if grid is q else (below, above)
                    less, more = g.op("Sub", [less, minus]), g.op("Add", [more, plus])
                low, high = g.op("Max", [low, self.down(less)]), g.op("Min", [high, self.up(more)])
        return low, high
