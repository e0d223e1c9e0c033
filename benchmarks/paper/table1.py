"""Table 1: share of removed weights that magnitude and path costs have in common. `python -m
benchmarks.paper.table1 --out DIR`

Overlap of the sets that two methods remove: |A ∩ B| / max(|A|, |B|). The last rows are of one method before
and after the rescaling. Writes table1.csv (a row for every seed and level) and table1.md.
"""

import sys
from pathlib import Path

from benchmarks.paper import folder, published, report

FIRST = "MP"
COLUMNS = ("seed", "level", "a", "b", "rescaled_a", "rescaled_b", "overlap")


def pairs(methods: tuple[str, ...]) -> list[tuple[tuple[str, bool], tuple[str, bool]]]:
    """The sets to compare: (method, rescaled) twice."""
    others = [m for m in ("Φ-GP", "Φ-LP") if m in methods] if FIRST in methods else []
    across = [((FIRST, rescaled), (other, rescaled)) for rescaled in (False, True) for other in others]
    return across + [((method, False), (method, True)) for method in methods]


def write(out: Path) -> str:
    """Write the files from the masks that are there; the markdown is returned. Raises SettingsError where
    there is no run."""
    settings = folder.open_settings(out)
    seeds, rows = folder.seeds(out), []
    for seed in seeds:
        for level in settings.levels:
            for a, b in pairs(settings.methods):
                paths = [
                    out / f"seed-{seed}" / f"{folder.label(method, level, rescaled)}-mask.npz"
                    for method, rescaled in (a, b)
                ]
                if all(path.exists() for path in paths):
                    share = folder.overlap(*map(folder.removed, paths))
                    rows.append(dict(zip(COLUMNS, (seed, level, a[0], b[0], a[1], b[1], share), strict=True)))
    folder.write_csv(out / "table1.csv", rows, COLUMNS)
    body = []
    for a, b in pairs(settings.methods):
        if a[0] == b[0]:
            title = f"{a[0]}, before and after rescaling"
        else:
            title = f"{a[0]} and {b[0]}{', rescaled' if a[1] else ''}"
        own = [row for row in rows if (row["a"], row["rescaled_a"], row["b"], row["rescaled_b"]) == (*a, *b)]
        body.append(
            [
                title,
                *(
                    report.percent([row["overlap"] for row in own if row["level"] == level])
                    for level in settings.levels
                ),
            ]
        )
        if a[0] != b[0] and not a[1]:
            known = dict(zip(published.LEVELS, published.OVERLAPS[b[0]], strict=True))
            body.append(
                [
                    "paper (ImageNet)",
                    *(f"{known[level]}" if level in known else "" for level in settings.levels),
                ]
            )
    whole = len(rows) == len(settings.seeds) * len(settings.levels) * len(pairs(settings.methods))
    shown = sorted({row["seed"] for row in rows})
    head = ["", *map(report.level, settings.levels)]
    lines = [
        "Table 1: share of removed weights in common, in percent.",
        "",
        report.of_seeds(settings, shown, whole),
        "",
    ]
    text = "\n".join([*lines, *report.table(head, body), ""])
    folder.text(out / "table1.md", text)
    return text


if __name__ == "__main__":
    sys.exit(report.main(write, __doc__))
