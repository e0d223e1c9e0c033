"""`onnxpath bound A B DOMAIN`: how much the outputs of two networks can differ."""

from typing import TYPE_CHECKING

import click

from onnxpath.cli import deferred, options, seen
from onnxpath.cli.domain import domain_options
from onnxpath.cli.output import Report, Table, number, percent, say
from onnxpath.engine.scalar import Scaled
from onnxpath.errors import ViolationError

if TYPE_CHECKING:
    from onnxpath.records import Bound, BoundOutput

# Where the input of a violated bound is kept, for a report of the bug.
_EVIDENCE = "onnxpath-violation.npz"
_ROWS = 20
_PARTS = ("weights", "rounding of activations", "their saturation")


@click.command("bound")
@click.argument("a", type=click.Path())
@click.argument("b", type=click.Path())
@domain_options
@click.option(
    "--norm",
    type=click.Choice(["1", "2", "inf"]),
    default="inf",
    show_default=True,
    help="Of the difference, over all outputs.",
)
@click.option(
    "--search",
    type=click.IntRange(min=0),
    default=20,
    show_default=True,
    metavar="N",
    help="Steps of gradient ascent when looking for the largest difference; 0: corners and samples only.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the search.")
@click.option(
    "--margin",
    is_flag=True,
    help="On how many of the --inputs B provably predicts the class that A predicts.",
)
@click.option(
    "--confidence",
    type=float,
    default=0.99,
    show_default=True,
    help="Of the upper limit of the share of inputs whose class differs.",
)
@click.option("--compare", is_flag=True, help="Every known bound that applies to this pair, tightest first.")
@options.reading_options
@options.device_options
@options.file_options
@options.output_options
def command(
    a, b, region, norm, search, seed, margin, confidence, compare, reading, computing, running, output
) -> int:
    """Certified bound on |f_A(x) - f_B(x)| for every x of a domain and every output neuron, and the largest
    difference found by running both. The networks must have the same structure; weights may differ in any
    way.

    The domain is --radius R, --low L --high H, --inputs FILE.npz, or --inputs FILE.npz --epsilon E.
    """
    device, where = computing.device(), region.domain()
    run = running.runtime(computing.threads)
    with output.progress("reading the models"):
        networks = reading.pair(a, b, extended=True)
    try:
        with output.progress("bounding the difference"):
            result = deferred.bound.bound(
                *networks, where, device, norm=norm, search=search, seed=seed, margin=margin,
                confidence=confidence, compare=compare,
                files=(a, b), runtime=run,
            )  # fmt: skip
    except ViolationError as error:
        return violated(error, a, b)
    output.emit(result.to_dict(), _report(result))
    return 0


def violated(error: ViolationError, a: str, b: str) -> int:
    """Keep the input of a violated bound and say how to reproduce it; the exit code of a bug."""
    deferred.numpy.savez(_EVIDENCE, **error.inputs)
    say(f"onnxpath: this is a bug: {error}; the input is in {_EVIDENCE}")
    say(
        f"onnxpath: to reproduce: onnxpath bound {a} {b} --inputs {_EVIDENCE}; please report it with these"
        " files"
    )
    return 101


def _report(result: "Bound") -> Report:
    return Report(
        f"{result.a.path} → {result.b.path}",
        [*_facts(result), *_more_facts(result), *seen.facts(result.seen)],
        [*_tables(result), *seen.tables(result.interface)],
        result.notes,
    )


def _facts(result: "Bound") -> list[tuple[str, str]]:
    largest = result.largest
    found = (
        "nothing"
        if largest.found is None
        else f"{number(Scaled(largest.found))} ({largest.how}; {largest.runs:,} runs)"
    )
    return [
        ("domain", _domain(result.domain)),
        (
            f"certified, {result.norm}-norm of the difference",
            f"at most {number(largest.certified, toward='up')}",
        ),
        ("largest difference found", found),
        (
            "the same on both files, in ONNX Runtime",
            number(Scaled(largest.files)) if largest.files is not None else "-",
        ),
        ("certified / found", number(Scaled(largest.ratio)) if largest.ratio is not None else "-"),
        ("method", result.method),
    ]


