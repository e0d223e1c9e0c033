"""Table 2: test accuracy after pruning, rewinding and retraining. `python -m benchmarks.paper.table2 --out
DIR`

Writes table2.csv (a row for every training) and table2.md, with the published accuracies below those of the
run.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.paper import folder, published, report
from benchmarks.paper.configuration import Settings

COLUMNS = ("seed", "method", "level", "rescaled", "accuracy", "epoch", "same_mask", "reused", "weights")


def write(out: Path) -> str:
    """Write the files from the trainings that are finished; the markdown is returned. Raises SettingsError
    where there is no run."""
    settings = folder.open_settings(out)
    rows = folder.trained(out, settings)
    folder.write_csv(out / "table2.csv", [vars(row) for row in rows], COLUMNS)
    dense = report.percent([row.accuracy for row in rows if row.method == "dense"])
    body = []
    for method in settings.methods:
        for rescaled in (False, True):
            own = [row for row in rows if (row.method, row.rescaled) == (method, rescaled)]
            cells = [
                report.percent([row.accuracy for row in own if row.level == level])
                for level in settings.levels
            ]
            body.append([report.name(method, rescaled), dense, *cells])
            body += [
                _published(item, settings)
                for item in published.ACCURACIES
                if (item.method, item.rescaled) == (method, rescaled)
            ]
    whole = len(rows) == len(settings.seeds) * (1 + 2 * len(settings.levels) * len(settings.methods))
    shown = sorted({row.seed for row in rows})
    head = ["", "none", *map(report.level, settings.levels)]
    lines = [
        "Table 2: test accuracy in percent after rewinding and retraining.",
        "",
        report.of_seeds(settings, shown, whole),
        "",
    ]
    text = "\n".join([*lines, *report.table(head, body), "", *_invariance(rows, settings), ""])
    folder.text(out / "table2.md", text)
    return text


def _published(item: published.Published, settings: Settings) -> list[str]:
    known = dict(zip(published.LEVELS, item.values, strict=True))
    first = "" if item.dense is None else f"{item.dense}"
    return [
        f"{item.source} (ImageNet)",
        first,
        *(f"{known[level]}" if level in known else "" for level in settings.levels),
    ]


def _invariance(rows: Sequence[folder.Trained], settings: Settings) -> list[str]:
    """What the rescaling did to the masks and to the weights at the end of the training, method by method."""
    original = {(row.seed, row.method, row.level): row for row in rows if not row.rescaled}
    lines = []
    for method in settings.methods:
        after = [row for row in rows if row.method == method and row.rescaled]
        if not after:
            continue
        equal = [row for row in after if row.same_mask]
        again = [row for row in equal if not row.reused]
        bits = [row for row in again if row.weights == original[row.seed, row.method, row.level].weights]
        line = f"- {method}: {len(equal)} of {len(after)} masks are the same after the rescaling"
        if again:
            line += (
                f"; {len(bits)} of {len(again)} trainings under them, carried out again, ended with the same"
                " bits"
            )
        if len(again) < len(equal):
            line += (
                f"; {len(equal) - len(again)} trainings under them were not carried out again but taken over"
            )
        lines.append(line + ".")
    return lines


if __name__ == "__main__":
    sys.exit(report.main(write, __doc__))
