"""Arrays with exponents of their own: mantissa · 2**exponent, for values beyond float64; one number is a
`Scaled` (scalar.py).

Exponents are int64: those that `np.frexp` gives are int32, in which larger ones wrap around without a word.
So this file alone calls `np.frexp` and `np.ldexp`.
"""

from dataclasses import dataclass

import numpy as np

from onnxpath.engine.scalar import LOG10_2, Scaled

__all__ = ["LOG10_2", "Scaled", "ScaledArray", "frexp", "ldexp"]

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
