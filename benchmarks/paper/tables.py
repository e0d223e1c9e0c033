"""Tables 1 and 2 and the curves and points of Figures 2 and 3, as CSV, markdown and a plot, beside the published accuracies."""

import csv
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.paper.configuration import Settings

# test accuracy in percent on ImageNet, ResNet-18 (Table 2 of the release of the authors; its "path" stands beside Φ-GP)
PUBLISHED = {
    ("Φ-GP", False): {0.4: 68.9, 0.6: 68.4, 0.8: 64.9},
    ("MP", False): {0.4: 69.2, 0.6: 68.6, 0.8: 67.3},
    ("MP", True): {0.4: 62.4, 0.6: 59.1, 0.8: 0.1},
}


def _csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _cell(values: list[float]) -> str:
    return f"{100 * np.mean(values):.1f}" + (f" ± {100 * np.std(values, ddof=1):.1f}" if len(values) > 1 else "")


def _row(head: str, cells: list[str]) -> str:
    return f"| {head} | " + " | ".join(cells) + " |"


def write(settings: Settings, runs: list[dict[str, Any]], folder: Path) -> str:
    """Write the files into a folder; the markdown is returned too."""
    levels = settings.levels
    rows = [{"seed": run["seed"], **row} for run in runs for row in run["rows"]]
    parts = [{"seed": run["seed"], **row} for run in runs for row in run["overlaps"]]
    _csv(folder / "table1.csv", parts)
    _csv(folder / "table2.csv", [{key: value for key, value in row.items() if key != "curve"} for row in rows])
    dense = [{"seed": r["seed"], "method": "dense", "rescaled": False, **point} for r in runs for point in r["dense"]["curve"]]
    at = [row for row in rows if row["level"] == settings.curve]
    curves = dense + [{key: row[key] for key in ("seed", "method", "rescaled")} | point for row in at for point in row["curve"]]
    _csv(folder / "figure2.csv", curves)
    head = ["| | " + " | ".join(f"{100 * level:g} %" for level in levels) + " |", "|---|" + "---:|" * len(levels)]
    one = [
        _row(f"MP and {other}{', rescaled' if r else ''}",
             [_cell([p[other] for p in parts if p["level"] == level and p["rescaled"] == r]) for level in levels])
        for r in (False, True) for other in ("Φ-GP", "Φ-LP")
    ]  # fmt: skip
    two = []
    for method in ("MP", "Φ-LP", "Φ-GP"):
        for r in (False, True):
            own = [row for row in rows if row["method"] == method and row["rescaled"] == r]
            two.append(
                _row(f"{method}{', rescaled' if r else ''}", [_cell([x["accuracy"] for x in own if x["level"] == v]) for v in levels])
            )
            published = PUBLISHED.get((method, r))
            if published:
                two.append(_row("published (ImageNet)", [f"{published[v]}" if v in published else "" for v in levels]))
    changed = [row for row in rows if row["rescaled"] and not row["same_mask"]]
    kept = [m for m in ("MP", "Φ-LP", "Φ-GP") if not any(row["method"] == m for row in changed)]
    text = "\n".join([
        f"Settings `{settings.name}`: {settings.network} network, {settings.epochs} epochs, rewound to epoch {settings.rewind}; "
        f"seeds {', '.join(map(str, settings.seeds))}; dense accuracy {_cell([run['dense']['accuracy'] for run in runs])} %.",
        "", "Table 1: share of removed weights in common, in percent.", "", *head, *one,
        "", "Table 2: test accuracy in percent after rewinding and retraining.", "", *head, *two,
        "", f"Masks equal before and after rescaling, at every level and seed: {', '.join(kept) or 'none'}.", "",
    ])  # fmt: skip
    (folder / "tables.md").write_text(text, encoding="utf-8")
    _csv(folder / "figure3.csv", runs[0]["points"])
    _plot(curves, folder / "figure2.png")
    _scatter(runs[0]["points"], folder / "figure3.png")
    return text


def _plot(curves: list[dict[str, Any]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4))
    for method, rescaled in dict.fromkeys((point["method"], point["rescaled"]) for point in curves):
        own = [p for p in curves if (p["method"], p["rescaled"]) == (method, rescaled)]
        epochs = sorted({p["epoch"] for p in own})
        means = [np.mean([p["validation"] for p in own if p["epoch"] == e]) for e in epochs]
        axes.plot(epochs, means, "--" if rescaled else "-", label=f"{method}{', rescaled' if rescaled else ''}")
    axes.set(xlabel="epoch", ylabel="validation accuracy")
    axes.legend()
    figure.savefig(path, dpi=80)
    pyplot.close(figure)


def _scatter(points: list[dict[str, Any]], path: Path) -> None:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(8, 4), sharey=True)
    for axis, rescaled in zip(axes, (False, True), strict=True):
        own = [p for p in points if p["rescaled"] == rescaled]
        axis.scatter([np.log2(p["magnitude"]) for p in own], [p["log2_cost"] for p in own], s=2)
        axis.set(xlabel="log2 |θ|", ylabel="log2 Φ-cost", title="rescaled" if rescaled else "trained")
    figure.savefig(path, dpi=80)
    pyplot.close(figure)
