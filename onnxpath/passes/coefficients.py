"""Non-negative coefficients of one network or of a pair, from their parameters (docs/theory.md, sections 1 and 3).

One network, exponent q:   |w|^q, and 1[w != 0] for q = 0.
A pair P, Q:               m = min(|p|, |q|) where the signs agree, else 0;  U = |p| - m;  V = |q| - m.
                           Then |p| = m + U, |q| = m + V, |p - q| = U + V, all without cancellation.
Signs of a pair:           Q⁻ = |q| where p q <= 0 (and q != 0), Q⁺ = |q| elsewhere; likewise P±.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from onnxpath.network import Parameter
from onnxpath.passes.lanes import Coefficient

_BLOCK = 1 << 20


def blocks(array: np.ndarray) -> Iterator[tuple[slice, ...]]:
    """Indices of blocks of about a million entries, along the axis that is slowest in memory."""
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


def storage(dtype: np.dtype, *parameters: Parameter) -> np.dtype:
    """float32 for float32 passes, unless float64 parameters leave float32's range."""
    if dtype == np.float32:
        for parameter in parameters:
            if parameter.base.dtype == np.float64 or parameter.scale is not None:
                top = float(np.abs(parameter.base).max(initial=0)) * float(np.abs(parameter.scale).max() if parameter.scale is not None else 1)
                if not 2.0**-60 < top < 2.0**100 and top > 0:
                    return np.dtype(np.float64)
    return dtype


def power(parameter: Parameter, q: float, dtype: np.dtype) -> Coefficient:
    """|w|^q as mantissa · 2**power, correct to a few roundings of `dtype`."""
    if q == 1:
        if parameter.scale is None and parameter.base.dtype == dtype:
            return Coefficient(np.abs(parameter.base))
        out = like(parameter.base, storage(dtype, parameter))
        for index in blocks(parameter.base):
            out[index] = np.abs(parameter.block(index))
        return Coefficient(out, 0, 1)
    if q == 0:
        return Coefficient((parameter.array() != 0).astype(dtype))
    top = max((float(np.abs(parameter.block(index)).max()) for index in blocks(parameter.base)), default=0.0)
    out = like(parameter.base, np.dtype(np.float64) if q > 8 else dtype)
    if top == 0:
        out[...] = 0
        return Coefficient(out)
    whole = int(np.floor(q * np.log2(top)))
    rest = 2.0 ** (q * np.log2(top) - whole)
    for index in blocks(parameter.base):
        ratio = np.abs(parameter.block(index).astype(np.float64)) / top
        # (|w| / top)^q 2^rest in float64: |q log2 top| < 2**40 keeps the error far below one float32 rounding
        out[index] = np.power(ratio, q) * rest
    # float64 mode: the error of q log2(top) and of power() is a few dozen units in the last place
    return Coefficient(out, whole, 1 if dtype == np.float32 else 64 + int(8 * abs(q * np.log2(top))))


@dataclass(frozen=True, eq=False)
class Pair:
    """m, U and V of one parameter tensor; None stands for all zeros. `crossed`: some signs disagree."""

    m: Coefficient | None
    u: Coefficient | None
    v: Coefficient | None
    p: Coefficient | None
    q: Coefficient | None
    crossed: bool

    @property
    def equal(self) -> bool:
        return self.u is None and self.v is None


def _value(parameter: Parameter | None, shape: tuple, fill: float) -> Parameter:
    return parameter if parameter is not None else Parameter("", np.full((1,) * len(shape), fill, np.float32))


def split(p: Parameter | None, q: Parameter | None, dtype: np.dtype, *, fill: float = 0.0, whole: bool = True) -> Pair:
    """m, U, V (and |p|, |q| where `whole`) of two parameters of one shape; a missing one is `fill` everywhere.

    Differences are exact or rounded once: float32 minus float32 is correctly rounded, everything else is float64.
    """
    present = p if p is not None else q
    p, q = _value(p, present.shape, fill), _value(q, present.shape, fill)
    kind = storage(dtype, p, q)
    exact = p.scale is None and q.scale is None and p.base.dtype == q.base.dtype == np.float32
    out = {key: like(present.base, kind) for key in "muv"}
    some = dict.fromkeys("muv", False)
    crossed = False
    pb = np.broadcast_to(p.base, present.shape)
    qb = np.broadcast_to(q.base, present.shape)
    p, q = Parameter(p.name, pb, p.scale), Parameter(q.name, qb, q.scale)
    for index in blocks(present.base):
        a, b = p.block(index), q.block(index)
        if not exact:
            a, b = a.astype(np.float64), b.astype(np.float64)
        x, y = np.abs(a), np.abs(b)
        if np.array_equal(a, b):
            out["m"][index] = x
            out["u"][index] = out["v"][index] = 0
            some["m"] = some["m"] or bool(x.any())
            continue
        smallest = np.minimum(x, y)
        differ = np.signbit(a) != np.signbit(b)
        differ &= smallest > 0
        if differ.any():
            crossed = True
            smallest[differ] = 0
        u, v = x - smallest, y - smallest
        out["m"][index], out["u"][index], out["v"][index] = smallest, u, v
        for key, part in (("m", smallest), ("u", u), ("v", v)):
            some[key] = some[key] or bool(part.any())
    roundings = 0 if exact and kind == np.float32 else 1
    made = {key: Coefficient(out[key], 0, 1 if key != "m" else roundings) if some[key] else None for key in "muv"}
    wholes = [made["m"] if made[key] is None else power(part, 1, dtype) if whole else None for key, part in (("u", p), ("v", q))]
    return Pair(made["m"], made["u"], made["v"], *wholes, crossed)


def signs(p: Parameter | None, q: Parameter | None, dtype: np.dtype, *, fill: float = 0.0) -> tuple[Coefficient | None, Coefficient | None]:
    """(Q⁺, Q⁻) of q against the signs of p; where p is 0 a non-zero q counts as Q⁻. None stands for all zeros."""
    present = p if p is not None else q
    p, q = _value(p, present.shape, fill), _value(q, present.shape, fill)
    p = Parameter(p.name, np.broadcast_to(p.base, present.shape), p.scale)
    q = Parameter(q.name, np.broadcast_to(q.base, present.shape), q.scale)
    kind = storage(dtype, q)
    same, other = like(present.base, kind), like(present.base, kind)
    for index in blocks(present.base):
        a, b = p.block(index), q.block(index)
        against = (np.signbit(a) != np.signbit(b)) | (a == 0)
        same[index] = np.where(against, 0, np.abs(b))
        other[index] = np.where(against, np.abs(b), 0)
    roundings = 0 if q.scale is None and q.base.dtype == kind else 1
    return tuple(Coefficient(part, 0, roundings) if part.any() else None for part in (same, other))
