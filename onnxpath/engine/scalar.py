"""One number with an exponent of its own: mantissa · 2**exponent, for values beyond float64.

An upper bound that nobody has is *unbounded*, the mantissa ∞. It is larger than every number, and stays what
it is through sums and products. Python's own floats: a report needs no NumPy.
"""

import math
from dataclasses import dataclass
from math import floor, inf, isfinite, log2, log10

LOG10_2 = log10(2.0)


def _times_power(mantissa: float, exponent: int) -> float:
    """mantissa · 2**exponent; ∞ beyond float64."""
    try:
        return math.ldexp(mantissa, exponent)
    except OverflowError:
        return math.copysign(inf, mantissa)


@dataclass(frozen=True)
class Scaled:
    """A non-negative number mantissa · 2**exponent (float64 mantissa, ∞ for what is unbounded)."""

    mantissa: float
    exponent: int = 0

    @property
    def unbounded(self) -> bool:
        return self.mantissa == inf

    @classmethod
    def power(cls, log2_value: float) -> "Scaled":
        """2**log2_value, for a real exponent; 0 for -inf, unbounded for inf."""
        if log2_value == -inf:
            return cls(0.0)
        if log2_value == inf:
            return cls(inf)
        whole = floor(log2_value)
        return cls(2.0 ** (log2_value - whole), whole)

    @property
    def log2(self) -> float:
        return log2(self.mantissa) + self.exponent if self.mantissa > 0 else -inf

    @property
    def log10(self) -> float | None:
        """log10 of the value, None for 0 and for what is unbounded."""
        return (
            log10(self.mantissa) + self.exponent * LOG10_2
            if self.mantissa > 0 and not self.unbounded
            else None
        )

    @property
    def value(self) -> float | None:
        """The value as a float, None where float64 cannot hold it."""
        value = _times_power(self.mantissa, self.exponent)
        return value if isfinite(value) and (value or not self.mantissa) else None

    def _aligned(self, other: "Scaled") -> tuple[float, float, int]:
        if self.mantissa == 0 or (other.mantissa != 0 and other.log2 > self.log2):
            top = other.exponent
        else:
            top = self.exponent
        # clipped shifts: the smaller operand vanishes when it is 2**-2000 of the larger one
        a, b = (_times_power(x.mantissa, max(-2000, min(900, x.exponent - top))) for x in (self, other))
        return a, b, top

    def __add__(self, other: "Scaled") -> "Scaled":
        a, b, top = self._aligned(other)
        return Scaled(a + b, top)

    def minus(self, other: "Scaled") -> "Scaled":
        """max(0, self - other); unbounded where self is."""
        if self.unbounded:
            return self
        a, b, top = self._aligned(other)
        return Scaled(max(0.0, a - b), top)

    def times(self, factor: float) -> "Scaled":
        """The product with a number >= 0; unbounded where self is, whatever the factor."""
        if self.unbounded:
            return self
        (m, e), (f, g) = math.frexp(self.mantissa), math.frexp(factor)
        return Scaled(m * f, self.exponent + e + g)

    def over(self, other: "Scaled") -> float:
        """The quotient as a float; 0 / 0 is 0, and what is unbounded stays infinite."""
        if self.mantissa == 0:
            return 0.0
        return (
            inf
            if self.unbounded
            else _times_power(self.mantissa / other.mantissa, self.exponent - other.exponent)
        )

    def __le__(self, other: "Scaled") -> bool:
        a, b, _ = self._aligned(other)
        return a <= b

    def __lt__(self, other: "Scaled") -> bool:
        a, b, _ = self._aligned(other)
        return a < b

    def root(self, q: float) -> "Scaled":
        """The q-th root."""
        return self if q == 1 else Scaled.power(self.log2 / q) if self.mantissa > 0 else self
