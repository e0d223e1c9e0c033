"""Sweeping all layers and widths: `onnxpath quantize --sweep` against one difference pass per variant.

    python benchmarks/quantize.py [--models resnet18] [--layers 20] [--rounds N] [--cache FOLDER]

The sweep as the command runs it, from the loaded network on: one cost pass and an inner product per variant
for the path-metric, one session with the weights as inputs for the error found, on as many random points as
the command takes. Against it 80 runs of a difference pass whose session exists already (all layers quantized;
the cheapest way to measure a pair), and 80 path-metrics as `onnxpath metric` computes them, each with a
session of its own.
"""

from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import architectures
import measure
import twins

import onnxpath
from onnxpath.analyses.metric.metric import path_metric
from onnxpath.analyses.quantize.analysis import analysed
from onnxpath.analyses.quantize.layers import Layer, layers, quantized
from onnxpath.analyses.quantize.settings import Settings
from onnxpath.analyses.quantize.work import Base, Work, points
from onnxpath.engine.plan import Plan
from onnxpath.engine.session import Device
from onnxpath.exporter.quantizing import stored_kinds
from onnxpath.lanes import absolute, difference
from onnxpath.model.matching import match
from onnxpath.model.network import Network
from onnxpath.rewrites.collapse import collapse

DEVICE = Device("cpu")
WIDTHS = (4, 6, 8, 16)


def difference_pass(network: Network, twin: Network) -> Callable[[], object]:
    """The difference pass of a pair, its session made."""
    small, pairing = collapse(network), match(network, twin)
    traced = difference.trace(small, pairing.twin, DEVICE, dict.fromkeys(small.inputs, 0.0))
    outputs = {
        (name, side): absolute.read(traced.tracer, lane)
        for name in small.outputs
        for side in "apq"
        if (lane := getattr(traced.lanes[name], side)) is not None
    }
    plan, ones = (
        Plan(traced.tracer.graph, traced.tracer.graph_exponents, outputs, DEVICE),
        absolute.ones(small),
    )
    return lambda: plan.run(ones)


def sweep(path: str, network: Network, found: list[Layer]) -> Callable[[], object]:
    work, settings = Work(sweep=True), Settings(WIDTHS)
    where, samples = points(network, work, 0)
    base = Base(path, network, network, False, where, samples)
    return lambda: analysed(base, found, settings, work, DEVICE)


def agree(network: Network, found: list[Layer], swept: object) -> float:
    """The largest relative deviation of a few of the sweep's metrics from path-metrics of their own."""
    worst = 0.0
    for k in (0, len(found) // 2, len(found) - 1):
        width = swept[0].layers[k].widths[1]  # type: ignore[index]
        twin = quantized(network, {found[k].tensor: width.bits}, found, "nearest")
        worst = max(worst, abs(width.metric.over(path_metric(network, twin, DEVICE).path_metric.upper) - 1))
    if worst > 1e-4:
        raise SystemExit(f"the sweep deviates from the difference pass by {worst:g}")
    return worst


def report(name: str, count: int, folder: Path, rounds: int) -> str:
    path = twins.files(name, folder, ())["original"]
    network = onnxpath.load(path)
    found = layers(network, stored_kinds(path), Settings())[0][:count]
    twin = quantized(network, dict.fromkeys((layer.tensor for layer in found), 8), found, "nearest")
    run, once = sweep(path, network, found), difference_pass(network, twin)
    worst, variants = agree(network, found, run()), len(found) * len(WIDTHS)
    seconds: dict[str, list[float]] = {"sweep": [], "pass": [], "metric": []}
    cases = {
        "sweep": run,
        "pass": lambda: [once() for _ in range(8)],
        "metric": lambda: path_metric(network, twin, DEVICE),
    }
    for k in range(rounds):
        for case in list(cases)[k % 3 :] + list(cases)[: k % 3]:
            start = perf_counter()
            cases[case]()
            seconds[case].append(perf_counter() - start)
    passes, metrics = [s / 8 * variants for s in seconds["pass"]], [s * variants for s in seconds["metric"]]
    rows = [
        measure.Row(
            f"sweep / {variants} difference passes, session ready",
            measure.ratios(seconds["sweep"], passes),
            ("<=", 3),
        ),
        measure.Row(f"sweep / {variants} path-metrics", measure.ratios(seconds["sweep"], metrics), ("<=", 1)),
    ]
    note = (
        f"{len(found)} layers, {len(WIDTHS)} widths; metrics differ from those of difference passes by at"
        f" most {worst:.1e}."
    )
    return f"### {name}\n\n{note}\n\n{measure.table(measure.HEADER, [row.cells() for row in rows])}"


def main(options: list[str] | None = None) -> None:
    parser = measure.arguments(__doc__, 3)
    parser.add_argument("--models", nargs="*", choices=sorted(architectures.BUILDERS), default=["resnet18"])
    parser.add_argument("--layers", type=int, default=20, help="how many of the layers (default %(default)s)")
    chosen = parser.parse_args(options)
    with measure.folder(chosen.cache) as folder:
        for name in chosen.models:
            measure.say(f"{name}: the sweep")
            print(report(name, chosen.layers, folder, chosen.rounds), flush=True)


if __name__ == "__main__":
    main()
