"""Non-negative coefficients of one network or of a pair, from their parameters (docs/theory.md, sections 1
and 3).

One network, exponent q:   |w|^q, and 1[w != 0] for q = 0.
A pair P, Q:               m = min(|p|, |q|) where the signs agree, else 0;  U = |p| - m;  V = |q| - m.
                           Then |p| = m + U, |q| = m + V, |p - q| = U + V, all without cancellation. Where q
                           is known to a relative error ε only, V = |q| - m + ε |q| is still an upper bound of
                           |q - m|.
With signs:                U and V negative where p q <= 0, so that sgn(p) q = m + V and sgn(q) p = m + U.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from onnxpath.engine.scaled import frexp, ldexp
from onnxpath.lanes.lanes import Coefficient, Summed
from onnxpath.model.network import Parameter, either

# Blocks stay in the processor's cache while several operations pass over them.
_BLOCK = 1 << 16


def blocks(array: np.ndarray) -> Iterator[tuple[slice, ...]]:
    """Indices of blocks of about 65,000 entries, along the axis that is slowest in memory."""
    if array.ndim == 0 or array.size <= _BLOCK:
        yield (slice(None),) * array.ndim
        return
    axis = int(np.argmax([s if n > 1 else 0 for s, n in zip(array.strides, array.shape, strict=True)]))
    step = max(1, _BLOCK * array.shape[axis] // array.size)
    for start in range(0, array.shape[axis], step):
        index = [slice(None)] * array.ndim
        index[axis] = slice(start, start + step)
        yield tuple(index)


def like(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """An empty array with the memory order of `array`, contiguous where that one is a broadcast view."""
    if 0 in array.strides and array.size > 1:
        return np.empty(array.shape, dtype)
    return np.empty_like(array, dtype=dtype)


def extremes(array: np.ndarray) -> tuple[float, float]:
    """The smallest non-zero and the largest absolute value (inf and 0 for an all-zero array)."""
    low, high = float("inf"), 0.0
    for index in blocks(array):
        part = np.abs(array[index])
        high = max(high, float(part.max(initial=0)))
        low = min(low, float(part.min(initial=np.inf, where=part > 0)))
    return low, high


def _buffers(count: int, pattern: np.ndarray, dtype: np.dtype) -> Iterable[np.ndarray]:
    """Zeros in the memory order of `pattern`, one after the other where that one is contiguous: already
    stacked.

    The system hands out zeroed pages when they are first written: parts that stay zero cost neither time nor
    memory.
    """
    if pattern.ndim > 0 and pattern.flags.c_contiguous:
        return np.zeros((count, *pattern.shape), dtype)
    if pattern.ndim == 2 and pattern.T.flags.c_contiguous:
        return (np.zeros(pattern.shape[::-1], dtype).T for _ in range(count))
    return (np.zeros(pattern.shape, dtype) for _ in range(count))


def storage(dtype: np.dtype, *parameters: Parameter) -> np.dtype:
    """float32 for float32 passes, unless computed or float64 parameters come near the ends of float32's
    range."""
    if dtype == np.float32:
        for parameter in parameters:
            if parameter.base.dtype == np.float64 or parameter.scale is not None:
                low, high = extremes(parameter.base)
                least, most = (1.0, 1.0) if parameter.scale is None else extremes(parameter.scale)
                if high > 0 and (low * least < 2.0**-100 or high * most > 2.0**100):
                    return np.dtype(np.float64)
    return dtype


def power(parameter: Parameter, q: float, dtype: np.dtype, stored: bool = False) -> Coefficient:
    """|w|^q as mantissa · 2**power, correct to a few roundings of `dtype`; stored: an array of it."""
    if q == 1:
        if parameter.scale is None and parameter.base.dtype == dtype:
            return Coefficient(np.abs(parameter.base) if stored else parameter.base, unsigned=not stored)
        out = like(parameter.base, storage(dtype, parameter))
        for index in blocks(parameter.base):
            out[index] = np.abs(parameter.block(index))
        return Coefficient(out, 0, 1, converted=True)
    if q == 0:
        return Coefficient((parameter.array() != 0).astype(dtype))
    value = parameter.base if parameter.scale is None else parameter.array()
    low, top = extremes(value)
    if top == 0:
        return Coefficient(np.zeros(parameter.shape, dtype))
    narrow = dtype == np.float32 and q * (np.log2(low) - np.log2(top)) > -100
    out = like(parameter.base, np.dtype(np.float32) if narrow else np.dtype(np.float64))
    whole = int(np.floor(q * np.log2(top)))
    rest = 2.0 ** (q * np.log2(top) - whole)
    for index in blocks(parameter.base):
        ratio = np.abs(parameter.block(index).astype(np.float64)) / top
        # (|w| / top)^q 2^rest in float64: |q log2 top| < 2**40 keeps the error far below one float32 rounding
        out[index] = np.power(ratio, q) * rest
    # float64 mode: the error of q log2(top) and of power() is a few dozen units in the last place
    return Coefficient(
        out, whole, 1 if dtype == np.float32 else 64 + int(8 * abs(q * np.log2(top))), converted=True
    )


@dataclass(frozen=True, eq=False)
class Pair:
    """m, U, V, |p|, |q| of one parameter tensor; None stands for all zeros.

    mass: Σ U and Σ V where the signs disagree or the other one is zero, then Σ U and Σ V everywhere.
    """

    m: Coefficient | None
    u: Coefficient | None
    v: Coefficient | None
    p: Coefficient | None
    q: Coefficient | None
    mass: np.ndarray


def _value(parameter: Parameter | None, shape: tuple, fill: float) -> Parameter:
    """The parameter, spread to `shape`; `fill` everywhere when it is missing."""
    if parameter is None:
        parameter = Parameter("", np.full((1,) * len(shape), fill, np.float32))
    return (
        parameter
        if parameter.shape == shape
        else replace(parameter, base=np.broadcast_to(parameter.base, shape))
    )


def total(first: Coefficient | None, second: Coefficient | None) -> Coefficient | None:
    """U + V, or the one that is not zero: where signs agree one of them is zero, so at most one rounding
    more."""
    if first is None or second is None:
        return first or second
    return Coefficient(
        first.array + second.array,
        0,
        max(first.roundings, second.roundings) + 1,
        (first, second),
        first.converted,
    )


def _opposite(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Where the sign bits differ."""
    if a.dtype == b.dtype == np.float32:
        return (a.view(np.int32) ^ b.view(np.int32)) < 0
    return np.signbit(a) != np.signbit(b)


