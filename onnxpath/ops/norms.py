"""Lipschitz constants of operators without parameters, between norms of whole tensors (docs/lipschitz.md,
section 5).

An entry `norm` of a record is a function (site, kind, norms): from log2 of bounds on ‖x_k - y_k‖ for every
operand k a bound, in log2, on ‖f(x) - f(y)‖, in the ℓ∞ norm (kind "inf") or the ℓ2 norm (kind "spectral").
Every f here maps 0 to 0, so that it bounds sizes as well:

    one operand, linear       ‖M‖_∞ ‖x‖_∞ and ‖M‖₂ ‖x‖₂ <= √(‖M‖₁ ‖M‖_∞) ‖x‖₂, the largest sums of a row and
                              of a column
    a sum of operands         Σ_k ‖x_k‖
    side by side, a maximum   max_k ‖x_k‖_∞ and √(Σ_k ‖x_k‖₂²) since |max a - max b| <= max |a - b|
"""

from collections.abc import Callable, Sequence
from math import ceil, gcd, log2, prod, sqrt
from typing import Literal

import numpy as np

from onnxpath.model.network import Site

NormKind = Literal["inf", "spectral"]
Norm = Callable[[Site, NormKind, Sequence[float]], float]


def _log2(number: float) -> float:
    return log2(number) if number > 0 else -np.inf


def linear(sums: Callable[[Site], tuple[float, float]]) -> Norm:
    """Of one operand x -> M x; sums: the largest sums of moduli of a row and of a column of M."""

    def norm(site: Site, kind: NormKind, norms: Sequence[float]) -> float:
        (x,), (rows, columns) = norms, sums(site)
        return x + _log2(rows if kind == "inf" else sqrt(rows) * sqrt(columns))

    return norm


def picked(copies: Callable[[Site], int]) -> Norm:
    """Every cell of the output is one of the operand's (or the largest of some, or 0); copies: how often a
    cell is read at most."""
    return linear(lambda site: (1.0, float(copies(site))))


def moved(site: Site, kind: NormKind, norms: Sequence[float]) -> float:
    """Every cell of the only operand is read once at most."""
    (x,) = norms
    return x


def added(site: Site, kind: NormKind, norms: Sequence[float]) -> float:
    return float(np.logaddexp2.reduce(norms))


def joined(site: Site, kind: NormKind, norms: Sequence[float]) -> float:
    """Operands side by side, or the maximum of operands of one shape."""
    return max(norms) if kind == "inf" else 0.5 * float(np.logaddexp2.reduce([2 * x for x in norms]))


def overlap(kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]) -> int:
    """The largest number of windows that one cell lies in."""
    return prod(
        min(k, ceil(k / (s // gcd(s, d)))) for k, s, d in zip(kernel, strides, dilations, strict=True)
    )


def windows(site: Site) -> int:
    """The largest number of windows of a pool that one cell lies in."""
    return overlap(site["kernel"], site["strides"], site["dilations"])
