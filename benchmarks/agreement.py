"""Where pairs of networks provably agree as boxes grow, and what bounding the difference itself gains:
docs/agreement.md.

    python benchmarks/agreement.py [--real FOLDER] [--only TEXT] [--limit SECONDS] [--table FILE] [--plot
    FILE]

For every pair and half-width ε: the shares of boxes with each verdict of `onnxpath certify`, and the bound of
the largest difference of an output from the passes over the pair, against the one from each network alone
(product_bounds.py). Ratios are medians over boxes; times are of the processor, one thread. --real (or
ONNXPATH_REAL_MODELS) is the folder of other people's files.
"""

import argparse
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import process_time

import agreement_pairs as pairs
import measure
import numpy as np
import product_bounds as product

import onnxpath
from onnxpath.analyses.bound.classes import class_output
from onnxpath.analyses.certify.certifier import Options
from onnxpath.analyses.certify.certify import certify
from onnxpath.engine.session import Device
from onnxpath.errors import OnnxPathError
from onnxpath.model.domain import Domain
from onnxpath.model.matching import match

# What `onnxpath certify` may take for one ε, in seconds; boxes that are not finished by then are counted.
WALL = 60.0
VERDICTS = ("agree", "disagree", "undecided")
HEADER = (
    "pair", "inputs", "ε", "boxes", "agree", "disagree", "undecided", "agree, each alone",
    "certified / found",
    "tighter, effort 1", "time", "tighter, effort 2", "time",
)  # fmt: skip


@dataclass(frozen=True)
class Compared:
    """Medians over boxes at one effort: product bound / bound of the difference (None: that is 0), and the
    ratio of the times."""

    tighter: float | None
    time: float


@dataclass(frozen=True)
class Row:
    """One pair at one ε. counts: boxes by verdict; late: of the undecided ones, those the time ran out for.
    alone: boxes on which each network by itself provably predicts A's class. compared: by effort."""

    source: pairs.Source
    epsilon: float
    counts: dict[str, int]
    late: int
    alone: int
    ratio: float | None
    compared: dict[int, Compared]

    def cells(self) -> list[str]:
        name, total = self.source.name, sum(self.counts.values())
        shares = [f"{100 * self.counts[verdict] / total:.0f} %" for verdict in VERDICTS]
        if self.late:
            shares[-1] += f" ({self.late} not finished)"
        made = [
            name,
            self.source.data,
            f"{self.epsilon:g}",
            str(total),
            *shares,
            f"{100 * self.alone / total:.0f} %",
        ]
        made += ["-" if self.ratio is None else f"{self.ratio:.3g}"]
        for effort in (1, 2):
            found = self.compared.get(effort)
            if found is None:
                made += ["", ""]
            else:
                made += [
                    "difference is 0" if found.tighter is None else f"{found.tighter:.2g} ×",
                    f"{found.time:.2f}",
                ]
        return made


def compare(pair: product.Pair, given: product.Boxes, effort: int) -> Compared:
    """Both bounds of the same boxes. tighter > 1: the bound of the difference is smaller; time > 1: it took
    longer."""
    own, other = pair.difference(given, effort), pair.product(given, effort)
    if not own.bound.any():
        return Compared(None, own.seconds / other.seconds)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = other.bound / own.bound
    return Compared(float(np.median(ratios)), own.seconds / other.seconds)


def study(
    source: pairs.Source, files: tuple[Path, Path], limit: float, report: Callable[[Row], None]
) -> str | None:
    """Hand over a row for every ε; what was left out and why, or None. Past `limit` seconds of processor time
    no further ε is begun.

    Raises OnnxPathError for files that cannot be certified.
    """
    device, start = Device("cpu", threads=1), process_time()
    a, b = (onnxpath.load(path, extended=True) for path in files)
    pairing = match(a, b, quantizers=True)
    if class_output(a) is None:
        return "no class output"
    x = pairs.inputs(source, a.shapes[a.inputs[0]])
    pair = product.Pair(pairing, device, source.efforts)
    for epsilon in source.epsilons:
        if process_time() - start > limit:
            return f"ε from {epsilon:g} on: {process_time() - start:.0f} s had passed"
        domain = Domain.around(x, epsilon, 0.0, 1.0)
        region = domain.resolve(a)
        given = product.boxes(region, slice(0, source.compared))
        if epsilon == source.epsilons[0]:  # builds the sessions
            for effort in source.efforts:
                compare(pair, given, effort)
        compared = {effort: compare(pair, given, effort) for effort in source.efforts}
        options = Options(effort=max(source.efforts), search=source.search, time_limit=WALL)
        found = certify(a, b, domain, device, options, files=files)
        counts = {verdict: found.count(verdict) for verdict in VERDICTS}
        late = sum(not item.finished for item in found.inputs)
        predicted = np.array([-1 if item.predicted is None else item.predicted for item in found.inputs])
        alone = np.zeros(len(x), bool)
        for k in np.flatnonzero(predicted >= 0):  # -1: not begun in time
            one = slice(k, k + 1)
            alone[one] = pair.agree_alone(product.boxes(region, one), max(source.efforts), predicted[one])
        report(Row(source, epsilon, counts, late, int(alone.sum()), found.median_ratio, compared))
    return None