class _Splitter:
    """Accumulates m, U, V (and U, V with signs) block by block into one buffer, so that they are already
    stacked."""

    def __init__(self, pattern: np.ndarray, kind: np.dtype, whole: bool, signed: bool, error: float):
        self.m, self.u, self.v, *signs = _buffers(5 if signed else 3, pattern, kind)
        self.su, self.sv = signs or (None, None)
        self.p, self.q = (like(pattern, kind) if whole else None for _ in range(2))
        self.some = [False, False, False]
        self.mass = np.zeros(4)
        self.error = error

    def block(self, index: tuple[slice, ...], a: np.ndarray, b: np.ndarray) -> None:
        m, u, v = self.m[index], self.u[index], self.v[index]
        x = np.abs(a) if self.p is None else np.abs(a, out=self.p[index])
        y = np.abs(b) if self.q is None else np.abs(b, out=self.q[index])
        if not self.error and np.array_equal(a, b):
            m[...] = x
            self.some[0] = self.some[0] or bool(x.any())
            return
        np.minimum(x, y, out=m)
        against = _opposite(a, b)
        against |= m == 0
        if against.any():
            m[against] = 0
            self.mass[0] += float(x[against].sum(dtype=np.float64))
            self.mass[1] += float(y[against].sum(dtype=np.float64))
        self.some[0] = self.some[0] or bool(m.any())
        for k, (whole, part, signs) in enumerate(((x, u, self.su), (y, v, self.sv)), start=1):
            if not np.array_equal(whole, m):
                np.subtract(whole, m, out=part)
                self.mass[k + 1] += float(part.sum(dtype=np.float64))
                self.some[k] = True
                if signs is not None:
                    signs[index] = part
                    np.negative(part, out=signs[index], where=against)
        if self.error:
            v += self.error * y
            self.some[2] = self.some[2] or bool(y.any())


