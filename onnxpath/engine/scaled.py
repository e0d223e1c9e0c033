"""Numbers and arrays with an exponent of their own: mantissa · 2**exponent, for values beyond float64."""

from dataclasses import dataclass
from math import floor, frexp, inf, isfinite, ldexp, log2, log10

import numpy as np

LOG10_2 = log10(2.0)


@dataclass(frozen=True)
class Scaled:
    """A non-negative number mantissa · 2**exponent (float64 mantissa)."""

    mantissa: float
    exponent: int = 0

    @classmethod
    def power(cls, log2_value: float) -> "Scaled":
        """2**log2_value, for a real exponent; 0 for -inf."""
        if log2_value == -np.inf:
            return cls(0.0)
        whole = floor(log2_value)
        return cls(2.0 ** (log2_value - whole), whole)

    @property
    def log2(self) -> float:
        return log2(self.mantissa) + self.exponent if self.mantissa > 0 else -np.inf

    @property
    def log10(self) -> float | None:
        """log10 of the value, None for 0."""
        return log10(self.mantissa) + self.exponent * LOG10_2 if self.mantissa > 0 else None

    @property
    def value(self) -> float | None:
        """The value as a float, None where float64 cannot hold it."""
        try:
            value = ldexp(self.mantissa, self.exponent)
        except OverflowError:
            return None
        return value if isfinite(value) and (value or not self.mantissa) else None

    def _aligned(self, other: "Scaled") -> tuple[float, float, int]:
        if self.mantissa == 0 or (other.mantissa != 0 and other.log2 > self.log2):
            top = other.exponent
        else:
            top = self.exponent
        # ldexp with clipped shifts: the smaller operand vanishes when it is 2**-2000 of the larger one
        a = np.ldexp(self.mantissa, max(-2000, min(900, self.exponent - top)))
        b = np.ldexp(other.mantissa, max(-2000, min(900, other.exponent - top)))
        return float(a), float(b), top

    def __add__(self, other: "Scaled") -> "Scaled":
        a, b, top = self._aligned(other)
        return Scaled(a + b, top)

    def minus(self, other: "Scaled") -> "Scaled":
        """max(0, self - other)."""
        a, b, top = self._aligned(other)
        return Scaled(max(0.0, a - b), top)

    def times(self, factor: float) -> "Scaled":
        (m, e), (f, g) = frexp(self.mantissa), frexp(factor)
        return Scaled(m * f, self.exponent + e + g)

    def over(self, other: "Scaled") -> float:
        """The quotient as a float; 0 / 0 is 0."""
        if self.mantissa == 0:
            return 0.0
        try:
            return ldexp(self.mantissa / other.mantissa, self.exponent - other.exponent)
        except OverflowError:
            return inf

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

    def sum(self) -> Scaled:
        """The sum of all entries."""
        exponent = np.broadcast_to(self.exponent, self.mantissa.shape)
        used = exponent[self.mantissa != 0]
        if used.size == 0:
            return Scaled(0.0)
        top = int(used.max())
        shifted = np.ldexp(self.mantissa, np.maximum(exponent - top, -2000))
        return Scaled(float(shifted.sum()), top)

    def normal(self) -> tuple[np.ndarray, np.ndarray]:
        """Mantissas in [1/2, 1) or 0, and their exponents (int64, very small for 0): comparable entry by entry."""
        mantissa, shift = np.frexp(self.mantissa)
        exponent = np.broadcast_to(self.exponent, mantissa.shape) + shift.astype(np.int64)
        return mantissa, np.where(mantissa == 0, -(1 << 60), exponent)

    def minimum(self, other: "ScaledArray") -> "ScaledArray":
        """The smaller entries of two arrays of one shape."""
        (m, e), (n, f) = self.normal(), other.normal()
        less = (e < f) | ((e == f) & (m <= n))
        return ScaledArray(np.where(less, m, n), np.where(less, e, f))

    def floats(self) -> np.ndarray:
        """float64 values, rounded up where they are subnormal; inf beyond float64."""
        with np.errstate(over="ignore", under="ignore"):
            value = np.ldexp(self.mantissa, np.clip(self.exponent, -5000, 5000).astype(np.int32))
        return np.where((self.mantissa > 0) & (value < 2.0**-1022), 2.0**-1022, value)

    def norms(self, kind: str) -> list[Scaled]:
        """Upper bounds of the 1-, 2- or inf-norm (kind) of every row of a two-dimensional array."""
        mantissa, exponent = self.normal()
        found = []
        for m, e in zip(mantissa, exponent, strict=True):
            top = int(e.max(initial=-(1 << 60)))
            if top == -(1 << 60):
                found.append(Scaled(0.0))
                continue
            part = np.ldexp(m, np.maximum(e - top, -1000).astype(np.int32))
            size = {"inf": part.max(), "1": part.sum(), "2": np.sqrt((part * part).sum())}[kind]
            found.append(Scaled(float(size) * (1.0 if kind == "inf" else 1 + 1e-12), top))
        return found

    def flatten(self) -> list[Scaled]:
        exponent = np.broadcast_to(self.exponent, self.mantissa.shape).reshape(-1)
        return [Scaled(float(m), int(e)) for m, e in zip(self.mantissa.reshape(-1), exponent, strict=True)]
