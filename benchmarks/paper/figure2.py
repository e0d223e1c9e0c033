"""Figure 2: test accuracy by epoch at 40 % of the weights removed. `python -m benchmarks.paper.figure2 --out
DIR`

Writes figure2.csv (a row for every training and epoch), figure2.md (where the curves end) and figure2.png:
means over seeds, from the smallest to the largest of them shaded, beside the curves of the authors' release.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.paper import folder, published, report
from benchmarks.paper.configuration import METHODS

COLUMNS = ("seed", "method", "rescaled", "epoch", "loss", "validation", "test")
_COLOURS = {"dense": "black", **{method: f"C{k}" for k, method in enumerate(METHODS)}}


def write(out: Path) -> str:
    """Write the files from the trainings that are finished; the markdown is returned. Raises SettingsError
    where there is no run."""
    settings = folder.open_settings(out)
    rows = [
        {"seed": row.seed, "method": row.method, "rescaled": row.rescaled, **point}
        for row in folder.trained(out, settings)
        if row.level in (0.0, settings.curve)
        for point in row.curve
    ]
    folder.write_csv(out / "figure2.csv", rows, COLUMNS)
    _draw(rows, settings.curve, out / "figure2.png")
    middle = (settings.rewind + settings.epochs + 1) // 2
    shown = (
        [settings.rewind + 1, middle, settings.epochs]
        if settings.epochs > settings.rewind + 2
        else [settings.epochs]
    )
    body = []
    for method, rescaled in dict.fromkeys((row["method"], row["rescaled"]) for row in rows):
        own = [row for row in rows if (row["method"], row["rescaled"]) == (method, rescaled)]
        cells = [report.percent([row["test"] for row in own if row["epoch"] == epoch]) for epoch in shown]
        body.append([report.name(method, rescaled), *cells])
    trainings = {(row["seed"], row["method"], row["rescaled"]) for row in rows}
    whole = len(trainings) == len(settings.seeds) * (1 + 2 * len(settings.methods))
    lines = [
        (
            f"Figure 2: training curves at {report.level(settings.curve)}: test accuracy in percent after an"
            " epoch (figure2.png)."
        ),
        "",
        report.of_seeds(settings, sorted({row["seed"] for row in rows}), whole),
        "",
    ]
    text = "\n".join([*lines, *report.table(["", *(f"epoch {epoch}" for epoch in shown)], body), ""])
    folder.text(out / "figure2.md", text)
    return text


def _style(method: str, rescaled: bool) -> dict[str, Any]:
    """Lines for what was trained, rings for the rescaled: equal curves are seen to be equal."""
    rings = {"linestyle": "none", "marker": "o", "fillstyle": "none", "markersize": 8}
    return {"color": _COLOURS[method], **(rings if rescaled else {"linestyle": "-"})}


def _draw(rows: Sequence[dict[str, Any]], level: float, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.2))
    for method, rescaled in dict.fromkeys((row["method"], row["rescaled"]) for row in rows):
        own = [row for row in rows if (row["method"], row["rescaled"]) == (method, rescaled)]
        epochs = sorted({row["epoch"] for row in own})
        values = [[100 * row["test"] for row in own if row["epoch"] == epoch] for epoch in epochs]
        left.plot(
            epochs,
            [np.mean(part) for part in values],
            label=report.name(method, rescaled),
            **_style(method, rescaled),
        )
        left.fill_between(
            epochs,
            [min(part) for part in values],
            [max(part) for part in values],
            color=_COLOURS[method],
            alpha=0.1,
            lw=0,
        )
    left.set(title=f"this run, {report.level(level)} removed", xlabel="epoch", ylabel="test accuracy (%)")
    for (method, rescaled), values in published.CURVES.items():
        right.plot(published.EPOCHS, values, label=report.name(method, rescaled), **_style(method, rescaled))
    right.set(title="authors' release, ImageNet, 40 % removed", xlabel="epoch")
    for axes in (left, right):
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=8)
    figure.tight_layout()
    folder.atomic(path, lambda p: figure.savefig(p, dpi=80))
    pyplot.close(figure)


if __name__ == "__main__":
    sys.exit(report.main(write, __doc__))