def _more_facts(result: "Bound") -> list[tuple[str, str]]:
    """What only some pairs and calls have: quantizers, other activations, flips, margins."""
    facts = []
    if result.quantizers:
        shares = ", ".join(
            f"{what} {percent(share)}" for what, share in zip(_PARTS, result.parts().values(), strict=True)
        )
        words = [item.saturation for item in result.quantizers]
        counts = ", ".join(f"{word} in {words.count(word)}" for word in dict.fromkeys(words))
        facts += [("parts of the bound", shares), ("saturation of quantizers", counts)]
    if result.extensions:
        named = f"{len(result.extensions)}: {', '.join(result.extensions[:5])}"
        facts.append(("activations outside the paper's model", named))
    if result.flips is not None:
        flips = result.flips
        facts += [
            ("inputs whose class differs", f"{flips.differ} of {flips.inputs} ({percent(flips.share)})"),
            (
                f"their share in the distribution, {flips.confidence:g} sure",
                f"at most {percent(flips.upper_limit, 'up')}",
            ),
        ]
    if result.margin is not None:
        agree, inputs = result.margin.agree, result.margin.inputs
        facts.append(
            ("inputs on which B provably agrees", f"{agree} of {inputs} ({percent(agree / inputs, 'down')})")
        )
    return facts


def _domain(described: dict) -> str:
    rest = ", ".join(f"{key} {value}" for key, value in described.items() if key != "kind")
    return f"{described['kind']}{': ' if rest else ''}{rest}"


def _largest(shown: int, of: int) -> str:
    return f", the {shown} largest of {of}" if shown < of else ""


def _tables(result: "Bound") -> list[Table]:
    tables = [_layers(result), _quantizers(result), *map(_output, result.outputs), _inputs(result)]
    rows = [
        (c.name, "-" if c.value is None else number(c.value, toward="up"), c.source, c.condition)
        for c in result.compared
    ]
    heads = ("bound", "value", "source", "condition")
    tables.append(Table(heads, rows, title="every bound on the difference, 1-norm"))
    return [table for table in tables if table.rows]


def _layers(result: "Bound") -> Table:
    changed = sorted((layer for layer in result.layers if layer.share > 0), key=lambda layer: -layer.share)
    kinds: dict[str, str] = {}
    if result.quantizers:
        kinds |= zip(("weights", "rounding", "saturation"), _PARTS, strict=True)
    rows = [
        (layer.name, *([kinds[layer.kind]] if kinds else []), percent(layer.share), number(layer.metric))
        for layer in changed[:_ROWS]
    ]
    heads = ("layer", *(["part"] if kinds else []), "share", "bound")
    return Table(heads, rows, left=len(heads) - 2, title="where the bound comes from")


def _quantizers(result: "Bound") -> Table:
    rows = [
        (
            q.name, q.side.upper(), f"[{q.low:.4g}, {q.high:.4g}]", q.saturation,
            number(Scaled(q.overflow), toward="up"), str(q.certain),
        )
        for q in sorted(result.quantizers, key=lambda item: -item.overflow)[:_ROWS]
    ]  # fmt: skip
    heads = ("quantizer", "of", "range", "saturation", "beyond, at most", "certain for")
    return Table(heads, rows, left=4, title="quantizers of activations")


def _output(output: "BoundOutput") -> Table:
    order = sorted(range(len(output.bounds)), key=lambda k: -output.bounds[k])[:_ROWS]
    rows = [
        (
            str(k),
            number(Scaled(output.bounds[k]), toward="up") if output.bounds[k] < float("inf") else "> 1e308",
        )
        for k in order
    ]
    shape = "x".join(map(str, output.shape))
    title = f"output {output.name} {shape}{_largest(len(rows), len(output.bounds))}"
    return Table(("neuron", "at most"), rows, title=title)


def _inputs(result: "Bound") -> Table:
    worst = sorted(result.inputs, key=lambda item: -item.certified.log2)[:_ROWS]
    rows = [
        (
            str(i.index),
            number(i.certified, toward="up"),
            number(Scaled(i.found)) if i.found is not None else "-",
        )
        for i in worst
    ]
    title = f"every input by itself{_largest(len(rows), len(result.inputs))}"
    return Table(("input", "at most", "found"), rows, title=title)
