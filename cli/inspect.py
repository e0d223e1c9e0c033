"""`onnxpath inspect MODEL`: what the file is in the paper's model."""

from typing import TYPE_CHECKING

import click

from onnxpath.cli import deferred, options
from onnxpath.cli.output import Report, Table, number

if TYPE_CHECKING:
    from onnxpath.records import Tensor


@click.command("inspect")
@click.argument("model", type=click.Path())
@click.option(
    "--paths",
    is_flag=True,
    help="Also list every path with its coordinate of the path-lifting (small networks only).",
)
@click.option(
    "--path-budget",
    type=click.IntRange(1),
    default=1000,
    show_default=True,
    metavar="N",
    help="List at most N paths.",
)
@options.reading_options
@options.device_options
@options.output_options
def command(model, paths, path_budget, reading, computing, output) -> None:
    """Inputs, outputs, neurons by kind, parameters (shared ones once), depth and number of paths of MODEL,
    and what the importer folded or left off."""
    device = computing.device()
    with output.progress("reading and counting"):
        network = reading.load(model)
        result = deferred.inspect.inspect(network, device, path_budget if paths else 0)

    def shape(tensor: "Tensor") -> str:
        return f"{tensor.name} {'x'.join(map(str, tensor.shape))}"

    facts = [
        ("opset", str(result.opset)),
        ("inputs", ", ".join(map(shape, result.inputs))),
        ("outputs", ", ".join(map(shape, result.outputs))),
        (
            "parameters",
            f"{result.parameters:,} ({result.zeros:,} zeros) in {result.parameter_tensors} tensors",
        ),
        ("input and output dimension", f"{result.input_dimension:,} and {result.output_dimension:,}"),
        ("depth D", f"{result.depth} edges on the longest path"),
        (
            "paths",
            number(result.paths) + (f" (log10 {result.paths.log10:.3f})" if result.paths.log10 else ""),
        ),
        ("max-pool windows", ", ".join(map(str, result.max_pool_kernels)) or "none"),
        (
            "largest window K, kinds of max-pooling P",
            f"{max(result.max_pool_kernels, default=1)}, {int(bool(result.max_pool_kernels))}",
        ),
        ("rescaling groups", f"{result.rescaling_groups:,} channels"),
        ("folded into other nodes", f"{len(result.folded)} nodes" if result.folded else "nothing"),
        ("left off the end", ", ".join(result.cut) or "nothing"),
    ]
    neurons = [(kind, f"{count:,}") for kind, count in result.neurons.items()]
    operators = [(op, f"{count:,}") for op, count in result.operators.items()]
    tables = [Table(("neurons", "count"), neurons), Table(("canonical operator", "count"), operators)]
    if result.lifting is not None:
        rows = [
            (" → ".join(p.neurons), "input" if p.from_input else "bias", f"{p.value:.9g}")
            for p in result.lifting
        ]
        tables.append(
            Table(
                ("path", "starts at", "Φ"), rows, left=2, title=f"{len(rows):,} paths without a zero weight"
            )
        )
    report = Report(result.path, facts, tables, result.notes)
    output.emit(result.to_dict(), report)
