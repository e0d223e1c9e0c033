"""`--report`: magnitude against Φ-cost of every weight that can be pruned (paper, Figure 3), and what happens
to every layer.

Weights are binned in blocks first, so that a
picture of millions of them needs neither their memory nor their time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from onnxpath.analyses.drawing import canvas, drawn, short
from onnxpath.engine.scaled import LOG10_2
from onnxpath.lanes.coefficients import blocks
from onnxpath.records import Certificate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BINS = 400
_LAYERS = 40


@dataclass(frozen=True, eq=False)
class Cloud:
    """How many weights fall into every cell of a grid over log10 |θ| and log10 of the Φ-cost."""

    counts: np.ndarray
    magnitude: np.ndarray
    cost: np.ndarray


def cloud(values: Sequence[np.ndarray], costs: Sequence[np.ndarray], exponent: int) -> Cloud:
    """Bin all entries where neither is zero; `magnitude` and `cost` are the edges of the bins."""
    low, high = np.full(2, np.inf), np.full(2, -np.inf)
    for value, cost in zip(values, costs, strict=True):
        some = (value != 0) & (cost != 0)
        if some.any():
            for k, array in enumerate((np.abs(value), cost)):
                low[k] = min(low[k], float(array.min(where=some, initial=np.inf)))
                high[k] = max(high[k], float(array.max(where=some, initial=0)))
    if not np.isfinite(low).all():
        low, high = np.ones(2), np.ones(2)
    ends = np.log10(low) - 0.01, np.log10(high) + 0.01
    edges = [np.linspace(ends[0][k], ends[1][k], _BINS + 1) for k in range(2)]
    counts = np.zeros((_BINS, _BINS))
    for value, cost in zip(values, costs, strict=True):
        for index in blocks(value):
            x, y = np.abs(value[index]).reshape(-1), cost[index].reshape(-1)
            some = (x != 0) & (y != 0)
            counts += np.histogram2d(
                np.log10(x[some], dtype=np.float64), np.log10(y[some], dtype=np.float64), bins=edges
            )[0]
    return Cloud(counts, edges[0], edges[1] + exponent * LOG10_2)


def _hexagons(axes: "Axes", found: Cloud) -> Any:
    some = np.nonzero(found.counts)
    across, up = ((edges[:-1] + edges[1:]) / 2 for edges in (found.magnitude, found.cost))
    axes.set(
        xlabel="log10 |θ|",
        ylabel="log10 Φ-cost",
        title=f"magnitude and Φ-cost of {int(found.counts.sum()):,} weights",
    )
    kept = {"C": found.counts[some], "reduce_C_function": np.sum, "mincnt": 1}
    return axes.hexbin(
        across[some[0]], up[some[1]], gridsize=60, bins="log", cmap="viridis", linewidths=0.1, **kept
    )


def _bars(axes: "Axes", certificates: Sequence[Certificate]) -> None:
    names = [layer.name for layer in certificates[0].layers]
    place = np.arange(len(names))
    height = 0.8 / len(certificates)
    for k, found in enumerate(certificates):
        label = found.pattern if found.sparsity is None else f"{100 * found.sparsity:g} %"
        axes.barh(
            place + (k - (len(certificates) - 1) / 2) * height,
            [100 * layer.sparsity for layer in found.layers],
            height,
            label=label,
        )
    size = 7 if len(names) <= _LAYERS else 4
    axes.set_yticks(place, [short(name) for name in names], fontsize=size)
    axes.invert_yaxis()
    axes.set(xlim=(0, 100), xlabel="zeros, %", title="sparsity of every layer")
    axes.legend(title="sparsity", fontsize=7)


def draw(found: Cloud, certificates: Sequence[Certificate], path: str) -> bytes:
    """The figure as the bytes of a file of that name. certificates: of the networks pruned from this one, if
    any."""
    count = len(certificates[0].layers) if certificates else 0
    figure = canvas(12 if certificates else 7, max(5.0, min(12.0, 0.22 * count)))
    axes = figure.subplots(1, 2 if certificates else 1, squeeze=False)[0]
    figure.colorbar(_hexagons(axes[0], found), ax=axes[0], label="weights", format="{x:,.0f}")
    if certificates:
        _bars(axes[1], certificates)
    return drawn(figure, path)
