"""The rounding certificate (docs/theory.md, section 6).

A chain of k float operations on non-negative terms, each correct to u = 2**-24 (2**-53), has relative error
at most γ_k = k u / (1 - k u). So a true value t and its computed value c obey |t - c| <= γ_k t + flush,
whatever the order of summation, and c / (1 - γ_k)-style inflation turns c into a certified upper bound of t.
"""

import numpy as np

UNIT = {np.dtype(np.float32): 2.0**-24, np.dtype(np.float64): 2.0**-53}


def gamma(roundings: int, dtype: np.dtype) -> float:
    """γ_k for the dtype; infinite when k u >= 1 (no certificate: use float64)."""
    ku = roundings * UNIT[np.dtype(dtype)]
    return ku / (1 - ku) if ku < 1 else float("inf")


def relative_error(roundings: int, dtype: np.dtype) -> float:
    """ρ with true <= computed (1 + ρ) and true >= computed (1 - ρ): the error relative to the computed
    value."""
    g = gamma(roundings, dtype)
    return g / (1 - g) if g < 1 else float("inf")
