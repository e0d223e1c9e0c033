"""Which coordinates to prune: reverse hard thresholding of scores, over all tensors, per tensor, or N of
every M.

Scores are non-negative float arrays, one per tensor, 0 where the coordinate already is 0. A target of k zeros
is met by the zeros that are there and then by the smallest scores: with t the k-th smallest score, everything
below t goes, and of what equals t as many as are missing, in the order of the tensors and of their entries.
For Φ-costs the set depends on the costs alone, so that no rescaling of neurons changes it (ties aside); it
minimises Σ of the removed costs, the bound (9) of the paper.

t is found without sorting and without a copy: non-negative floats are ordered as their bits are, and two
histograms of 16 bits each (four for float64) determine the k-th smallest one.
"""

from collections.abc import Sequence

import numpy as np

_DIGIT = 16
_CHUNK = 1 << 20
_FEW = 8


def _flat(array: np.ndarray) -> np.ndarray:
    """The entries in memory order: no copy of an array that fills its memory, whatever the order of its
    axes."""
    return array.ravel(order="K")


def kth_smallest(scores: Sequence[np.ndarray], k: int) -> float:
    """The k-th smallest of all entries, 1 <= k <= their number; all arrays have one dtype, float32 or
    float64."""
    kind = np.dtype(f"u{scores[0].dtype.itemsize}")
    shift, prefix, rank = 8 * kind.itemsize - _DIGIT, None, k
    while shift >= 0:
        counts = np.zeros(1 << _DIGIT, np.int64)
        for array in scores:
            bits = _flat(array).view(kind)
            for start in range(0, bits.size, _CHUNK):
                part = bits[start : start + _CHUNK]
                if prefix is not None:
                    part = part[(part >> (shift + _DIGIT)) == prefix]
                counts += np.bincount((part >> shift) & ((1 << _DIGIT) - 1), minlength=counts.size)
        below = np.cumsum(counts)
        digit = int(np.searchsorted(below, rank))
        rank -= int(below[digit] - counts[digit])
        prefix = digit if prefix is None else (prefix << _DIGIT) | digit
        shift -= _DIGIT
    return float(np.array(prefix, kind).view(scores[0].dtype))


def smallest(scores: Sequence[np.ndarray], values: Sequence[np.ndarray], k: int) -> list[np.ndarray]:
    """Masks of k coordinates (of all zeros of `values`, if there are more): those that are zero, then the
    smallest scores."""
    zeros = [value == 0 for value in values]
    missing = k - sum(int(np.count_nonzero(zero)) for zero in zeros)
    if missing <= 0:
        return zeros
    threshold = kth_smallest(scores, k)
    masks = [zero | (score < threshold) for zero, score in zip(zeros, scores, strict=True)]
    missing = k - sum(int(np.count_nonzero(mask)) for mask in masks)
    for mask, score in zip(masks, scores, strict=True):
        if missing <= 0:
            break
        tied = (score == threshold) & ~mask
        if tied.any():
            ties = np.flatnonzero(tied)[:missing]
            mask[np.unravel_index(ties, mask.shape)] = True
            missing -= ties.size
    return masks


def target(size: int, sparsity: float) -> int:
    """How many of `size` coordinates are zero at a sparsity."""
    return round(sparsity * size)


def n_of_m(score: np.ndarray, value: np.ndarray, axis: int, keep: int, of: int) -> np.ndarray:
    """The mask that keeps `keep` of every `of` consecutive entries along an axis: the largest scores, zeros
    last, the later one of equals. The axis' length must be a multiple of `of`."""
    last = np.moveaxis(np.where(value == 0, -1, score), axis, -1)
    groups = np.ascontiguousarray(last).reshape(-1, of)
    if of <= _FEW:
        rank = np.zeros(groups.shape, np.int8)
        for i in range(of):
            for j in range(i):
                later = groups[:, i] >= groups[:, j]
                rank[:, i] += later
                rank[:, j] += ~later
        gone = rank < of - keep
    else:
        order = np.argsort(groups, axis=1, kind="stable")[:, : of - keep]
        gone = np.zeros(groups.shape, bool)
        np.put_along_axis(gone, order, True, axis=1)
    return np.moveaxis(gone.reshape(last.shape), -1, axis)
