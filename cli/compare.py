"""`onnxpath compare A B`: two files as ONNX Runtime runs them."""

from typing import TYPE_CHECKING

import click

from onnxpath.cli import deferred, options, seen
from onnxpath.cli.output import Report, Table, number, percent
from onnxpath.engine.scalar import Scaled
from onnxpath.errors import UsageError

if TYPE_CHECKING:
    from onnxpath.model.interface import Port
    from onnxpath.records import ComparedOutput, Comparison


@click.command("compare")
@click.argument("a", type=click.Path())
@click.argument("b", type=click.Path())
@click.option(
    "--inputs",
    type=click.Path(),
    metavar="FILE.npz",
    help="Inputs to run both on; arrays [n, ...] by input.  [default: made ones]",
)
@click.option("--low", type=float, metavar="L", help="Smallest number of the inputs that are made.")
@click.option("--high", type=float, metavar="H", help="Largest number of the inputs that are made.")
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the inputs that are made."
)
@options.shape_option
@options.file_options
@options.threads_option
@options.output_options
def command(a, b, inputs, low, high, seed, shapes, running, threads, output) -> int:
    """Run two files in ONNX Runtime, as a program would, and say what differs: inputs and outputs by name,
    order, type and shape; every output's largest, mean and 99 % difference; predicted classes. Nothing is
    proved, and the files need not have anything in common but inputs.
    """
    if a == "" or b == "":
        raise UsageError("the name of a model is empty")
    run = running.runtime(threads)
    with output.progress("running both files"):
        result = deferred.running.compare(
            a, b, None if inputs is None else deferred.npz.read(inputs), shapes=dict(shapes),
            low=low, high=high, seed=seed,
            file_provider=run.provider, file_options=dict(run.options), threads=threads,
        )  # fmt: skip
    output.emit(result.to_dict(), _report(result))
    return 0


def _report(result: "Comparison") -> Report:
    made = ", ".join(f"{key} {value}" for key, value in result.made.items() if value is not None)
    facts = [("inputs", f"{result.inputs} {result.source}{f' ({made})' if made else ''}")]
    largest = result.largest
    facts.append(
        (
            "largest difference of the outputs",
            "not comparable" if largest is None else number(Scaled(largest), toward="up"),
        )
    )
    if result.differing is not None:
        facts.append(
            (
                "predicted classes that differ",
                f"{result.differing} of {result.inputs} ({percent(result.differing / result.inputs)})",
            )
        )
    tables = [_outputs(result.outputs), *seen.tables(result.interface)]
    (inputs_a, outputs_a), (inputs_b, outputs_b) = result.ports
    for what, x, y in (("inputs", inputs_a, inputs_b), ("outputs", outputs_a, outputs_b)):
        tables.append(_ports(what, x, y))
    return Report(f"{result.a.path} → {result.b.path}", facts, tables, result.notes)


def _outputs(outputs: "tuple[ComparedOutput, ...]") -> Table:
    def shown(value: float | None) -> str:
        return (
            "-"
            if value is None
            else "no number"
            if value == float("inf")
            else number(Scaled(value), toward="up")
        )

    rows = [
        (
            o.name, shown(o.largest), "-" if o.relative is None else percent(o.relative, "up"), shown(o.mean),
            shown(o.quantile),
            "-" if o.index is None else f"input {o.index}, entry {o.entry}", f"{o.unequal} of {o.entries}",
        )
        for o in outputs
    ]  # fmt: skip
    heads = ("output", "largest", "relative", "mean", "99 % are below", "largest at", "unequal")
    return Table(heads, rows, title="differences, over all inputs and entries")


def _ports(what: str, a: "tuple[Port, ...]", b: "tuple[Port, ...]") -> Table:
    def cell(ports: "tuple[Port, ...]", k: int) -> str:
        if k >= len(ports):
            return "-"
        shape = ports[k].shape
        sizes = "" if shape is None else " [" + ", ".join("?" if n is None else str(n) for n in shape) + "]"
        return f"{ports[k].name}: {ports[k].type}{sizes}"

    rows = [(str(k), cell(a, k), cell(b, k)) for k in range(max(len(a), len(b)))]
    return Table(("", f"{what} of A", f"{what} of B"), rows, left=3)
