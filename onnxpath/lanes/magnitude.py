"""Magnitudes: how large every channel of every lane is, in log2, before a pass is run (docs/theory.md,
section 6).

A channel-level pass on the host bounds each channel c of a non-negative lane by 2**log2[c]: a convolution by
its kernel sums, a pool by its window size. From the bound an integer exponent E_c is chosen per channel, and
the graph computes mantissa = value · 2**-E_c, with 2**(E_in - E_out) folded into the weights: powers of two,
so nothing is rounded.

Exponents stay 0 while values stay within 2**±WINDOW, and otherwise are multiples of QUANTUM that stick to the
layer before, so that the branches of a residual block nearly always agree and need no extra multiplication.
"""

from collections.abc import Sequence

import numpy as np

from onnxpath.engine.scaled import ldexp

WINDOW = 40
QUANTUM = 32
# How far a sum without parameters may grow beyond its terms' exponents: float32 reaches to 127.
HEADROOM = 2 * WINDOW
# Below this exponent IEEE float32 results may lose bits or be flushed to zero by a device: one operation
# loses at most this.
TINY = {np.dtype(np.float32): -126.0, np.dtype(np.float64): -1022.0}
_NOTHING = -np.inf


def log2(array: np.ndarray) -> np.ndarray:
    """log2 of a non-negative array, -inf for 0."""
    with np.errstate(divide="ignore"):
        return np.log2(array, dtype=np.float64)


def add_log2(*arrays: np.ndarray) -> np.ndarray:
    """log2 of the sum, rounded up a little so that a bound stays a bound."""
    total = arrays[0]
    for array in arrays[1:]:
        total = np.logaddexp2(total, array)
    return total + 1e-9


def vector(array: np.ndarray, axis: int, length: int) -> np.ndarray:
    """A broadcastable array that varies along one axis only, as a vector of that axis' length."""
    if array.size == 1:
        return np.full(length, array.reshape(-1)[0])
    return np.broadcast_to(array.reshape(-1), (length,))


def along(values: np.ndarray, axis: int, rank: int) -> np.ndarray:
    """A vector as a broadcastable array that varies along one axis."""
    shape = [1] * rank
    shape[axis] = -1
    return values.reshape(shape)


def largest_along(array: np.ndarray, axis: int) -> np.ndarray:
    """The maximum over every axis but one."""
    others = tuple(k for k in range(array.ndim) if k != axis)
    return array.max(axis=others, keepdims=True) if others else array


