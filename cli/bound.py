"""`onnxpath bound A B DOMAIN`: how much the outputs of two networks can differ."""

from typing import TYPE_CHECKING

import click

from onnxpath.cli import options, seen
from onnxpath.cli.domain import domain, domain_options
from onnxpath.cli.output import Report, Table, emit, number, percent, say
from onnxpath.errors import ViolationError

if TYPE_CHECKING:
    from onnxpath.records import Bound

# Where the input of a violated bound is kept, for a report of the bug.
_EVIDENCE = "onnxpath-violation.npz"
_ROWS = 20
_PARTS = ("weights", "rounding of activations", "their saturation")


@click.command(
    "bound", short_help="How much the outputs of two networks can differ, at worst, on a domain of inputs."
)
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
@options.model_options
@options.device_options
@options.file_options
@options.output_options
def command(
    a, b, radius, low, high, inputs, epsilon, norm, search, seed, margin, confidence, compare, shapes,
    output_names, keep_batchnorm,
    provider, precision, threads, file_provider, file_option, output_format, files, quiet, verbose,
) -> int:  # fmt: skip
    """Certified bound on |f_A(x) - f_B(x)| for every x of a domain and every output neuron, and the largest
    difference found by running both. The networks must have the same structure; weights may differ in any
    way.

    The domain is --radius R, --low L --high H, --inputs FILE.npz, or --inputs FILE.npz --epsilon E.
    """
    device, where = options.device(provider, precision, threads), domain(radius, low, high, inputs, epsilon)
    from onnxpath.analyses.bound.bound import bound

    run = options.runtime(file_provider, file_option, threads)
    with options.progress("reading the models", quiet):
        networks = options.load_pair((a, b), shapes, output_names, keep_batchnorm, extended=True)
    try:
        with options.progress("bounding the difference", quiet):
            result = bound(
                *networks, where, device, norm=norm, search=search, seed=seed, margin=margin,
                confidence=confidence, compare=compare,
                files=(a, b), runtime=run,
            )  # fmt: skip
    except ViolationError as error:
        return violated(error, a, b)
    emit(result.to_dict(), _report(result), output_format, files, quiet)
    return 0


def violated(error: ViolationError, a: str, b: str) -> int:
    """Keep the input of a violated bound and say how to reproduce it; the exit code of a bug."""
    import numpy as np

    np.savez(_EVIDENCE, **error.inputs)
    say(f"onnxpath: this is a bug: {error}; the input is in {_EVIDENCE}")
    say(
        f"onnxpath: to reproduce: onnxpath bound {a} {b} --inputs {_EVIDENCE}; please report it with these"
        " files"
    )
    return 101


def _report(result: "Bound") -> Report:
    from onnxpath.engine.scaled import Scaled

    largest = result.largest
    found = (
        "nothing"
        if largest.found is None
        else f"{number(Scaled(largest.found))} ({largest.how}; {largest.runs:,} runs)"
    )
    facts = [
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
    if result.quantizers:
        shares = ", ".join(
            f"{what} {percent(share)}" for what, share in zip(_PARTS, result.parts().values(), strict=True)
        )
        facts.append(("parts of the bound", shares))
        words = [item.saturation for item in result.quantizers]
        facts.append(
            (
                "saturation of quantizers",
                ", ".join(f"{word} in {words.count(word)}" for word in dict.fromkeys(words)),
            )
        )
    if result.extensions:
        facts.append(
            (
                "activations outside the paper's model",
                f"{len(result.extensions)}: {', '.join(result.extensions[:5])}",
            )
        )
    if result.flips is not None:
        flips = result.flips
        facts.append(
            ("inputs whose class differs", f"{flips.differ} of {flips.inputs} ({percent(flips.share)})")
        )
        facts.append(
            (
                f"their share in the distribution, {flips.confidence:g} sure",
                f"at most {percent(flips.upper_limit, 'up')}",
            )
        )
    if result.margin is not None:
        share = result.margin.agree / result.margin.inputs
        facts.append(
            (
                "inputs on which B provably agrees",
                f"{result.margin.agree} of {result.margin.inputs} ({percent(share, 'down')})",
            )
        )
    facts += seen.facts(result.seen)
    return Report(
        f"{result.a.path} → {result.b.path}",
        facts,
        [*_tables(result), *seen.tables(result.interface)],
        result.notes,
    )


def _domain(described: dict) -> str:
    rest = ", ".join(f"{key} {value}" for key, value in described.items() if key != "kind")
    return f"{described['kind']}{': ' if rest else ''}{rest}"


def _tables(result: "Bound") -> list[Table]:
    from onnxpath.engine.scaled import Scaled

    tables = []
    changed = sorted((layer for layer in result.layers if layer.share > 0), key=lambda layer: -layer.share)[
        :_ROWS
    ]
    if changed:
        kinds = (
            dict(zip(("weights", "rounding", "saturation"), _PARTS, strict=True)) if result.quantizers else {}
        )
        rows = [
            (layer.name, *([kinds[layer.kind]] if kinds else []), percent(layer.share), number(layer.metric))
            for layer in changed
        ]
        heads = ("layer", *(["part"] if kinds else []), "share", "bound")
        tables.append(Table(heads, rows, left=len(heads) - 2, title="where the bound comes from"))
    if result.quantizers:
        order = sorted(result.quantizers, key=lambda item: -item.overflow)[:_ROWS]
        rows = [
            (
                q.name,
                q.side.upper(),
                f"[{q.low:.4g}, {q.high:.4g}]",
                q.saturation,
                number(Scaled(q.overflow), toward="up"),
                str(q.certain),
            )
            for q in order
        ]
        heads = ("quantizer", "of", "range", "saturation", "beyond, at most", "certain for")
        tables.append(Table(heads, rows, left=4, title="quantizers of activations"))
    for output in result.outputs:
        order = sorted(range(len(output.bounds)), key=lambda k: -output.bounds[k])[:_ROWS]
        rows = [
            (
                str(k),
                (
                    number(Scaled(output.bounds[k]), toward="up")
                    if output.bounds[k] < float("inf")
                    else "> 1e308"
                ),
            )
            for k in order
        ]
        more = f", the {len(rows)} largest of {len(output.bounds)}" if len(rows) < len(output.bounds) else ""
        tables.append(
            Table(
                ("neuron", "at most"),
                rows,
                title=f"output {output.name} {'x'.join(map(str, output.shape))}{more}",
            )
        )
    if result.inputs:
        worst = sorted(result.inputs, key=lambda item: -item.certified.log2)[:_ROWS]
        rows = [
            (
                str(i.index),
                number(i.certified, toward="up"),
                number(Scaled(i.found)) if i.found is not None else "-",
            )
            for i in worst
        ]
        more = f", the {len(rows)} largest of {len(result.inputs)}" if len(rows) < len(result.inputs) else ""
        tables.append(Table(("input", "at most", "found"), rows, title=f"every input by itself{more}"))
    if result.compared:
        rows = [
            (c.name, "-" if c.value is None else number(c.value, toward="up"), c.source, c.condition)
            for c in result.compared
        ]
        tables.append(
            Table(
                ("bound", "value", "source", "condition"), rows, title="every bound on the difference, 1-norm"
            )
        )
    return tables
