"""`onnxpath lipschitz A [B]`: Lipschitz bounds in the input, and in the parameters."""

import click

from onnxpath.cli import deferred, options, seen
from onnxpath.cli.output import Report, Table, number


@click.command("lipschitz")
@click.argument("a", type=click.Path())
@click.argument("b", type=click.Path(), required=False)
@click.option(
    "--input-bound",
    type=float,
    default=1.0,
    show_default=True,
    metavar="R",
    help="Bound the outputs' difference for all |x_i| <= R.",
)
@options.reading_options
@options.device_options
@options.output_options
def command(a, b, input_bound, reading, computing, output) -> None:
    """How much the outputs of A can change per unit of input: its path-norm, over paths that start at an
    input.

    With B, of the same structure, also how far apart the outputs of both can be by every bound of the paper
    and by products of operator norms. Each bound's conditions are checked on the two files; what does not
    apply says why.
    """
    device = computing.device()
    with output.progress("reading"):
        networks = [reading.load(a)] if b is None else reading.pair(a, b)
    with output.progress("computing Lipschitz bounds"):
        result = deferred.lipschitz.lipschitz(*networks, input_bound=input_bound, device=device)
    facts, tables = [], []
    for name, side in (("A", result.a), ("B", result.b)):
        if side is not None:
            of = f" of {name}" if result.b is not None else ""
            facts.append(
                (
                    f"Lipschitz constant{of}, outputs summed",
                    f"at most {number(side.summed, toward='up')} per unit of ‖x‖∞",
                )
            )
            facts.append(
                (f"Lipschitz constant{of}, every output", f"at most {number(side.largest, toward='up')}")
            )
    if result.b is not None:
        rows = [
            (
                item.name,
                item.source,
                item.condition,
                number(item.value, toward="up") if item.value is not None else "-",
            )
            for item in result.bounds
        ]
        title = f"outputs' difference, summed, for all |x_i| <= {result.input_bound:g}"
        tables.append(Table(("bound", "source", "condition", "at most"), rows, left=3, title=title))
    tables += seen.tables(result.interface)
    title = result.a.path if result.b is None else f"{result.a.path} → {result.b.path}"
    output.emit(result.to_dict(), Report(title, facts, tables, result.notes))
