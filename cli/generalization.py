"""`onnxpath generalization MODEL`: generalization bounds from path-norms."""

from typing import TYPE_CHECKING

import click

from onnxpath.cli import deferred, options
from onnxpath.cli.output import Report, Table, number
from onnxpath.engine.scalar import Scaled

if TYPE_CHECKING:
    from onnxpath.records import Generalization


@click.command("generalization")
@click.argument("model", type=click.Path())
@click.option("--samples", type=int, required=True, metavar="N", help="Number of training samples.")
@click.option(
    "--input-bound",
    type=float,
    default=1.0,
    show_default=True,
    metavar="B",
    help="Largest |x_i| of all samples.",
)
@click.option(
    "--loss-lipschitz",
    type=float,
    metavar="L",
    help="Lipschitz constant of the loss in the output, in the l2 norm.  [default: sqrt(2), cross-entropy's]",
)
@click.option(
    "--margin", type=float, metavar="G", help="Use the margin loss with this margin: L = sqrt(2) / G."
)
@click.option(
    "--target",
    type=float,
    default=1.0,
    show_default=True,
    metavar="T",
    help="Report the samples needed for a gap below T.",
)
@click.option(
    "--radius",
    "radii",
    type=float,
    multiple=True,
    metavar="T",
    help="Covering number at radius T times r (repeatable).",
)
@options.reading_options
@options.device_options
@options.output_options
def command(
    model, samples, input_bound, loss_lipschitz, margin, target, radii, reading, computing, output
) -> None:
    """Bounds on the expected gap between the test loss and the training loss of MODEL: Theorem 5.1 of the
    paper, Theorem 3.1 of Gonon et al. (2024), and the other rows of the paper's Table 3 with the reason where
    they do not apply.

    They are vacuous for overparameterized networks. The number of samples that would make each say something
    is given.
    """
    device = computing.device()
    with output.progress("computing path-norms"):
        network = reading.load(model)
        theory = deferred.generalization
        result = theory.generalization(
            network, samples, input_bound, loss_lipschitz, margin, target, radii or theory.RADII, device
        )
    output.emit(result.to_dict(), _report(result))


def _report(result: "Generalization") -> Report:
    a = result.architecture
    facts = [
        ("samples, input bound", f"{result.samples:,}, {result.input_bound:g}"),
        ("loss", f"{result.loss}, Lipschitz constant {number(Scaled(result.lipschitz), toward='up')}"),
        ("path-norm", number(result.norm, toward="up")),
        (
            "norm of whole kernels",
            "the path-norm" if result.whole <= result.norm else number(result.whole, toward="up"),
        ),
        ("D, K, P", f"{a.depth}, {a.kernel}, {a.pools}"),
        ("inputs, outputs", f"{a.inputs:,}, {a.outputs:,}"),
        ("#params, numbers covered", f"{a.parameters:,}, {a.hidden + a.output:,}"),
        ("verdict", _verdict([g.value for g in result.gaps], Scaled(result.target))),
    ]
    rows = [
        (
            g.name,
            g.source,
            f"{g.constant:.6g} · L · max(B, 1) · r / √n",
            number(g.value, toward="up"),
            number(g.samples_needed, 3, "up"),
        )
        for g in result.gaps
    ]
    known = [
        (r.source, r.rate, r.reason or "applies", "-" if r.value is None else number(r.value))
        for r in result.rates
    ]
    balls = [(f"{c.relative:g} r", number(c.radius), f"{c.ln:.6g}") for c in result.covering]
    tables = [
        Table(
            ("bound", "source", "formula", "expected gap, at most", f"samples needed for {result.target:g}"),
            rows,
            3,
            "bounds",
        ),
        Table(
            ("Table 3", "rate", "here", "times B r / √n"),
            known,
            left=3,
            title="rates, up to universal constants and the loss",
        ),
        Table(
            ("radius t", "t", "ln N(t)"), balls, title="covering numbers of Φ in one orthant (Theorem H.1)"
        ),
    ]
    return Report(result.path, facts, tables, result.notes)


def _verdict(values: list, target) -> str:
    good = sum(value <= target for value in values)
    return (
        f"{good} of {len(values)} bounds are below {number(target)}"
        if good
        else f"vacuous: no bound is below {number(target)}"
    )
