"""`onnxpath prune MODEL -o OUT`: set weights to zero, with a certificate of what that costs."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from onnxpath.cli import deferred, options
from onnxpath.cli.domain import also_options
from onnxpath.cli.options import group
from onnxpath.cli.output import Report, Table, number, percent
from onnxpath.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

    from onnxpath.model.network import Network
    from onnxpath.records import Pruned, PrunedFile

_LAYERS = 30
_CHANNELS = 1 << 24  # no output has as many


class NumbersType(click.ParamType):
    """0.5,1,2"""

    name = "NUMBERS"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> list[float]:
        try:
            return [float(part) for part in str(value).split(",")]
        except ValueError:
            self.fail(f"'{value}' is not a list of numbers such as 0.5,1,2", param, ctx)


class IndicesType(click.ParamType):
    """0,3,7-9"""

    name = "INDICES"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> list[int]:
        found: list[int] = []
        try:
            for part in str(value).split(","):
                first, _, last = part.partition("-")
                if int(last or first) >= _CHANNELS:
                    raise ValueError
                found += range(int(first), int(last or first) + 1)
        except ValueError:
            found = []
        if not found:
            self.fail(f"'{value}' is not a list of output channels such as 0,3,7-9", param, ctx)
        return found


_settings_options = group(
    "settings",
    lambda **given: deferred.criteria.Settings(**given),
    click.option(
        "--criterion",
        default="path",
        show_default=True,
        metavar="NAME",
        help="What goes first: the smallest path costs (path), magnitude, or random.",
    ),
    click.option(
        "--scope",
        default="global",
        show_default=True,
        metavar="NAME",
        help="Compare weights over all layers (global) or in every layer (layer).",
    ),
    click.option(
        "--pattern",
        default="unstructured",
        show_default=True,
        metavar="NAME",
        help=(
            "unstructured; N:M to keep N of every M input channels (2:4); channels to remove whole channels,"
            " which makes the file smaller."
        ),
    ),
    click.option(
        "--include",
        multiple=True,
        metavar="PATTERN",
        help="Prune only layers or tensors of such a name (* and ? are wild; repeatable).",
    ),
    click.option(
        "--exclude",
        multiple=True,
        metavar="PATTERN",
        help="Leave out layers or tensors of such a name (repeatable).",
    ),
    click.option("--biases", is_flag=True, help="Prune biases too."),
    click.option(
        "--iterations",
        type=int,
        default=1,
        show_default=True,
        metavar="N",
        help="Reach the sparsity in N steps, the costs computed anew for each.",
    ),
    click.option("--seed", type=int, default=0, show_default=True, help="Of random choices."),
)


@dataclass(frozen=True)
class Counted:
    """Which output channels count in the costs, and how much."""

    outputs: list[int] | None
    class_weights: list[float] | None

    def cotangent(self, network: "Network") -> "np.ndarray | None":
        """Weights of the output channels; None for all alike."""
        np = deferred.numpy
        outputs, weights = self.outputs, self.class_weights
        if outputs is None:
            return None if weights is None else np.array(weights)
        if weights is not None:
            raise UsageError("give either --outputs or --class-weights")
        count = network.shapes[network.outputs[0]][1] if len(network.shapes[network.outputs[0]]) > 1 else 1
        if min(outputs) < 0 or max(outputs) >= count:
            raise UsageError(
                f"--outputs: {network.path} has output channels 0 to {count - 1}, not"
                f" {max(outputs) if min(outputs) >= 0 else min(outputs)}"
            )
        return np.isin(np.arange(count), outputs).astype(np.float64)


_counted_options = group(
    "counted",
    Counted,
    click.option(
        "--outputs",
        type=IndicesType(),
        help="Count only these output channels in the costs that rank the weights: 0,3,7-9.",
    ),
    click.option(
        "--class-weights",
        type=NumbersType(),
        help="Count output channels by these weights, one for each: 1,0.5,2.",
    ),
)


_extras_options = group(
    "extras",
    lambda **given: deferred.pruning.Extras(**given),
    click.option(
        "--costs", metavar="FILE.npz", help="Write the path cost of every weight, bias and channel."
    ),
    click.option(
        "--compare",
        is_flag=True,
        help="What magnitude and path costs would prune in common, before and after a random rescaling.",
    ),
    click.option(
        "--report",
        metavar="FILE.svg|png",
        help="Draw magnitude against path cost, and the sparsity of every layer.",
    ),
)


@click.command("prune")
@click.argument("model", type=click.Path())
@click.option(
    "-o",
    "--out",
    metavar="OUT",
    help="The file to write; without it nothing is written. Several sparsities give OUT-0.4.onnx and so on.",
)
@click.option(
    "--sparsity",
    "sparsities",
    type=float,
    multiple=True,
    metavar="S",
    help="Share of zeros among the weights, 0 <= S < 1 (repeatable).",
)
@_settings_options
@_counted_options
@also_options
@_extras_options
@options.reading_options
@options.device_options
@options.output_options
def command(model, out, sparsities, settings, counted, also, extras, reading, computing, output) -> None:
    """Set the weights of MODEL to zero whose removal changes its paths the least, and write the result to
    OUT.

    The path cost of a weight is the sum of |products of weights| over all paths through it: rescaling neurons
    does not change it. OUT carries a certificate (metadata onnxpath.certificate, also written beside it): the
    sparsity of every layer, the costs of what was removed, the exact path-metric of the pair, and bounds on
    how much the outputs can differ.
    """
    device = computing.device()
    asked = list(sparsities)
    if not asked and (out is not None or settings.groups is not None or extras == deferred.pruning.Extras()):
        asked = [None]
    domain = also.box()
    with output.progress("reading the model"):
        network = reading.load(model)
    cotangent = counted.cotangent(network)
    with output.progress("computing path costs and pruning"):
        result = deferred.pruning.prune(
            model,
            network,
            out,
            asked,
            settings,
            device,
            cotangent=cotangent,
            domain=domain,
            extras=extras,
            force=options.forced(),
        )
    output.emit(result.to_dict(), _report(result, extras, out))


def _facts(file: "PrunedFile") -> list[tuple[str, str]]:
    found = file.certificate
    facts = [
        ("file", file.path or "none: nothing was written without -o OUT"),
        (
            "weights removed" if found.pattern == "channels" else "zeros",
            f"{found.zeros:,} of {found.parameters:,} ({100 * found.achieved:.2f} %)",
        ),
        ("costs of what was removed", number(found.removed_cost)),
        ("path-metric", f"{number(found.path_metric.upper)}{' (exact)' if found.path_metric.exact else ''}"),
        ("relative", percent(found.relative)),
        ("path-norm", f"{number(found.path_norm)} → {number(found.pruned_path_norm)}"),
        ("outputs' difference, summed, for all |x_i| <= 1", f"at most {number(found.bound, toward='up')}"),
    ]
    if found.domain is not None:
        where = ", ".join(f"{key} {value}" for key, value in found.domain.domain.items() if key != "kind")
        facts.append(
            (f"largest output difference for {where}", f"at most {number(found.domain.largest, toward='up')}")
        )
    return facts


def _report(result: "Pruned", extras, out: str | None) -> Report:
    facts: list[tuple[str, str]] = []
    tables = []
    if len(result.files) == 1:
        facts = _facts(result.files[0])
    elif result.files:
        rows = []
        for file in result.files:
            found = file.certificate
            rows.append((
                file.path or "not written", f"{100 * found.achieved:.2f} %", number(found.removed_cost),
                number(found.path_metric.upper),
                percent(found.relative), number(found.bound, toward="up"),
            ))  # fmt: skip
        tables.append(
            Table(("file", "zeros", "removed costs", "path-metric", "relative", "bound for |x_i| <= 1"), rows)
        )
    else:
        facts = [("path-norm", number(result.path_norm))]
    facts += [(what, path) for what, path in (("costs", extras.costs), ("figure", extras.report)) if path]
    if len(result.files) == 1:
        layers = result.files[0].certificate.layers
        rows = [
            (x.name, f"{x.parameters:,}", f"{100 * x.sparsity:.2f} %", number(x.cost))
            for x in layers[:_LAYERS]
        ]
        more = f", the first {len(rows)} of {len(layers)}" if len(layers) > len(rows) else ""
        tables.append(Table(("layer", "weights", "zeros", "removed costs"), rows, title=f"layers{more}"))
    if result.compared:
        tables.append(_overlaps(result))
    return Report(result.path, facts, tables, result.notes)


def _overlaps(result: "Pruned") -> Table:
    def share(value: float | None) -> str:
        return "" if value is None else f"{100 * value:.1f} %"

    rows = []
    for row in result.compared:
        rows.append((
            f"{100 * row.sparsity:g} %", share(row.global_magnitude), share(row.layer_magnitude),
            share(row.rescaled_global_magnitude),
            share(row.rescaled_layer_magnitude), share(row.kept.get("MP")), share(row.kept.get("Φ-LP")),
            share(row.kept.get("Φ-GP")),
        ))  # fmt: skip
    headers = (
        "pruned",
        "MP ∩ Φ-GP",
        "MP ∩ Φ-LP",
        "rescaled: MP ∩ Φ-GP",
        "MP ∩ Φ-LP",
        "kept: MP",
        "Φ-LP",
        "Φ-GP",
    )
    title = (
        "weights pruned in common; after a random rescaling; and what of each set the rescaling leaves the"
        " same"
    )
    return Table(headers, rows, title=title)
