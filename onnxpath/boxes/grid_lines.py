"""Lines above and below quantizers, and above and below the difference of two networks at one
(docs/certify.md, section 3).

Of h in [l, u] a quantizer q with the range [lo, hi] makes clip(h) + e, |e| <= half (ops/quantizer.py), so
that

    q(h) - h in [-half - (u - hi)+, half + (lo - l)+],            slope 1
    q(h)     in [clip(l) - half, clip(u) + half],                 slope 0

and of two networks, d = h_B - h_A, with their own quantizers q_A and q_B or none,

    q_B(h_B) - q_A(h_A) = d + (q_B(h_B) - h_B) - (q_A(h_A) - h_A)                            slope 1
                        in [least q_B - largest q_A, largest q_B - least q_A]                 slope 0

where with one and the same static grid it is also s d + e, s in [0, 1], |e| <= 2 half, and with a grid in one
network only, s d + e less what the other network's value is beyond the range, |e| <= half. Of the two slopes
the one with the narrower band is taken, neuron by neuron.
"""

from dataclasses import dataclass

import numpy as np

from onnxpath.boxes.difference_lines import Difference, Joint
from onnxpath.boxes.known import Known
from onnxpath.boxes.ranges import DYNAMIC
from onnxpath.boxes.relaxation import Lines, offsets
from onnxpath.model.network import Node
from onnxpath.ops.quantizer import Channels, Dynamic, Grid, Quantization

# What float64 loses of sums of a few of these numbers.
_SPARE = 2.0**-48


@dataclass(frozen=True, eq=False)
class _Band:
    """Of q(h): `low`, `high`; of q(h) - h: `down`, `up`; what h is below and above the range at most."""

    low: np.ndarray
    high: np.ndarray
    down: np.ndarray
    up: np.ndarray
    below: np.ndarray
    above: np.ndarray


def _band(grid: Grid | None, low: np.ndarray, high: np.ndarray) -> _Band:
    zero = np.zeros_like(low)
    if grid is None:
        return _Band(low, high, zero, zero, zero, zero)
    if isinstance(grid, Dynamic):
        axes = tuple(range(1, low.ndim))
        top, bottom = (
            np.maximum(high.max(axes, keepdims=True), 0.0),
            np.minimum(low.min(axes, keepdims=True), 0.0),
        )
        half = np.broadcast_to((top - bottom) * (DYNAMIC * (1 + _SPARE)), low.shape)
        return _Band(low - half, high + half, -half, half, zero, zero)
    half = grid.half * (1 + _SPARE)
    below, above = np.maximum(grid.lowest - low, 0.0), np.maximum(high - grid.highest, 0.0)
    ends = (np.clip(end, grid.lowest, grid.highest) for end in (low, high))
    return _Band(next(ends) - half, next(ends) + half, -half - above, half + below, below, above)


def outside(grid: Grid | None, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """[n, ...]: neurons that a static quantizer may cut, for which a tighter interval is worth something."""
    if isinstance(grid, Quantization | Channels):
        return (low < grid.lowest) | (high > grid.highest)
    return np.zeros(low.shape, bool)


def _chosen(low1, high1, low0, high0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Slope, and offsets below and above."""
    slope = (high1 - low1 <= high0 - low0).astype(np.float64)
    return slope, np.where(slope > 0, low1, low0), np.where(slope > 0, high1, high0)


def _own(band: _Band, low: np.ndarray, high: np.ndarray, dtype: np.dtype) -> Lines:
    slope, bottom, top = _chosen(band.down, band.up, band.low, band.high)
    bottom, top = _widened(bottom, top, low, high)
    f_low, f_up = offsets(bottom, top, slope, slope, np.maximum(np.abs(low), np.abs(high)), dtype)
    return Lines(slope.astype(dtype), f_low, slope.astype(dtype), f_up)


def grid_lines(node: Node, known: Known, dtype: np.dtype) -> Joint:
    """The lines of a Quantizer node for the intervals of its input; those of the difference where the
    networks may differ behind it."""
    p, q = node.attributes["quantizer"], node.attributes.get("twin")
    a, b = _band(p, known.al, known.au), _band(q, known.bl, known.bu)
    first = _own(a, known.al, known.au, dtype)
    if not known.differs and p == q:
        return Joint(first, first)
    second = _own(b, known.bl, known.bu, dtype)
    far = [b.low - a.high, b.high - a.low]
    shrunk = np.minimum(known.dl, 0.0), np.maximum(known.du, 0.0)
    if p == q and isinstance(p, Quantization | Channels):
        far = [np.maximum(far[0], shrunk[0] - 2 * p.half), np.minimum(far[1], shrunk[1] + 2 * p.half)]
    elif p is None and isinstance(q, Quantization | Channels):
        out = _band(q, known.al, known.au)
        far = [
            np.maximum(far[0], shrunk[0] - q.half - out.above),
            np.minimum(far[1], shrunk[1] + q.half + out.below),
        ]
    elif q is None and isinstance(p, Quantization | Channels):
        out = _band(p, known.bl, known.bu)
        far = [
            np.maximum(far[0], shrunk[0] - p.half - out.below),
            np.minimum(far[1], shrunk[1] + p.half + out.above),
        ]
    slope, low, high = _chosen(b.down - a.up, b.up - a.down, *far)
    low, high = _widened(low, high, known.al, known.au, known.bl, known.bu)
    g_low, g_up = offsets(low, high, slope, slope, np.maximum(np.abs(known.dl), np.abs(known.du)), dtype)
    return Joint(first, second, Difference(slope.astype(dtype), g_low, slope.astype(dtype), g_up))


def _widened(low: np.ndarray, high: np.ndarray, *of: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    size = sum(np.abs(part) for part in of) * _SPARE
    return low - size - np.abs(low) * _SPARE, high + size + np.abs(high) * _SPARE
