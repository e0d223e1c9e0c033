"""`--report`: the sweep as a figure, path-metric and found error of every layer by width.

Matplotlib draws it; the package comes with the extra `report`. Equal results give equal files.
"""

import io
import os

import numpy as np

from onnxpath.analyses.prune.figure import check, short
from onnxpath.files.overwriting import MARK
from onnxpath.records import Sweep

__all__ = ["check", "draw"]


def draw(sweep: Sweep, path: str) -> bytes:
    """The figure as the bytes of a file of that name."""
    import matplotlib
    from matplotlib.figure import Figure

    names = [short(layer.name) for layer in sweep.layers]
    place = np.arange(len(names))
    figure = Figure(figsize=(12, max(4.0, min(14.0, 0.3 * len(names) + 1.5))), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for k, width in enumerate(sweep.layers[0].widths):
        color = matplotlib.colormaps["viridis"](k / max(1, len(sweep.layers[0].widths) - 1))
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
    page, kind = io.BytesIO(), os.path.splitext(path)[1].lower()
    with matplotlib.rc_context({"svg.hashsalt": "onnxpath", "text.parse_math": False}):
        figure.savefig(
            page,
            format=kind[1:],
            dpi=150,
            metadata={"Date": None, "Creator": MARK} if kind == ".svg" else {"Software": MARK},
        )
    return page.getvalue()
