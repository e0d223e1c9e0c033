"""Lines above and below quantizers, and above and below the difference of two networks at one
(docs/certify.md, section 3).

Of the two enclosures of grid.py, that of q(h) - h (slope 1) and that of q(h) (slope 0), the narrower one is
taken, neuron by neuron; of a difference those of slope 1, and of slope 0 what both networks' values and their
grids say.
"""

import numpy as np

from onnxpath.boxes.difference_lines import Difference, PairLines
from onnxpath.boxes.grid import Arrays, Enclosure, enclose, error_difference, shrunk_difference
from onnxpath.boxes.pair_intervals import PairIntervals, down, up
from onnxpath.boxes.relaxation import Lines, offsets
from onnxpath.model.network import Node

_ARRAYS = Arrays()


def _narrower(
    slope1: tuple[np.ndarray, np.ndarray] | None, slope0: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Slope, and offsets below and above."""
    zero = np.zeros_like(slope0[0])
    low, high = (zero, zero) if slope1 is None else slope1
    steep = high - low <= slope0[1] - slope0[0]
    return steep.astype(np.float64), np.where(steep, low, slope0[0]), np.where(steep, high, slope0[1])


def _own(found: Enclosure, low: np.ndarray, high: np.ndarray, dtype: np.dtype) -> Lines:
    slope, bottom, top = _narrower(found.error, found.value)
    f_low, f_up = offsets(bottom, top, slope, slope, np.maximum(np.abs(low), np.abs(high)), dtype)
    return Lines(slope.astype(dtype), f_low, slope.astype(dtype), f_up)


def grid_lines(node: Node, known: PairIntervals, dtype: np.dtype) -> PairLines:
    """The lines of a Quantizer node for the intervals of its input; those of the difference where the
    networks may differ behind it."""
    p, q = node.attributes["quantizer"], node.attributes.get("twin")
    ends_a, ends_b, ends_d = (known.al, known.au), (known.bl, known.bu), (known.dl, known.du)
    a, b = enclose(_ARRAYS, p, *ends_a), enclose(_ARRAYS, q, *ends_b)
    first = _own(a, *ends_a, dtype)
    if not known.differs and p == q:
        return PairLines(first, first)
    second = _own(b, *ends_b, dtype)
    low, high = b.value[0] - a.value[1], b.value[1] - a.value[0]
    low, high = down(low, a.value[1], b.value[0]), up(high, a.value[0], b.value[1])
    shrunk = shrunk_difference(_ARRAYS, p, q, ends_a, ends_b, ends_d)
    if shrunk is not None:
        low, high = np.maximum(low, shrunk[0]), np.minimum(high, shrunk[1])
    slope, low, high = _narrower(error_difference(_ARRAYS, a, b), (low, high))
    g_low, g_up = offsets(low, high, slope, slope, np.maximum(np.abs(known.dl), np.abs(known.du)), dtype)
    return PairLines(first, second, Difference(slope.astype(dtype), g_low, slope.astype(dtype), g_up))