def _product(matrix: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """matrix (groups, out, in) @ columns (groups, in, k): column by column, as k is small and a product of
    two matrices would first rearrange the large one."""
    found = np.empty((*matrix.shape[:2], columns.shape[2]), matrix.dtype)
    for rows, vectors, out in zip(matrix, np.ascontiguousarray(columns.swapaxes(1, 2)), found, strict=True):
        for k, column in enumerate(vectors):
            out[:, k] = rows @ column
    return found


def product_log2(matrix: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """log2(matrix @ 2**columns) for a non-negative matrix (groups, out, in) and columns (in, k) in log2.

    Columns are normalised by their largest entry and entries below 2**-900 of it are raised to that: an upper
    bound. Large float32 matrices are multiplied as they are when the columns' range allows it.
    """
    groups, out, inner = matrix.shape
    top = columns.max(axis=0)
    finite = np.isfinite(top)
    offset = np.where(finite, top, 0.0)
    scaled = np.exp2(np.maximum(columns - offset, -900.0)) * np.isfinite(columns)
    spread = columns[np.isfinite(columns)] - np.broadcast_to(offset, columns.shape)[np.isfinite(columns)]
    narrow = spread.size == 0 or spread.min() > -60
    scaled = scaled.reshape(groups, inner, -1)
    if (
        matrix.dtype == np.float32
        and narrow
        and matrix.size > 1 << 16
        and float(matrix.max(initial=0)) < 1e30
    ):
        product = _product(matrix, scaled.astype(np.float32)).astype(np.float64) * (1 + 1e-6 * inner)
        # what underflowed in float32: at most 2**-126 per term
        product += inner * 2.0**-126
    else:
        product = np.zeros((groups, out, scaled.shape[-1]))
        rows = max(1, (1 << 22) // max(1, inner))
        for start in range(0, out, rows):
            product[:, start : start + rows] = np.matmul(
                matrix[:, start : start + rows].astype(np.float64), scaled
            )
    result = log2(product.reshape(groups * out, -1)) + offset + 1e-9
    result[:, ~finite] = _NOTHING
    return result


def propagate(matrix: np.ndarray, pairs: Sequence[Sequence[np.ndarray]]) -> list[tuple[np.ndarray, ...]]:
    """Bounds (log2) of what a non-negative matrix makes of magnitudes and of what underflow lost of them,
    from pairs of both: one product with all of them.

    Where flush is at most 2**r of the magnitude in every channel it is so afterwards; its own product is only
    made when that is not already far below what matters.
    """
    columns, worst = [magnitude for magnitude, _ in pairs], []
    for magnitude, flush in pairs:
        with np.errstate(invalid="ignore"):
            part = float(np.where(np.isfinite(flush), flush - magnitude, _NOTHING).max())
        worst.append(part)
        if part >= -48:
            columns.append(flush)
    made = list(product_log2(matrix, np.stack(columns, axis=1)).T)
    after, own = made[: len(pairs)], iter(made[len(pairs) :])
    return [
        (m, next(own) if part >= -48 else m + part if np.isfinite(part) else np.full_like(m, part))
        for m, part in zip(after, worst, strict=True)
    ]


def choose_exponent(magnitude: np.ndarray, previous: int) -> np.ndarray:
    """Integer exponents for channels of the given log2 magnitude (broadcastable array), close to the previous
    layer's.

    Returns an array of one element when every channel may share it.
    """
    finite = magnitude[np.isfinite(magnitude)]
    one = (1,) * magnitude.ndim
    if finite.size == 0:
        return np.full(one, previous, np.int64)
    top = float(finite.max())
    base = previous if abs(top - previous) <= WINDOW else QUANTUM * round(top / QUANTUM)
    if float(finite.min()) >= base - 2 * WINDOW:
        return np.full(one, base, np.int64)
    safe = np.where(np.isfinite(magnitude), magnitude, base)
    own = QUANTUM * np.rint(safe / QUANTUM).astype(np.int64)
    return np.where(safe < base - 2 * WINDOW, own, base)


def scale_by_powers(array: np.ndarray, source: np.ndarray, target: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """array · 2**(source - target) in `dtype`, keeping the array's memory order; the array itself where
    nothing changes.

    source and target are integer arrays broadcastable to `array`. Blocks of rows keep the temporary memory
    small. A weight that would overflow multiplies a channel that is exactly zero (its magnitude bound says
    so): it is clipped to a finite number, so that 0 · w stays 0.
    """
    limit = 2.0**125 if dtype == np.float32 else 2.0**1020
    if source.size == 1 and target.size == 1 and source.item() == target.item():
        return array if array.dtype == dtype else np.clip(array, -limit, limit).astype(dtype, order="K")
    scaled = np.empty_like(array, dtype=dtype)
    axis = int(np.argmax(array.strides)) if array.ndim else 0
    length = array.shape[axis] if array.ndim else 1
    step = max(1, (1 << 20) * length // max(1, array.size))
    for start in range(0, length, step):
        block = (slice(None),) * axis + (slice(start, start + step),)
        shift = (source[block] if source.ndim > axis and source.shape[axis] > 1 else source) - (
            target[block] if target.ndim > axis and target.shape[axis] > 1 else target
        )
        with np.errstate(over="ignore", under="ignore"):
            if array.dtype == dtype and abs(shift).max() < 120:
                part = array[block] * np.exp2(shift).astype(dtype)
            else:
                part = ldexp(array[block].astype(np.float64), shift)
        scaled[block] = np.clip(part, -limit, limit)
    return scaled
