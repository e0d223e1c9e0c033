"""`onnxpath norm MODEL`: path-norms."""

from math import isfinite

import click

from onnxpath.cli import deferred, options
from onnxpath.cli.output import Report, Table, number
from onnxpath.engine.scalar import Scaled


class Numbers(click.ParamType):
    """1,2,4,8,16"""

    name = "Q"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        if isinstance(value, tuple):
            return value
        try:
            return tuple(float(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"'{value}' is not a number, or numbers separated by commas", param, ctx)


@click.command("norm")
@click.argument("model", type=click.Path())
@click.option(
    "--q",
    "qs",
    type=Numbers(),
    multiple=True,
    default=("1,2",),
    show_default=True,
    metavar="Q",
    help="Exponents >= 0, separated by commas (repeatable); 0 counts paths.",
)
@click.option(
    "--r",
    type=float,
    metavar="R",
    help="Mixed norm: the l_R norm, over the output neurons, of their l_Q path-norms (R > 0, or inf).",
)
@click.option("--per-output", is_flag=True, help="Also the norm of every output neuron.")
@options.reading_options
@options.device_options
@options.output_options
def command(model, qs, r, per_output, reading, computing, output) -> None:
    """Path-norms of MODEL, summed over its output neurons: the ℓq norm of the products of weights along all
    paths.

    The l1 path-norm bounds how much the outputs can change per unit of input, and is the same for every
    rescaling of the neurons. Values stay finite at any depth.
    """
    device = computing.device()
    with output.progress("computing path-norms"):
        network, exponents = reading.load(model), [q for part in qs for q in part]
        result = deferred.norm.path_norms(network, exponents, device, per_output, r)

    def error(value: float) -> str:
        return number(Scaled(value), 2, "up") if isfinite(value) else "none"

    def log10(value: Scaled) -> str:
        found = value.log10
        return "none" if found is None else f"{found:.6f}" if abs(found) < 1e8 else f"{found:.9g}"

    def shown(value: Scaled, certainty: float) -> str:
        return number(value, 8) if isfinite(certainty) else f"at most {number(value, 8, 'up')}"

    rows = [(f"{n.q:g}", number(n.value, 8), log10(n.value), error(n.relative_error)) for n in result.norms]
    name = "path-norm" if r is None else f"l^(q,{r:g}) path-norm"
    tables = [Table(("q", name, "log10", "certified relative error"), rows)]
    for neurons in result.outputs:
        headers = ("neuron", *(f"q = {n.q:g}" for n in result.norms))
        columns = [
            [shown(v, e) for v, e in zip(*column, strict=True)]
            for column in zip(neurons.values, neurons.errors, strict=True)
        ]
        cells = [(str(k), *row) for k, row in enumerate(zip(*columns, strict=True))]
        tables.append(
            Table(headers, cells, title=f"output {neurons.name} {'x'.join(map(str, neurons.shape))}")
        )
    facts = [("precision", f"{result.tool.precision} on {result.tool.provider}")]
    output.emit(result.to_dict(), Report(result.path, facts, tables, result.notes))
