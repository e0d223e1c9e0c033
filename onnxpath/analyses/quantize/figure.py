"""`--report`: the sweep as a figure, path-metric and found error of every layer by width."""

import numpy as np

from onnxpath.analyses.drawing import canvas, drawn, short, viridis
from onnxpath.records import Sweep


def draw(sweep: Sweep, path: str) -> bytes:
    """The figure as the bytes of a file of that name."""
    names = [short(layer.name) for layer in sweep.layers]
    place = np.arange(len(names))
    figure = canvas(12, max(4.0, min(14.0, 0.3 * len(names) + 1.5)))
    left, right = figure.subplots(1, 2, sharey=True)
    for k, width in enumerate(sweep.layers[0].widths):
        color = viridis(k / max(1, len(sweep.layers[0].widths) - 1))
        logs = [layer.widths[k].metric.log10 for layer in sweep.layers]
        left.plot(
            [np.nan if x is None else x for x in logs], place, "o", color=color, label=f"{width.bits} bits"
        )
        errors = np.array([layer.widths[k].found for layer in sweep.layers])
        right.plot(
            np.where((errors > 0) & np.isfinite(errors), errors, np.nan),
            place,
            "o",
            color=color,
            label=f"{width.bits} bits",
        )
    left.set_yticks(place, names, fontsize=7 if len(names) <= 40 else 4)
    left.invert_yaxis()
    left.set(xlabel="log10 of the path-metric", title="one layer quantized: path-metric")
    right.set(
        xlabel="largest difference of an output", title=f"found on {sweep.points.count} inputs", xscale="log"
    )
    left.legend(fontsize=7)
    for axes in (left, right):
        axes.grid(axis="both", alpha=0.3)
    return drawn(figure, path)
