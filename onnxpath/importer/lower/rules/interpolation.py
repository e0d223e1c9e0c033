"""Where the cells of a resized axis come from: the coordinate formulas of Resize, in the float32 arithmetic
of ONNX Runtime.

Cell i of an axis resized from n to m with scale s (float32) sits at

    half_pixel            (i + 1/2) / s - 1/2            asymmetric         i / s
    pytorch_half_pixel    the same, 0 when m = 1          align_corners      i (n - 1) / (m - 1), 0 when m = 1
    tf_half_pixel_for_nn  (i + 1/2) / s half_pixel_symmetric n/2 (1 - m/(s n)) + (i + 1/2) / s - 1/2

`nearest` rounds the coordinate, `linear` weighs the two cells around it; both clamp to the axis. An axis with
s = 1 is copied.
"""

import numpy as np

from onnxpath.engine.scaled import frexp

F = np.float32
COORDINATES = (
    "half_pixel",
    "pytorch_half_pixel",
    "asymmetric",
    "align_corners",
    "tf_half_pixel_for_nn",
    "half_pixel_symmetric",
)
ROUNDINGS = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")


def coordinates(mode: str, n: int, m: int, scale: np.float32) -> np.ndarray:
    i, half, one = np.arange(m, dtype=F), F(0.5), F(1)
    if scale == 1:
        return i
    if mode == "asymmetric":
        return i / scale
    if mode == "align_corners":
        return i * F(n - 1) / F(m - 1) if m > 1 else np.zeros(1, F)
    if mode == "tf_half_pixel_for_nn":
        return (i + half) / scale
    if mode == "pytorch_half_pixel" and m == 1:
        return np.zeros(1, F)
    centred = (i + half) / scale - half
    if mode == "half_pixel_symmetric":
        adjustment = F(m) / (scale * F(n))
        return F(n) / F(2) * (one - adjustment) + (i + half) / scale - half
    return centred


def _round_half_away(x: np.ndarray) -> np.ndarray:
    return np.trunc(x + np.copysign(0.5, x))


def nearest(rounding: str, n: int, m: int, x: np.ndarray, scale: np.float32) -> np.ndarray:
    """The cell that each coordinate copies. `simple` is the rule of opsets before 11."""
    x = x.astype(np.float64)
    if scale == 1:
        cells = x
    elif rounding == "simple":
        cells = np.ceil(x) if scale < 1 else np.trunc(x)
    elif rounding == "floor":
        cells = np.floor(x)
    elif rounding == "ceil":
        cells = np.ceil(x)
    elif rounding == "round_prefer_floor":
        cells = np.where(x == np.trunc(x) + 0.5, np.trunc(x), _round_half_away(x))
    else:
        cells = _round_half_away(x)
    return np.clip(cells, 0, n - 1).astype(np.int64)


def doubtful(mode: str, rounding: str, n: int, x: np.ndarray, scale: np.float32) -> bool:
    """Whether `nearest` hangs on how ONNX Runtime rounds a coordinate in one of the modes where that is not
    known: the sum of quotients of half_pixel_symmetric, and ties of asymmetric."""
    ties = rounding.startswith("round")
    if (
        not (mode == "half_pixel_symmetric" or (mode == "asymmetric" and ties))
        or frexp(float(scale))[0] == 0.5
    ):  # powers of two round nothing
        return False
    edge = x.astype(np.float64) + (0.5 if ties else 0.0)
    return bool((np.abs(edge - np.rint(edge)) < (n + 1) * 2.0**-20).any())


def linear(n: int, x: np.ndarray) -> np.ndarray:
    """The matrix, of shape (len(x), n), whose rows weigh the two cells around each coordinate."""
    x = np.clip(x, F(0), F(n - 1))
    lower = np.minimum(x.astype(np.int64), n - 1)
    upper = np.minimum(lower + 1, n - 1)
    share = (x - lower.astype(F)).astype(np.float64)
    rows = np.arange(len(x))
    matrix = np.zeros((len(x), n))
    np.add.at(
        matrix, (rows, lower), np.where(lower == upper, 0.0, np.abs(x - upper.astype(F)).astype(np.float64))
    )
    np.add.at(matrix, (rows, upper), np.where(lower == upper, 1.0, share))
    return matrix
