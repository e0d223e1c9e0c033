"""`onnxpath certify A B --inputs FILE.npz --epsilon E`: on which inputs do two networks provably predict the
same class?"""

from typing import TYPE_CHECKING

import click

from onnxpath.cli import deferred, options, seen
from onnxpath.cli.bound import violated
from onnxpath.cli.domain import boxes_options
from onnxpath.cli.output import Report, Table, check_writable, number, percent
from onnxpath.engine.scalar import Scaled
from onnxpath.errors import UsageError, ViolationError
from onnxpath.files.writing import replaced

if TYPE_CHECKING:
    from onnxpath.records import Certificates

_ROWS = 20


def _least(text: str | None) -> float | None:
    budgets = deferred.budgets
    return None if text is None else budgets.limit(budgets.QUANTITIES["agree"], text)


@click.command("certify")
@click.argument("a", type=click.Path())
@click.argument("b", type=click.Path())
@boxes_options
@click.option(
    "--effort",
    type=click.IntRange(0, 3),
    default=2,
    show_default=True,
    help="How far to go: 0 intervals; 1 backward; 2, 3 relaxations.",
)
@click.option(
    "--tighten",
    is_flag=True,
    help="Use the whole effort on inputs that are decided already, for smaller bounds.",
)
@click.option(
    "--search",
    type=click.IntRange(min=0),
    metavar="N",
    help="Steps of every search for differences.  [default: 10; 0 at effort 0]",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the searches.")
@click.option("--min-agree", metavar="SHARE", help="Exit 1 when fewer inputs provably agree (95%).")
@click.option(
    "--time-limit", type=float, metavar="SECONDS", help="What is not finished by then is undecided."
)
@click.option(
    "--resume",
    type=click.Path(),
    metavar="FILE",
    help="Keep what is finished in this file, and go on from it.",
)
@click.option(
    "--counterexamples",
    type=click.Path(),
    metavar="FILE.npz",
    help="Write the inputs on which the two files disagree.",
)
@options.reading_options
@options.device_options
@options.file_options
@options.output_options
def command(
    a, b, region, effort, tighten, search, seed, min_agree, time_limit, resume, counterexamples,
    reading, computing, running, output,
) -> int:  # fmt: skip
    """For every input and the box of half-width E around it: the certified largest difference of the outputs,
    the largest one found, and a verdict: agree (both networks predict one class on the whole box, proved),
    disagree (an input of the box where the two files predict different classes), or undecided."""
    device, where, wanted = computing.device(), region.domain(), _least(min_agree)
    for path, kind in ((resume, "journal"), (counterexamples, "npz")):
        if path is not None:
            deferred.overwriting.check(path, kind, options.forced())
    obstacle = next(
        (found for path in (resume, counterexamples) if path is not None and (found := check_writable(path))),
        None,
    )
    if obstacle is not None:
        raise UsageError(obstacle)
    runtime = running.runtime(computing.threads)
    with output.progress("reading the models"):
        one, other = reading.pair(a, b, extended=True)
    chosen = deferred.certifier.Options(effort, search, seed, tighten, time_limit, resume, options.forced())
    try:
        with output.counter("certifying inputs") as progress:
            result = deferred.certify.certify(one, other, where, device, chosen, (a, b), progress, runtime)
    except ViolationError as error:
        return violated(error, a, b)
    if wanted is not None and not result.classified:
        raise UsageError(f"{a} has no class scores, so that --min-agree has no meaning; leave it out")
    if counterexamples is not None:
        _write(result, counterexamples)
    output.emit(result.to_dict(), _report(result, wanted))
    return int(wanted is not None and result.share("agree") < wanted)


def _write(result: "Certificates", path: str) -> None:
    """The inputs where the two files disagree, [n, ...] by name; `index` of each, and the classes class_a and
    class_b (after "certify " where an input has such a name)."""
    np = deferred.numpy
    found = [item for item in result.inputs if item.point is not None and item.classes is not None]
    names = sorted({name for item in found for name in item.point or {}})
    arrays = {
        name: np.concatenate([np.asarray((item.point or {})[name]) for item in found]) for name in names
    }
    classes = [item.classes or (-1, -1) for item in found]
    columns = [item.index for item in found], [a for a, _ in classes], [b for _, b in classes]
    extra = {
        name: np.array(column) if column else np.zeros(0, np.int64)
        for name, column in zip(("index", "class_a", "class_b"), columns, strict=True)
    }
    with replaced(path) as stream:
        deferred.overwriting.save_arrays(
            stream,
            arrays
            | {name if name not in arrays else f"certify {name}": array for name, array in extra.items()},
        )


def _report(result: "Certificates", wanted: float | None) -> Report:
    count = len(result.inputs)
    facts = [("boxes", ", ".join(f"{key} {value}" for key, value in result.domain.items() if key != "kind"))]
    if result.classified:
        labels = {
            "agree": "provably agree",
            "disagree": "disagree, found and checked on both files",
            "undecided": "undecided",
        }
        for verdict, label in labels.items():
            facts.append(
                (label, f"{result.count(verdict)} of {count} ({percent(result.share(verdict), 'down')})")
            )
    if wanted is not None:
        kept = result.share("agree") >= wanted
        facts.append(("at least", f"{percent(wanted)} should agree: {'passed' if kept else 'FAILED'}"))
    median = result.median_ratio
    facts.append(("certified / found, median", "-" if median is None else number(Scaled(median), 3)))
    if result.extensions:
        facts.append(("activations outside the paper's model", str(len(result.extensions))))
    order = sorted(
        result.inputs,
        key=lambda item: ({"disagree": 0, "undecided": 1}.get(item.verdict or "", 2), -item.certified),
    )[:_ROWS]
    rows = []
    for item in order:
        certified = (
            number(Scaled(item.certified), toward="up") if item.certified < float("inf") else "unbounded"
        )
        found = "-" if item.largest_found is None else number(Scaled(item.largest_found))
        rows.append(
            (
                str(item.index),
                item.verdict or "-",
                "-" if item.predicted is None else str(item.predicted),
                certified,
                found,
            )
        )
    more = f", {len(rows)} of {count}" if len(rows) < count else ""
    table = Table(
        ("input", "verdict", "class", "difference at most", "found"),
        rows,
        left=2,
        title=f"inputs, undecided ones first{more}",
    )
    facts += seen.facts(result.files)
    return Report(
        f"{result.a.path} → {result.b.path}", facts, [table, *seen.tables(result.interface)], result.notes
    )
