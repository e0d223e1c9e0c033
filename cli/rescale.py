"""`onnxpath rescale MODEL -o OUT`: the same function with other weights."""

from typing import TYPE_CHECKING

import click

from onnxpath.cli import deferred, options
from onnxpath.cli.output import Report, Table, number, percent
from onnxpath.errors import UsageError

if TYPE_CHECKING:
    from onnxpath.records import Rescaling


def _factors(ctx: click.Context, param: click.Parameter, value: str) -> tuple[float, ...]:
    try:
        found = tuple(float(part) for part in value.split(","))
    except ValueError:
        found = ()
    if not found or not all(0 < x < float("inf") for x in found):
        raise click.BadParameter(
            f"'{value}' is not a list of positive numbers such as 1,128,4096", ctx, param
        )
    return found


@click.command("rescale")
@click.argument("model", type=click.Path())
@click.option("-o", "--out", type=click.Path(), required=True, metavar="OUT", help="The file to write.")
@click.option(
    "--mode",
    type=click.Choice(["random", "normalize", "equalize"]),
    default="random",
    show_default=True,
    help=(
        "random: factors drawn from a list; normalize: ℓ1 norm 1 of all that enters a channel; equalize:"
        " equal ranges, for quantization."
    ),
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the random factors."
)
@click.option(
    "--factors",
    callback=_factors,
    default="1,128,4096",
    show_default=True,
    metavar="LIST",
    help="What the random factors are.",
)
@click.option(
    "--powers-of-two",
    is_flag=True,
    help="Round all factors to powers of two, which changes no bit of a weight's mantissa.",
)
@options.shape_option
@options.device_options
@options.output_options
def command(model, out, mode, seed, factors, powers_of_two, shapes, computing, output) -> None:
    """Rescale the hidden channels of MODEL and write the result to OUT: what produces a channel is multiplied
    by a positive number and what reads it is divided by it. The function, the path-norm, the path-metric to
    any network and all Φ-costs stay.

    Everything else in the file stays as it is. The new file is compared with MODEL before it is moved into
    place.
    """
    if not model:
        raise UsageError("the name of a model is empty")
    device = computing.device()
    with output.progress("rescaling"):
        result = deferred.rescale.rescale(
            model,
            out,
            mode,
            seed=seed,
            factors=factors,
            powers_of_two=powers_of_two,
            shapes=dict(shapes),
            device=device,
            force=options.forced(),
        )
    output.emit(result.to_dict(), _report(result, output.verbose))


def _report(result: "Rescaling", verbose: bool) -> Report:
    found, outputs = result.path_metric, result.outputs
    dead = f", {result.dead} dead" if result.dead else ""
    pinned = f"; {result.pinned} more are held by the file" if result.pinned else ""
    exactly = " (powers of two)" if result.factors.powers_of_two else ""
    facts = [
        ("channels rescaled", f"{result.changed} of {result.groups} groups{dead}{pinned}"),
        ("factors", f"{result.factors.smallest:.4g} to {result.factors.largest:.4g}{exactly}"),
        ("path-norm before", number(result.a.path_norm, 8)),
        ("path-norm after", number(result.b.path_norm, 8)),
        (
            "path-metric between them",
            f"at most {number(found.upper, toward='up')} ({percent(result.relative, 'up')})",
        ),
    ]
    if outputs is not None:
        facts.append(
            (
                f"largest difference of outputs on {outputs.samples} random inputs",
                f"{outputs.difference:.3g} of {outputs.largest_output:.3g}",
            )
        )
    tables = [Table(("changed tensor of the file",), [(name,) for name in result.tensors])] if verbose else []
    return Report(f"{result.a.path} → {result.b.path}", facts, tables, result.notes)
