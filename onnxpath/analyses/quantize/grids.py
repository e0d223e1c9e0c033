"""Symmetric grids: the numbers that a weight becomes (docs/quantization.md, "Quantizing").

A grid of b bits has the step s > 0 and the numbers s·n, |n| <= L = 2^(b-1) - 1; its zero point is 0. With M
the largest modulus of what shares the step (a tensor, or an output channel),

    s = M / L in float32, rounded so that fl(L s) <= M,        n = round(w / s)  or  n = trunc(w / s).

A sign never flips and a zero stays zero: w · q(w) >= 0. Rounding towards zero never grows a modulus (in the
float32 products that DequantizeLinear computes, which is checked number by number), so that the pair is
monotone and its path-metric exact. Either way |w - q(w)| <= |w|.
"""

import numpy as np

from onnxpath.model.network import Shape

ROUNDINGS = ("nearest", "zero")
# Below this a step may be flushed to zero, or read as zero, by a runtime.
_SMALLEST = np.float32(2.0**-126)


def levels(bits: int) -> int:
    """L = 2^(bits-1) - 1."""
    return (1 << (bits - 1)) - 1


def along(step: np.ndarray, axis: int | None, rank: int) -> np.ndarray:
    """The steps, to broadcast to a tensor of that rank."""
    return step if axis is None else step.reshape((-1,) + (1,) * (rank - axis - 1))


def largest(array: np.ndarray, axis: int | None) -> np.ndarray:
    """max |w| of what shares a step: a number, or one per index of `axis`."""
    rest = None if axis is None else tuple(k for k in range(array.ndim) if k != axis)
    high, low = (np.asarray(end(array, axis=rest, initial=0.0)) for end in (np.max, np.min))
    return np.maximum(high, -low)


def steps(top: np.ndarray, bits: int) -> np.ndarray:
    """float32 steps for the largest moduli `top`; 1 where all is 0."""
    count = np.float32(levels(bits))
    with np.errstate(over="ignore"):
        step = (np.asarray(top, np.float64) / levels(bits)).astype(np.float32)
        while (above := (step * count).astype(np.float64) > top).any():
            step = np.where(above, np.nextafter(step, np.float32(0)), step)
    return np.where(np.asarray(top) > 0, np.maximum(step, _SMALLEST), np.float32(1)).astype(np.float32)


def integers(array: np.ndarray, step: np.ndarray, bits: int, rounding: str) -> np.ndarray:
    """n as floating-point numbers of the array's dtype. step: broadcastable to it."""
    count = levels(bits)
    n = array / step
    if rounding == "nearest":
        np.rint(n, out=n)
        return np.clip(n, -count, count, out=n)
    np.trunc(n, out=n)
    np.clip(n, -count, count, out=n)
    grown = np.abs(dequantized(n, step)) > np.abs(array)
    if grown.any():
        n -= np.where(grown, np.sign(n), 0).astype(n.dtype)
    return n


def dequantized(n: np.ndarray, step: np.ndarray) -> np.ndarray:
    """What DequantizeLinear makes of n: the float32 product, in the dtype of n."""
    return (n.astype(np.float32, copy=False) * step).astype(n.dtype, copy=False)


def _halved(array: np.ndarray, kind: str) -> np.ndarray:
    """Rounded to nearest in the type that the file's tensor has."""
    if kind == "float16":
        return array.astype(np.float16).astype(np.float32)
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    return (
        ((bits + (0x7FFF + ((bits >> 16) & 1))) & np.uint32(0xFFFF0000))
        .astype(np.uint32)
        .view(np.float32)
        .reshape(array.shape)
    )


def rounded(
    array: np.ndarray, bits: int, axis: int | None, rounding: str, kind: str, top: np.ndarray | None = None
) -> np.ndarray:
    """q(w) for every entry of a tensor of the file.

    array: float32 or float64 (halves as float32). axis: of the output channels, None for one step. kind: how
    the file stores the tensor; in a half what DequantizeLinear gives is rounded once more, which keeps signs
    and, towards zero, moduli. top: `largest` of it.
    """
    step = along(steps(largest(array, axis) if top is None else top, bits), axis, array.ndim)
    found = dequantized(integers(array, step, bits, rounding), step)
    return _halved(found, kind) if kind in ("float16", "bfloat16") else found


def channels(shape: Shape, axis: int | None) -> int:
    """How many steps a tensor has."""
    return 1 if axis is None else shape[axis]


def stored_bytes(shape: Shape, bits: int, axis: int | None) -> int:
    """Bytes of the integers and the steps of a tensor of the file. bits: of the type that stores them."""
    count = int(np.prod(shape, dtype=np.int64))
    return -(-count * bits // 8) + 4 * channels(shape, axis)


def storage(bits: int) -> int:
    """Bits of the smallest integer type of ONNX that holds a grid: 4, 8 or 16."""
    return 4 if bits <= 4 else 8 if bits <= 8 else 16
