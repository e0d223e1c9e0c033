"""Numbers and arrays with an exponent of their own: mantissa · 2**exponent, for values beyond float64.

Exponents are int64: those that `np.frexp` gives are int32, in which larger ones wrap around without a word.
So this file alone calls `np.frexp` and `np.ldexp`.

An upper bound that nobody has is *unbounded*, the mantissa ∞. It is larger than every number, and stays what
it is through sums and products.
"""

import math
from dataclasses import dataclass
from math import floor, inf, isfinite, log2, log10

import numpy as np

LOG10_2 = log10(2.0)
# The exponent that stands for 0, and that of what is unbounded, where entries are compared by exponent and
# mantissa.
_NOTHING, _UNBOUNDED = -(1 << 60), 1 << 60
# Beyond these exponents float64 is 0 or infinite, whatever the mantissa.
_CUT = 5000


def frexp(values: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    """Mantissas, with moduli in [1/2, 1) or 0, and exponents, int64; ±∞ and NaN are their own mantissas, with
    the exponent 0."""
    mantissa, exponent = np.frexp(values)
    return mantissa, np.where(np.isfinite(mantissa), exponent, 0).astype(np.int64)


def ldexp(mantissa: np.ndarray | float, exponent: np.ndarray | int) -> np.ndarray:
    """mantissa · 2**exponent in the mantissa's dtype, for integers of any size; infinite or 0 where that is
    beyond it."""
    with np.errstate(over="ignore", under="ignore"):
        return np.ldexp(mantissa, np.clip(exponent, -_CUT, _CUT).astype(np.int32))


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
        if log2_value == -np.inf:
            return cls(0.0)
        if log2_value == np.inf:
            return cls(inf)
        whole = floor(log2_value)
        return cls(2.0 ** (log2_value - whole), whole)

    @property
    def log2(self) -> float:
        return log2(self.mantissa) + self.exponent if self.mantissa > 0 else -np.inf

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


@dataclass(frozen=True, eq=False)
class ScaledArray:
    """mantissa (float64 array, leading batch axis) · 2**exponent (integer array that broadcasts to it)."""

    mantissa: np.ndarray
    exponent: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray) -> "ScaledArray":
        """Numbers >= 0, infinite ones unbounded."""
        return cls(*frexp(values))

    def sum(self) -> Scaled:
        """The sum of all entries."""
        exponent = np.broadcast_to(self.exponent, self.mantissa.shape)
        used = exponent[self.mantissa != 0]
        if used.size == 0:
            return Scaled(0.0)
        top = int(used.max())
        shifted = ldexp(self.mantissa, np.maximum(exponent - top, -2000))
        return Scaled(float(shifted.sum()), top)

    def normal(self) -> tuple[np.ndarray, np.ndarray]:
        """Mantissas in [1/2, 1) or 0, and their exponents (int64, very small for 0): upper bounds that are
        comparable entry by entry.

        What is no number (a pass overflowed) bounds nothing: it is unbounded, with a mantissa of ∞ and a very
        large exponent.
        """
        mantissa, shift = frexp(np.where(np.isnan(self.mantissa), np.inf, self.mantissa))
        exponent = np.broadcast_to(self.exponent, mantissa.shape).astype(np.int64) + shift
        return mantissa, np.where(mantissa == 0, _NOTHING, np.where(np.isinf(mantissa), _UNBOUNDED, exponent))

    def minimum(self, other: "ScaledArray") -> "ScaledArray":
        """The smaller entries of two arrays of one shape."""
        (m, e), (n, f) = self.normal(), other.normal()
        less = (e < f) | ((e == f) & (m <= n))
        return ScaledArray(np.where(less, m, n), np.where(less, e, f))

    def floats(self) -> np.ndarray:
        """float64 values, rounded up where they are subnormal; inf beyond float64."""
        value = ldexp(self.mantissa, self.exponent)
        return np.where((self.mantissa > 0) & (value < 2.0**-1022), 2.0**-1022, value)

    def norms(self, kind: str) -> list[Scaled]:
        """Upper bounds of the 1-, 2- or inf-norm (kind) of every row of a two-dimensional array."""
        mantissa, exponent = self.normal()
        found = []
        for m, e in zip(mantissa, exponent, strict=True):
            top = int(e.max(initial=_NOTHING))
            if top == _NOTHING:
                found.append(Scaled(0.0))
                continue
            part = ldexp(m, np.maximum(e - top, -1000))
            size = {"inf": part.max(), "1": part.sum(), "2": np.sqrt((part * part).sum())}[kind]
            found.append(Scaled(float(size) * (1.0 if kind == "inf" else 1 + 1e-12), top))
        return found

    def flatten(self) -> list[Scaled]:
        exponent = np.broadcast_to(self.exponent, self.mantissa.shape).reshape(-1)
        return [Scaled(float(m), int(e)) for m, e in zip(self.mantissa.reshape(-1), exponent, strict=True)]
