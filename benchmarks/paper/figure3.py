"""Figure 3: |θ| against Φ-cost, before and after the random rescaling. `python -m benchmarks.paper.figure3
--out DIR`

The paper shows the pair for every parameter index; here are some weights of the convolutions and of the
linear layer, drawn at random over all of them, and Spearman's rank correlation over all of them. Φ-costs are
the same on both sides. Writes figure3.csv (the weights of the first seed), figure3.md (correlations) and
figure3.png.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.paper import folder, report

COLUMNS = ("weight", "layer", "rescaled", "log10_magnitude", "log10_cost")


def write(out: Path) -> str:
    """Write the files from the costs that are there; the markdown is returned. Raises SettingsError where
    there is no run."""
    settings = folder.open_settings(out)
    found: dict[tuple[int, bool], dict[str, Any]] = {}
    for seed in folder.seeds(out):
        for rescaled in (False, True):
            path = out / f"seed-{seed}" / f"costs{'-rescaled' if rescaled else ''}.json"
            if path.exists():
                found[seed, rescaled] = json.loads(path.read_text(encoding="utf-8"))
    first = {
        rescaled: item["points"]
        for (seed, rescaled), item in found.items()
        if seed == min(s for s, _ in found)
    }
    rows = [
        {"rescaled": rescaled, **dict(zip(points, values, strict=True))}
        for rescaled, points in first.items()
        for values in zip(*points.values(), strict=True)
    ]
    folder.write_csv(out / "figure3.csv", rows, COLUMNS)
    _draw(
        first,
        {rescaled: item["spearman"] for (seed, rescaled), item in reversed(found.items())},
        out / "figure3.png",
    )
    body = []
    for rescaled in (False, True):
        own = [item for (_, r), item in found.items() if r == rescaled]
        everything = report.number([item["spearman"] for item in own])
        within = report.number([float(np.median(list(item["layers"].values()))) for item in own])
        body.append(["rescaled" if rescaled else "as trained", everything, within])
    lines = [
        (
            "Figure 3: magnitude against path cost, before and after the rescaling (figure3.png). Rank"
            " correlation (Spearman):"
        ),
        "",
        report.of_seeds(settings, sorted({seed for seed, _ in found}), len(found) == 2 * len(settings.seeds)),
        "",
    ]
    text = "\n".join([*lines, *report.table(["", "over all weights", "within a layer (median)"], body), ""])
    folder.text(out / "figure3.md", text)
    return text


def _draw(points: dict[bool, dict[str, list[float]]], spearman: dict[bool, float], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, both = pyplot.subplots(1, 2, figsize=(10, 4.2), sharey=True)
    for axes, rescaled in zip(both, (False, True), strict=True):
        title = "after random rescaling" if rescaled else "as trained"
        if rescaled in points:
            own = points[rescaled]
            names = sorted(dict.fromkeys(own["layer"]))
            colours = [names.index(name) for name in own["layer"]]
            axes.scatter(own["log10_magnitude"], own["log10_cost"], s=3, c=colours, cmap="viridis", lw=0)
            title += f" (rank correlation {spearman[rescaled]:.2f})"
        axes.set(title=title, xlabel="log10 |θ|")
    both[0].set(ylabel="log10 Φ-cost")
    figure.tight_layout()
    folder.atomic(path, lambda p: figure.savefig(p, dpi=80))
    pyplot.close(figure)


if __name__ == "__main__":
    sys.exit(report.main(write, __doc__))
