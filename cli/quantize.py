"""`onnxpath quantize MODEL -o OUT`: weights as integers, with a certificate of what that costs, and which
layer to blame."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from onnxpath.cli import deferred, options
from onnxpath.cli.domain import Box, also_options
from onnxpath.cli.options import group
from onnxpath.cli.output import Report, Table, number, percent
from onnxpath.errors import UsageError

if TYPE_CHECKING:
    from onnxpath.analyses.quantize.settings import Settings
    from onnxpath.analyses.quantize.work import Work
    from onnxpath.records import Blame, Quantized, QuantizedBound, QuantizedFile, Sweep

_LAYERS = 60


@dataclass(frozen=True)
class Grid:
    """What is quantized, and to which integers."""

    bits: tuple[int, ...]
    granularity: str
    rounding: str
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    seed: int
    reduce_range: bool

    def settings(self, widths: tuple[int, ...]) -> "Settings":
        """The settings; `widths`: where --bits is not given."""
        return deferred.settings.Settings(**{**vars(self), "bits": tuple(sorted(self.bits)) or widths})


_grid_options = group(
    "grid",
    Grid,
    click.option(
        "--bits",
        type=int,
        multiple=True,
        metavar="B",
        help=(
            "Width of the integers: 4, 8 (default) or 16. Repeated: the widths of --sweep (any from 2 to 16)"
            " and --budget."
        ),
    ),
    click.option(
        "--granularity",
        default="channel",
        show_default=True,
        metavar="NAME",
        help="One step per output channel (channel) or tensor (tensor).",
    ),
    click.option(
        "--rounding",
        default="nearest",
        show_default=True,
        metavar="NAME",
        help="nearest; or zero: towards zero, which makes the path-metric exact.",
    ),
    click.option(
        "--include",
        multiple=True,
        metavar="PATTERN",
        help="Quantize only layers or tensors of such a name (repeatable).",
    ),
    click.option(
        "--exclude",
        multiple=True,
        metavar="PATTERN",
        help="Leave out layers or tensors of such a name (repeatable).",
    ),
    click.option("--seed", type=int, default=0, show_default=True, help="Of random points."),
    click.option(
        "--reduce-range",
        is_flag=True,
        help="With --calibrate: weights of 7 bits, which no integer kernel saturates.",
    ),
)


@dataclass(frozen=True)
class Wanted:
    """What is asked for, and the inputs that it is about."""

    equalize: bool
    calibrate: str | None
    sweep: bool
    budget: str | None
    blame: bool
    inputs: str | None
    report: str | None

    def widths(self, out: str | None) -> tuple[int, ...]:
        """The widths where none are given."""
        if self.budget is not None:
            return deferred.settings.STORED
        return deferred.settings.SWEPT if self.sweep and out is None else (8,)

    def work(self, also: Box, reading: options.Reading) -> "Work":
        budget = None if self.budget is None else deferred.settings.Budget.parse(self.budget)
        calibration, inputs = (
            None if path is None else deferred.npz.read(path) for path in (self.calibrate, self.inputs)
        )
        return deferred.work.Work(
            self.sweep, self.blame, budget, self.equalize, calibration, inputs, also.box(), self.report,
            reading.settings(),
        )  # fmt: skip


_wanted_options = group(
    "wanted",
    Wanted,
    click.option(
        "--equalize", is_flag=True, help="Rescale channels first, so that one step per tensor suits them."
    ),
    click.option(
        "--calibrate",
        metavar="FILE.npz",
        help="Quantize activations, too (static QDQ), with the ranges that they have on these inputs.",
    ),
    click.option("--sweep", is_flag=True, help="What quantizing each layer alone costs, for every width."),
    click.option(
        "--budget",
        metavar="QUANTITY=VALUE",
        help="Mixed precision: the smallest file with metric=1% or bound=0.5 at most.",
    ),
    click.option(
        "--blame", is_flag=True, help="Which layers to leave as they are first, and what that buys."
    ),
    click.option(
        "--inputs",
        metavar="FILE.npz",
        help="Where errors are found (default: those of --calibrate, or random points).",
    ),
    click.option("--report", metavar="FILE.svg|png", help="Draw the sweep."),
)


@click.command("quantize")
@click.argument("model", type=click.Path())
@click.option("-o", "--out", metavar="OUT", help="The file to write; without it nothing is written.")
@_grid_options
@_wanted_options
@also_options
@options.reading_options
@options.device_options
@options.output_options
def command(model, out, grid, wanted, also, reading, computing, output) -> None:
    """Turn the weights of MODEL into integers behind DequantizeLinear and write the result to OUT; with
    --calibrate activations, too.

    OUT carries a certificate (metadata onnxpath.analyses.quantize, also written beside it): bits and share of
    every layer, size saved, the path-metric of the pair, and bounds on how much the outputs can differ.
    --sweep and --blame tell which layers cost what; --budget chooses the bits of every layer.
    """
    device = computing.device()
    settings = grid.settings(wanted.widths(out))
    if grid.reduce_range and wanted.calibrate is None:
        raise UsageError("--reduce-range is for static files: it needs --calibrate")
    work = wanted.work(also, reading)
    with output.progress("reading the model"):
        network = reading.load(model)
    with output.progress("quantizing"):
        result = deferred.quantizing.quantize(model, network, out, settings, device, work, options.forced())
    output.emit(result.to_dict(), _report(result, wanted.report))


def _bytes(count: int) -> str:
    for unit, size in (("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.2f} {unit}"
    return f"{count} B"


def _facts(file: "QuantizedFile") -> list[tuple[str, str]]:
    found = file.certificate
    metric = found.path_metric
    upper = number(metric.upper, toward="up")
    where = "weights and activations" if found.mode == "static" else "weights"
    facts = [
        ("file", file.path or "none: nothing was written without -o OUT"),
        (
            "quantized",
            (
                f"{where}, {'/'.join(map(str, found.bits))} bits, one step per {found.granularity}, rounding"
                f" to {found.rounding}"
            ),
        ),
        (
            "weights",
            f"{_bytes(found.bytes_before)} → {_bytes(found.bytes_after)} ({percent(found.saved)} saved)",
        ),
        (
            "path-metric",
            (
                f"{number(metric.upper)} (exact)"
                if metric.exact
                else f"between {number(metric.lower, toward='down')} and {upper}"
            ),
        ),
        ("relative", percent(found.relative) if metric.exact else f"at most {percent(found.relative, 'up')}"),
        ("path-norm", f"{number(found.path_norm)} → {number(found.quantized_path_norm)}"),
    ]
    if found.budget is not None:
        reached, most = number(found.budget.reached, toward="up"), number(found.budget.limit)
        facts.append((f"budget of the {found.budget.quantity}", f"{reached} of {most}"))
    if found.bound is not None:
        facts.append(
            ("outputs' difference, summed, for all |x_i| <= 1", f"at most {number(found.bound, toward='up')}")
        )
    if found.domain is not None:
        facts += _domain_facts(found.domain, found.mode)
    if file.outputs is not None:
        outputs = file.outputs
        facts.append(
            (
                f"largest difference on {outputs.samples} inputs",
                f"{outputs.difference:.4g} of {outputs.largest_output:.4g}",
            )
        )
    if file.held is not None:
        facts.append(("the file, as ONNX Runtime runs it on this machine", file.held.word))
    return facts


def _domain_facts(part: "QuantizedBound", mode: str) -> list[tuple[str, str]]:
    shown = ", ".join(f"{key} {value}" for key, value in part.domain.items() if key != "kind")
    found = "" if part.found is None else f" (found: {part.found:.4g})"
    facts = [
        (
            f"largest output difference for {shown or 'the calibration inputs'}",
            f"at most {number(part.certified, toward='up')}{found}",
        )
    ]
    if mode == "static":
        parts = ", ".join(f"{kind} {percent(share)}" for kind, share in part.parts.items())
        facts.append(("where that comes from", parts))
    return facts


def _report(result: "Quantized", figure: str | None) -> Report:
    facts = [("path-norm", number(result.path_norm))] if result.file is None else _facts(result.file)
    facts += [("figure", figure)] if figure is not None else []
    tables = []
    if result.file is not None:
        layers = result.file.certificate.layers
        rows = [
            (
                x.name,
                f"{x.parameters:,}",
                "float" if x.bits is None else str(x.bits),
                percent(x.share),
                number(x.metric),
            )
            for x in layers[:_LAYERS]
        ]
        more = f", the first {len(rows)} of {len(layers)}" if len(layers) > len(rows) else ""
        tables.append(Table(("layer", "weights", "bits", "share", "metric"), rows, title=f"layers{more}"))
    if result.sweep is not None:
        tables.append(_sweep(result.sweep))
    if result.blame is not None:
        tables.append(_blame(result.blame))
    return Report(result.path, facts, tables, result.notes)


def _sweep(sweep: "Sweep") -> Table:
    rows = []
    bounded = sweep.domain is not None
    for layer in sweep.layers:
        for width in layer.widths:
            metric = number(width.metric) if width.exact else f"at most {number(width.metric, toward='up')}"
            row = [
                layer.name,
                str(width.bits),
                metric,
                percent(width.share),
                f"{width.found:.3g}",
                _bytes(width.bytes),
            ]
            if bounded:
                row.insert(4, "" if width.bound is None else number(width.bound, toward="up"))
            rows.append(tuple(row))
    headers = ["layer", "bits", "path-metric", "share", "found", "size"]
    if bounded:
        headers.insert(4, "bound")
    title = (
        "one layer quantized, the others as they are; found on"
        f" {sweep.points.count} {sweep.points.origin} inputs"
    )
    return Table(tuple(headers), rows, title=title)


def _blame(blame: "Blame") -> Table:
    whole, rows = blame.metric, []
    for layer in blame.layers:
        bought = percent(layer.bought.over(whole)) if whole.mantissa else "0 %"
        local = "" if layer.local is None else number(layer.local, 3)
        found = (f"{layer.found_left:.3g}", str(layer.found_rank), f"{layer.found_alone:.3g}")
        rows.append((layer.name, number(layer.left, toward="up"), bought, *found, local))
    agree, alone, local = (
        "none" if value is None else f"{value:.2f}"
        for value in (blame.correlation, blame.correlation_alone, blame.correlation_local)
    )
    title = (
        f"{blame.bits} bits, which layer to exclude first; all quantized: metric at most"
        f" {number(whole, toward='up')}, found {blame.found:.3g} on {blame.points.count} inputs; rank"
        f" correlation of what is bought and what is found {agree}, of layers alone {alone}, by their bounds"
        f" on these inputs {local}"
    )
    headers = (
        "exclude",
        "metric left",
        "bought",
        "found left",
        "its place",
        "found alone",
        "alone, on these inputs at most",
    )
    return Table(headers, rows, title=title)