def split(
    p: Parameter | None,
    q: Parameter | None,
    dtype: np.dtype,
    *,
    fill: float = 0.0,
    whole: bool = True,
    signed: bool = False,
) -> Pair:
    """m, U, V, |p|, |q| of two parameters of one shape; a missing one is `fill` everywhere.

    whole: |p| and |q| as arrays of their own, instead of sums made in the graph. signed: with signs where
        they disagree.

    Differences are exact or rounded once: float32 minus float32 is correctly rounded, everything else is
        float64.
    """
    present = either(p, q)
    p, q = _value(p, present.shape, fill), _value(q, present.shape, fill)
    exact = p.scale is None and q.scale is None and p.base.dtype == q.base.dtype == np.float32
    kind = (
        np.dtype(np.float32)
        if dtype == np.float32 and storage(dtype, p, q) == np.float32
        else np.dtype(np.float64)
    )
    made = _Splitter(present.base, kind, whole, signed, q.error)
    for index in blocks(present.base):
        a, b = p.block(index), q.block(index)
        if exact or kind == np.float64:
            made.block(index, a.astype(kind, copy=False), b.astype(kind, copy=False))
        else:  # differences in float64, then rounded once
            _narrowed(made, index, a.astype(np.float64), b.astype(np.float64))
    rounded = 0 if exact else 1 + int(np.ceil(q.error * 2.0**53))
    flips = made.mass[:2] > 0
    signs = (
        Coefficient(array, 0, 1, converted=not exact) if array is not None and some else None
        for array, some in zip((made.su, made.sv), flips, strict=True)
    )
    parts = zip((made.m, made.u, made.v), made.some, (rounded, 1, 1), (None, *signs), strict=True)
    m, u, v = (
        Coefficient(array, 0, roundings, converted=not exact, signed=signs) if some else None
        for array, some, roundings, signs in parts
    )
    if made.p is None or made.q is None:
        full_p, full_q = (Summed((m, part)) if m and part else m or part for part in (u, v))
    else:
        full_p, full_q = (
            m
            if part is None
            else Coefficient(array, 0, rounded, (part,) if m is None else (m, part), not exact)
            for part, array in ((u, made.p), (v, made.q))
        )
    return Pair(m, u, v, full_p, full_q, made.mass)


def _narrowed(target: _Splitter, index: tuple[slice, ...], a: np.ndarray, b: np.ndarray) -> None:
    """One block split in float64 and stored in the target's dtype."""
    wide = _Splitter(a, np.dtype(np.float64), target.p is not None, target.su is not None, target.error)
    everything = (slice(None),) * a.ndim
    wide.block(everything, a, b)
    for key in ("m", "u", "v", "p", "q", "su", "sv"):
        if getattr(target, key) is not None:
            getattr(target, key)[index] = getattr(wide, key)
    target.some = [x or y for x, y in zip(target.some, wide.some, strict=True)]
    target.mass += wide.mass


@dataclass(frozen=True, eq=False)
class Gram:
    """q², pq, p², δq, 2pδ, δ² of one parameter tensor, δ = p - q, as moduli with signs; None stands for all
    zeros."""

    qq: Coefficient | None
    pq: Coefficient | None
    pp: Coefficient | None
    dq: Coefficient | None
    pd: Coefficient | None
    dd: Coefficient | None


def gram(p: Parameter | None, q: Parameter | None, *, fill: float = 0.0) -> Gram:
    """Products of two parameters of one shape, in float64; a missing one is `fill` everywhere.

    Both are divided by a power of two first, so that no square overflows. δ is rounded once, a square of it
    three times.
    """
    shape = either(p, q).shape
    x, y = (_value(r, shape, fill).array().astype(np.float64) for r in (p, q))
    top = int(frexp(max(float(np.abs(r).max(initial=0.0)) for r in (x, y)))[1])
    x, y = ldexp(x, -top), ldexp(y, -top)
    d = x - y

    def coefficient(values: np.ndarray) -> Coefficient | None:
        modulus = np.abs(values)
        if not modulus.any():
            return None
        signed = Coefficient(values, 2 * top, 3, converted=True) if (values < 0).any() else None
        return Coefficient(modulus, 2 * top, 3, converted=True, signed=signed)

    square = coefficient(y * y)
    if not d.any():
        return Gram(square, square, square, None, None, None)
    return Gram(
        square,
        coefficient(x * y),
        coefficient(x * x),
        coefficient(d * y),
        coefficient(2 * x * d),
        coefficient(d * d),
    )
