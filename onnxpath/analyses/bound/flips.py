"""How often two networks predict different classes: what inputs drawn from a distribution say of that
distribution.

k of n independent inputs get different classes. The Clopper-Pearson upper limit at confidence γ is the rate p
above which seeing k or fewer has probability less than 1 - γ:

    P(X <= k | n, p) = Σ_{i <= k} C(n, i) p^i (1 - p)^(n - i) = 1 - γ,
    p = 1 for k = n,    p = 1 - (1 - γ)^(1/n) for k = 0.

It is exact: whatever the true rate, the limit lies below it with probability at most 1 - γ.
"""

from math import exp, lgamma, log, log1p, nextafter

import numpy as np

from onnxpath.errors import UsageError
from onnxpath.records import Flips


def _log_tail(k: int, n: int, p: float) -> float:
    """log P(X <= k) for X binomial(n, p), 0 < p < 1."""
    terms = [
        lgamma(n + 1) - lgamma(i + 1) - lgamma(n - i + 1) + i * log(p) + (n - i) * log1p(-p)
        for i in range(k + 1)
    ]
    top = max(terms)
    return top + log(sum(exp(term - top) for term in terms))


def upper_limit(k: int, n: int, confidence: float) -> float:
    """The Clopper-Pearson upper limit of a rate, rounded up; k of n, 0 < confidence < 1. Raises UsageError
    otherwise."""
    if not 0 < confidence < 1:
        raise UsageError(f"the confidence must lie strictly between 0 and 1, not {confidence:g}")
    if not 0 <= k <= n or n < 1:
        raise UsageError(f"{k} of {n} is no share")
    if k == n:
        return 1.0
    target = log1p(-confidence)
    # log-gamma errs by some units in the last place of its value: a tail this much smaller is still below the
    # target
    slack = 1e-14 * (n + 10) * log(n + 10)
    low, high = 0.0, 1.0
    while nextafter(low, 1.0) < high:
        middle = (low + high) / 2
        if _log_tail(k, n, middle) > target - slack:
            low = middle
        else:
            high = middle
        if high - low < 1e-15:
            break
    return min(1.0, high)


def counted(differing: np.ndarray, confidence: float) -> Flips:
    """From which of n inputs get different classes, bool [n]."""
    count = int(differing.sum())
    return Flips(count, len(differing), confidence, upper_limit(count, len(differing), confidence))


def flips(a: np.ndarray, b: np.ndarray, confidence: float) -> Flips:
    """Compare the predicted classes of two arrays of scores [n, classes]."""
    return counted(a.argmax(axis=1) != b.argmax(axis=1), confidence)
