"""Mixed precision: the cheapest assignment of widths whose cost stays under a target.

Each layer ℓ has options of (bytes, cost), the cost of quantizing it alone. Minimise Σ bytes subject to Σ cost
<= target: a knapsack with one choice per layer. Costs and bytes add up, so of two partial assignments of the
layers so far the one that is no better in either is never needed: what remains is a front of decreasing cost
over increasing bytes, extended layer by layer. It is exact while the front has at most `FRONT` points; beyond
that it is thinned evenly, and what is found is an assignment under the target still.

Costs of single layers add up to the first order only. So what an assignment really costs is measured, and the
target is moved by the ratio.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

FRONT = 1 << 13
_ROUNDS = 12
_CLOSE = 1.02


@dataclass(frozen=True)
class Option:
    """A width for a layer (None: as it is), the bytes it takes, and its cost in units of the budget."""

    bits: int | None
    bytes: int
    cost: float


def assign(options: Sequence[Sequence[Option]], target: float) -> list[int] | None:
    """The index of an option for every layer, with the fewest bytes, and among those the smallest cost; None
    when nothing fits."""
    size, cost = np.zeros(1, np.int64), np.zeros(1)
    steps: list[tuple[np.ndarray, np.ndarray]] = []
    for own in options:
        wide = (size[:, None] + np.array([option.bytes for option in own])).reshape(-1)
        dear = (cost[:, None] + np.array([option.cost for option in own])).reshape(-1)
        order = np.lexsort((dear, wide))
        order = order[dear[order] <= target]
        if not order.size:
            return None
        best = np.minimum.accumulate(dear[order])
        kept = order[np.append(True, best[1:] < best[:-1])]
        if kept.size > FRONT:
            kept = kept[np.unique(np.linspace(0, kept.size - 1, FRONT).astype(np.int64))]
        size, cost = wide[kept], dear[kept]
        steps.append((kept // len(own), kept % len(own)))
    chosen, place = [], 0
    for before, option in reversed(steps):
        chosen.append(int(option[place]))
        place = int(before[place])
    return chosen[::-1]


def search(options: Sequence[Sequence[Option]], measure: Callable[[list[int]], float]) -> list[int] | None:
    """The cheapest assignment found whose measured cost (in units of the budget) is at most 1; None without
    any. The target starts at 1 and follows the ratio of measured and added costs, between the largest that
    held and the smallest that did not. Where none of them held, the assignment of least cost is measured."""
    best: list[int] | None = None
    low, high, target = 0.0, float("inf"), 1.0
    seen: dict[tuple[int, ...], float] = {}
    for _ in range(_ROUNDS):
        choice = assign(options, target)
        if choice is None:
            break
        key = tuple(choice)
        value = seen[key] if key in seen else measure(choice)
        seen[key] = value
        if value <= 1:
            low = max(low, target)
            if best is None or _bytes(options, choice) < _bytes(options, best):
                best = choice
        else:
            high = min(high, target)
        if low and high / low < _CLOSE or value == 0:
            break
        target = target / value * (0.999 if value > 1 else 1.0)
        if not low < target < high:
            target = (
                sqrt(low * high)
                if low and high < float("inf")
                else (high / 2 if high < float("inf") else 2 * low)
            )
    if best is None:
        least = [min(range(len(own)), key=lambda k, own=own: own[k].cost) for own in options]
        best = least if measure(least) <= 1 else None
    return best


def _bytes(options: Sequence[Sequence[Option]], choice: Sequence[int]) -> int:
    return sum(own[k].bytes for own, k in zip(options, choice, strict=True))
