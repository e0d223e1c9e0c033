"""`onnxpath metric A B`: the path-metric of two networks."""

from typing import TYPE_CHECKING

import click

from onnxpath.cli import deferred, options, seen
from onnxpath.cli.output import Report, Table, number, percent

if TYPE_CHECKING:
    from onnxpath.records import PathMetric


@click.command("metric")
@click.argument("a", type=click.Path())
@click.argument("b", type=click.Path())
@click.option(
    "--input-bound",
    type=float,
    default=1.0,
    show_default=True,
    metavar="R",
    help="Bound the outputs' difference for all inputs with |x_i| <= R.",
)
@click.option("--l2", is_flag=True, help="Also the l2 path-metric, for any pair, in float64.")
@click.option(
    "--estimate",
    "samples",
    type=click.IntRange(2, 10**7),
    metavar="SAMPLES",
    help="Also estimate the path-metric from this many sampled paths, with a 99 % confidence interval.",
)
@click.option(
    "--seed", type=click.IntRange(0, 2**63), default=0, show_default=True, help="Of the sampled paths."
)
@options.reading_options
@options.device_options
@options.output_options
def command(a, b, input_bound, l2, samples, seed, reading, computing, output) -> None:
    """Path-metric of the networks in A and B, which must have the same structure: the l1 distance between all
    their products of weights along paths, whatever rescaling of neurons either went through.

    Exact when one network is the other with weights shrunk towards zero (pruning, truncation); otherwise a
    certified interval.
    """
    device = computing.device()
    with output.progress("reading the models"):
        one, other = reading.pair(a, b, quantizers=True)
    with output.progress("computing the path-metric"):
        result = deferred.metric.path_metric(one, other, device, input_bound, l2, samples or 0, seed)
    output.emit(result.to_dict(), _report(result))


def _report(result: "PathMetric") -> Report:
    found = result.path_metric
    upper = number(found.upper, toward="up")
    value = (
        f"{number(found.upper)} (exact)"
        if found.exact
        else f"between {number(found.lower, toward='down')} and {upper}"
    )
    facts = [
        ("path-norm of A", number(result.a.path_norm)),
        ("path-norm of B", number(result.b.path_norm)),
        ("path-metric", value),
        (
            "relative",
            percent(result.relative) if found.exact else f"at most {percent(result.relative, 'up')}",
        ),
        (
            f"outputs' difference, summed, for all |x_i| <= {result.input_bound:g}",
            f"at most {number(result.bound, toward='up')}",
        ),
        ("method", found.method),
    ]
    if result.from_inputs is not None and result.from_biases is not None:
        ends = [number(part, toward="up") for part in (result.from_inputs, result.from_biases)]
        facts.insert(3, ("paths from inputs, from biases", f"at most {ends[0]}, {ends[1]}"))
    if result.estimate is not None:
        guess = result.estimate
        ends = f"between {number(guess.lower, toward='down')} and {number(guess.upper, toward='up')}"
        facts.insert(
            3,
            (
                f"estimate from {guess.samples} paths",
                f"{number(guess.value)}; {ends} at {percent(guess.confidence)} confidence",
            ),
        )
    if result.l2 is not None:
        ends = f"between {number(result.l2.lower, toward='down')} and {number(result.l2.upper, toward='up')}"
        known = result.l2.relative_error <= 1e-4
        facts.insert(
            3,
            (
                "l2 path-metric",
                f"{number(result.l2.value)} (to {result.l2.relative_error:.0e})" if known else ends,
            ),
        )
    return Report(f"{result.a.path} → {result.b.path}", facts, _tables(result), result.notes)


def _tables(result: "PathMetric") -> list[Table]:
    changed = sorted((layer for layer in result.layers if layer.share > 0), key=lambda layer: -layer.share)
    tables = []
    if changed:
        rows = [(layer.name, percent(layer.share), number(layer.metric)) for layer in changed[:20]]
        more = f", the {len(rows)} largest of {len(changed)}" if len(changed) > len(rows) else ""
        tables.append(Table(("layer", "share", "metric"), rows, title=f"where the difference is{more}"))
    if len(result.outputs) > 1:
        rows = [
            (
                o.name,
                "x".join(map(str, o.shape)),
                number(o.lower, toward="down"),
                number(o.upper, toward="up"),
            )
            for o in result.outputs
        ]
        tables.append(
            Table(
                ("output", "shape", "metric, at least", "at most"),
                rows,
                left=2,
                title="path-metric of every output",
            )
        )
    return [*tables, *seen.tables(result.interface)]
