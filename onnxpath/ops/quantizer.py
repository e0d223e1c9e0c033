"""Quantizer: y = q(x), an activation rounded to a grid of whole multiples of a step and cut to its range
(docs/quantization.md).

    q(x) = s · clip(round(x / s), l - z, h - z),        l <= z <= h whole numbers, s > 0, ties to even.

With [lo, hi] = [s (l - z), s (h - z)], which holds 0: |q(x) - clip(x, lo, hi)| <= s / 2, and clip is
1-Lipschitz. So

    |q(x) - x| <= s/2 + max(0, x - hi, lo - x),     |q(x) - q(y)| <= |x - y| + s, |q(x)| <= min(max(-lo, hi),
                                                    |x| + s/2).

It is the QuantizeLinear and DequantizeLinear of a file together. What a runtime makes of them differs from q
by the float32 rounding of x / s (a fused integer kernel: of the sum times its multiplier): at most 5
roundings of a number below (h - z) s before it is cut, so that `half`, s/2 and 2^-21 of the range, bounds the
distance of either one to clip(x), with room for 2^-30 of the range.

A dynamic quantizer takes its grid from the tensor: with U = max(0, max x) and L = min(0, min x) over all
cells of one sample, s = (U - L) / 255, z = round(-L / s), l = 0 and h = 255 (DynamicQuantizeLinear). [L, U]
is within s/2 of [lo, hi], and where a cell is cut at all it is by less than it would have been rounded: |q(x)
- x| <= s/2.

A grid may be one for the whole tensor or one per channel (`Channels`); what is a number of the one is an
array of the other, which broadcasts to the tensor.

Attributes: `quantizer`, the `Quantization`, `Channels` or `Dynamic`, or None for the identity; `twin`, where
    the node belongs to a pair, that of the second network.
"""

from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np

from onnxpath.model.network import Site
from onnxpath.ops.function import step as positive
from onnxpath.ops.function import up
from onnxpath.ops.graph import Graph
from onnxpath.ops.operator import Operator, always, same_image

Number = Any
"""A float, or an array [1, C, 1, ...]."""


class _Errors:
    """What a quantizer of that step and range does to a value."""

    step: Number
    lowest: Number
    highest: Number

    @property
    def size(self) -> Number:
        """max |q|."""
        return np.maximum(-self.lowest, self.highest)

    @property
    def half(self) -> Number:
        """|q(x) - clip(x)|, what runtimes may round differently included."""
        return self.step / 2 + (self.size + self.step) * 2.0**-21


@dataclass(frozen=True)
class Quantization(_Errors):
    """Step s, zero point z, and the smallest and largest stored number l and h."""

    step: float
    zero: int
    low: int
    high: int

    @property
    def lowest(self) -> float:
        return self.step * (self.low - self.zero)

    @property
    def highest(self) -> float:
        return self.step * (self.high - self.zero)


@dataclass(frozen=True)
class Channels(_Errors):
    """A grid for every index of axis 1 of a tensor of that rank."""

    grids: tuple[Quantization, ...]
    rank: int

    def _along(self, values: list) -> np.ndarray:
        return np.array(values, np.float64).reshape(1, -1, *(1,) * (self.rank - 2))

    @property
    def step(self) -> np.ndarray:
        return self._along([grid.step for grid in self.grids])

    @property
    def lowest(self) -> np.ndarray:
        return self._along([grid.lowest for grid in self.grids])

    @property
    def highest(self) -> np.ndarray:
        return self._along([grid.highest for grid in self.grids])

    @property
    def low(self) -> np.ndarray:
        return self._along([grid.low for grid in self.grids])

    @property
    def high(self) -> np.ndarray:
        return self._along([grid.high for grid in self.grids])

    @property
    def zero(self) -> np.ndarray:
        return self._along([grid.zero for grid in self.grids])


@dataclass(frozen=True)
class Seen(_Errors):
    """A bound on the grids of a dynamic quantizer: the largest step, and the ends of all of them."""

    step: float
    lowest: float
    highest: float


LEVELS = 255
# What a dynamic quantizer moves a value by, as a part of U - L: half a step, and what a runtime may round
# differently (`half`).
DYNAMIC = 0.5 / LEVELS + 2.0**-19


@dataclass(frozen=True)
class Dynamic:
    """DynamicQuantizeLinear: 8 bits, with a grid of its own for every sample."""

    lowest: float = -inf
    highest: float = inf

    def seen(self, low: float, high: float) -> Seen:
        """The coarsest grid for tensors in [low, high], with U and L as its ends."""
        low, high = min(low, 0.0), max(high, 0.0)
        return Seen(up((high - low) / LEVELS), low, high)


Grid = Quantization | Channels | Dynamic


def constant(g: Graph, value: Number) -> str:
    """A number of a grid, or one per channel, in a graph."""
    return (
        g.constant(value.astype(g.dtype))
        if isinstance(value, np.ndarray) and value.ndim
        else g.scalar(float(value))
    )


def _emit_dynamic(g: Graph, site: Site, x: str) -> str:
    rank = len(site.output_shape)
    axes = g.ints(range(1, rank)) if rank > 1 else g.ints([0])
    high = g.op("Max", [g.op("ReduceMax", [x, axes], keepdims=1), g.scalar(0.0)])
    low = g.op("Min", [g.op("ReduceMin", [x, axes], keepdims=1), g.scalar(0.0)])
    step = g.op(
        "Max",
        [
            g.op("Div", [g.op("Sub", [high, low]), g.scalar(float(LEVELS))]),
            g.scalar(float(np.finfo(g.dtype).tiny)),
        ],
    )
    zero = g.op("Round", [g.op("Neg", [g.op("Div", [low, step])])])
    stored = g.op("Add", [g.op("Round", [g.op("Div", [x, step])]), zero])
    stored = g.op("Min", [g.op("Max", [stored, g.scalar(0.0)]), g.scalar(float(LEVELS))])
    return g.op("Mul", [g.op("Sub", [stored, zero]), step])


def _emit(g: Graph, site: Site, inputs: list[str], weight: str | None = None, bias: str | None = None) -> str:
    found: Grid | None = site["quantizer"]
    if found is None:
        return g.op("Identity", inputs)
    if isinstance(found, Dynamic):
        return _emit_dynamic(g, site, inputs[0])
    steps = g.op("Round", [g.op("Div", [inputs[0], constant(g, found.step)])])
    steps = g.op(
        "Min",
        [g.op("Max", [steps, constant(g, found.low - found.zero)]), constant(g, found.high - found.zero)],
    )
    return g.op("Mul", [steps, constant(g, found.step)])


def _slope(g: Graph, site: Site, x: str, weight: str | None = None) -> str:
    """That of clip: 1 inside [lo, hi], 0 outside."""
    found: Grid | None = site["quantizer"]
    if found is None or isinstance(found, Dynamic):
        return g.op("Add", [g.op("Mul", [x, g.scalar(0.0)]), g.scalar(1.0)])
    above = positive(g, g.op("Add", [x, constant(g, found.step / 2 - found.lowest)]))
    below = positive(g, g.op("Sub", [constant(g, found.highest + found.step / 2), x]))
    return g.op("Mul", [above, below])


OPERATOR = Operator(
    name="Quantizer", kind="quantizer", emit=_emit, adjoints={"slope": _slope}, image=same_image,
    homogeneous=False, keeps_batch=always,
)  # fmt: skip
