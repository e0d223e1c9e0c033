"""Quantizer: y = q(x), an activation rounded to a grid of whole multiples of a step and cut to its range (docs/quantization.md).

    q(x) = s · clip(round(x / s), l - z, h - z),        l <= z <= h whole numbers, s > 0, ties to even.

With [lo, hi] = [s (l - z), s (h - z)], which holds 0: |q(x) - clip(x, lo, hi)| <= s / 2, and clip is 1-Lipschitz. So

    |q(x) - x| <= s/2 + max(0, x - hi, lo - x),     |q(x) - q(y)| <= |x - y| + s,     |q(x)| <= min(max(-lo, hi), |x| + s/2).

It is the QuantizeLinear and DequantizeLinear of a file together. What a runtime makes of them differs from q by the float32 rounding of x / s
(a fused integer kernel: of the sum times its multiplier): at most 5 roundings of a number below (h - z) s before it is cut, so that `half`,
s/2 and 2^-21 of the range, bounds the distance of either one to clip(x), with room for 2^-30 of the range.

Attributes: `quantizer`, the `Quantization` or None for the identity; `twin`, where the node belongs to a pair, that of the second network.
"""

from dataclasses import dataclass

from onnxpath.network import Site
from onnxpath.ops.function import step as positive
from onnxpath.ops.operator import Graph, Operator, same_image


@dataclass(frozen=True)
class Quantization:
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

    @property
    def size(self) -> float:
        """max |q|."""
        return max(-self.lowest, self.highest)

    @property
    def half(self) -> float:
        """|q(x) - clip(x)|, what runtimes may round differently included."""
        return self.step / 2 + (self.size + self.step) * 2.0**-21


def _emit(g: Graph, site: Site, inputs: list[str], weight: str | None = None, bias: str | None = None) -> str:
    found: Quantization | None = site["quantizer"]
    if found is None:
        return g.op("Identity", inputs)
    steps = g.op("Round", [g.op("Div", [inputs[0], g.scalar(found.step)])])
    steps = g.op("Min", [g.op("Max", [steps, g.scalar(found.low - found.zero)]), g.scalar(found.high - found.zero)])
    return g.op("Mul", [steps, g.scalar(found.step)])


def _slope(g: Graph, site: Site, x: str, weight: str | None = None) -> str:
    """That of clip: 1 inside [lo, hi], 0 outside."""
    found: Quantization | None = site["quantizer"]
    if found is None:
        return g.op("Add", [g.op("Mul", [x, g.scalar(0.0)]), g.scalar(1.0)])
    above = positive(g, g.op("Add", [x, g.scalar(found.step / 2 - found.lowest)]))
    below = positive(g, g.op("Sub", [g.scalar(found.highest + found.step / 2), x]))
    return g.op("Mul", [above, below])


OPERATOR = Operator(name="Quantizer", kind="quantizer", emit=_emit, adjoints={"slope": _slope}, image=same_image, homogeneous=False)
