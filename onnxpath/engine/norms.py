"""Norms of differences."""

import numpy as np


def norms(difference: np.ndarray, norm: str) -> np.ndarray:
    """The norm ("1", "2" or "inf") of every row, float64; -inf where it is not finite."""
    d = np.abs(difference.astype(np.float64))
    with np.errstate(over="ignore", invalid="ignore"):
        value = d.max(1) if norm == "inf" else d.sum(1) if norm == "1" else np.sqrt((d * d).sum(1))
    return np.where(np.isfinite(value), value, -np.inf)