def plot(rows: Sequence[Row], path: Path) -> None:
    """Stacked shares over ε, one small panel a pair."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    names = list(dict.fromkeys(row.source.name for row in rows))
    columns = 4
    lines = -(-len(names) // columns)
    settings = {"font.size": 6, "svg.hashsalt": "onnxpath", "svg.fonttype": "none", "axes.linewidth": 0.5}
    with pyplot.rc_context(settings):
        figure, axes = pyplot.subplots(lines, columns, figsize=(9, 1.7 * lines), squeeze=False, sharey=True)
        for axis, name in zip(axes.flat, names, strict=False):
            own = [row for row in rows if row.source.name == name]
            shares = np.array(
                [
                    [100 * row.counts[verdict] / sum(row.counts.values()) for row in own]
                    for verdict in VERDICTS
                ]
            )
            at, bottom = np.arange(len(own)), np.zeros(len(own))
            for verdict, share, color in zip(
                VERDICTS, shares, ("#4477aa", "#cc6677", "#dddddd"), strict=True
            ):
                axis.bar(at, share, bottom=bottom, color=color, width=0.8, label=verdict)
                bottom = bottom + share
            axis.set_xticks(at, [f"{row.epsilon:g}" for row in own])
            axis.set_title(f"{name} ({sum(own[0].counts.values())})", fontsize=6)
        for axis in list(axes.flat)[len(names) :]:
            axis.set_visible(False)
        for line in axes:
            line[0].set_ylabel("% of boxes")
        figure.legend(*axes[0][0].get_legend_handles_labels(), loc="lower center", ncols=3, frameon=False)
        figure.tight_layout(rect=(0, 0.25 / (1.7 * lines), 1, 1))
        figure.savefig(path, format="svg", metadata={"Date": None})
        pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    real = os.environ.get("ONNXPATH_REAL_MODELS")
    parser.add_argument(
        "--real", type=Path, default=Path(real) if real else None, help="folder of other people's files"
    )
    parser.add_argument("--only", default="", help="pairs whose name holds this text")
    parser.add_argument(
        "--limit", type=float, default=25.0, help="seconds of processor time for a pair (default %(default)s)"
    )
    parser.add_argument("--table", type=Path, help="write the tables there, too")
    parser.add_argument("--plot", type=Path, help="write the plot there (svg)")
    chosen = parser.parse_args()
    rows: list[Row] = []
    left: list[list[str]] = []
    begun = process_time()
    with tempfile.TemporaryDirectory(prefix="onnxpath-agreement-") as folder:
        for source in pairs.sources(chosen.real):
            if chosen.only not in source.name:
                continue

            def report(row: Row) -> None:
                rows.append(row)
                measure.say(" | ".join(row.cells()))

            start = process_time()
            try:
                why = source.skip or study(
                    source, pairs.files(source, chosen.real, Path(folder)), chosen.limit, report
                )
            except OnnxPathError as error:
                why = str(error).partition(": ")[2] or str(error)
            measure.say(f"{source.name}: {process_time() - start:.0f} s" + (f"; {why}" if why else ""))
            if why:
                left.append([source.name, why])
    text = measure.table(HEADER, [row.cells() for row in rows])
    if left:
        text += "\n" + measure.table(("pair", "left out"), left)
    text += f"\n{process_time() - begun:.0f} s of processor time, one thread.\n"
    print(text, end="")
    if chosen.table is not None:
        chosen.table.write_text(text, encoding="utf-8")
    if chosen.plot is not None and rows:
        plot(rows, chosen.plot)


if __name__ == "__main__":
    main()
