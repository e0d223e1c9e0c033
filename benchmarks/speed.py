"""Speed of the passes against plain ONNX Runtime inference and against PyTorch, sessions created beforehand.

    python benchmarks/speed.py [--models resnet18 resnet50 vgg16] [--rounds N] [--cache FOLDER]

Per model, with its monotone and general twin (see twins.py), as multiples of the time of one plain inference
of the file: the absolute pass (path-norm), the difference pass (path-metric: path-norms and upper bound; then
with every layer's share), and the sharp difference pass (bound on the outputs' difference: for all |x_i| <=
1, and for single images); and bounds for 64 images, tracing and session included, as a multiple of those for
one. And, as multiples of the absolute pass: the same absolute network in PyTorch. All use float32 (PyTorch
also float64) and the same number of threads, one per core.

The numbers themselves are checked: path-norms against PyTorch's float64 ones to 1e-5, F_m + dP and F_m + dQ
of a pair against its path-norms to 1e-5, and the sharp bound against the upper bound of the path-metric.
"""

import gc
from collections.abc import Callable, Mapping
from math import log10
from pathlib import Path

import architectures
import measure
import numpy as np
import onnxruntime
import torch
import twins

import onnxpath
from onnxpath.analyses.bound import difference_bounds
from onnxpath.engine.plan import Output, Plan, Reading
from onnxpath.engine.scaled import Scaled
from onnxpath.engine.session import Device
from onnxpath.lanes import absolute, difference, sharp
from onnxpath.model.domain import Domain
from onnxpath.model.matching import Pairing, match
from onnxpath.model.network import Network
from onnxpath.rewrites.collapse import collapse
from onnxpath.rewrites.condense import condense

MODELS = ("resnet18", "resnet50", "vgg16")
DEVICE = Device("cpu")
INFERENCE = "plain inference"
_SHARP = {"monotone": 5.0, "general": 12.0}


def inference(path: str) -> Callable[[], object]:
    """Plain ONNX Runtime inference of a file, with default options."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    given = session.get_inputs()[0]
    feed = {given.name: np.ones([d if isinstance(d, int) else 1 for d in given.shape], np.float32)}
    return lambda: session.run(None, feed)


def difference_plans(pairing: Pairing) -> tuple[Plan, Plan]:
    """The difference pass as `onnxpath.metric` runs it: outputs alone, and with every layer's share."""
    network = collapse(pairing.a)
    traced = difference.trace(network, pairing.twin, DEVICE, dict.fromkeys(network.inputs, 0.0))
    tracer, outputs = traced.tracer, {}
    for name in network.outputs:
        for side in ("a", "p", "q"):
            lane = getattr(traced.lanes[name], side)
            if lane is not None:
                outputs[name, side] = absolute.read(tracer, lane)
    bound = Plan(tracer.graph, tracer.graph_exponents, outputs, DEVICE)
    shared = dict(outputs)
    for key, (tensor, exponent) in difference.shares(traced, network.outputs).items():
        shared["share", *key] = Output(tracer.graph.output(tensor), np.array(exponent))
    return bound, Plan(tracer.graph, tracer.graph_exponents, shared, DEVICE)


def sharp_plan(pairing: Pairing, network: Network) -> Plan:
    """The sharp difference pass for |x_i| <= 1, on the network as it is, or collapsed as `onnxpath.bound`
    runs it for a box."""
    tracer, lanes, _ = sharp.trace(network, pairing.twin, DEVICE, dict.fromkeys(network.inputs, 0.0))
    outputs = {
        name: absolute.read(tracer, bound) for name in network.outputs if (bound := lanes[name].d) is not None
    }
    return Plan(tracer.graph, tracer.graph_exponents, outputs, DEVICE)


def total(readings: Mapping[object, Reading], side: str | None = None) -> Scaled:
    """Sum over all outputs (of one side of a pair)."""
    found = Scaled(0.0)
    for key, reading in readings.items():
        if side is None or key[1] == side:
            found = found + reading.total()
    return found


def norm_of(network: Network) -> Scaled:
    return total(absolute.plan(network, DEVICE, 1.0).run(absolute.ones(network)))


def agree(what: str, found: Scaled, expected: Scaled, tolerance: float = 1e-5) -> None:
    if not abs(found.over(expected) - 1) <= tolerance:
        raise SystemExit(
            f"{what}: {found.log10} and {expected.log10} (log10) differ by more than {tolerance:g}"
        )


def torch_cases(name: str) -> tuple[dict[str, Callable[[], float]], Scaled]:
    """The absolute network in PyTorch, and the path-norm it gives in float64."""
    torch.set_num_threads(measure.cores())
    model = architectures.build(name)

    def case(dtype: torch.dtype) -> Callable[[], float]:
        network = architectures.absolute(model, dtype)
        ones = torch.ones(architectures.input_shape(name), dtype=dtype)

        def run() -> float:
            with torch.no_grad():
                return float(network(ones).sum())

        return run

    cases = {"PyTorch float64": case(torch.float64), "PyTorch float32": case(torch.float32)}
    return cases, Scaled(cases["PyTorch float64"]())


def norm_rows(name: str, path: str, network: Network, rounds: int) -> tuple[list[measure.Row], list[str]]:
    """The absolute pass against plain inference and against PyTorch."""
    small = condense(network)
    plan, ones = absolute.plan(small, DEVICE, 1.0), absolute.ones(small)
    anything, image = absolute.plan(network, DEVICE, 1.0), absolute.ones(network)
    frameworks, expected = torch_cases(name)
    norm = total(plan.run(ones))
    agree(f"path-norm of {name}, condensed and not", norm, total(anything.run(image)))
    agree(f"path-norm of {name}, onnxpath and PyTorch", norm, expected)
    narrow = frameworks["PyTorch float32"]()
    cases = {
        INFERENCE: inference(path),
        "norm": lambda: plan.run(ones),
        "image": lambda: anything.run(image),
        **frameworks,
    }
    seconds = measure.interleaved(cases, rounds)
    rows = [
        measure.Row(
            "norm pass / plain inference", measure.ratios(seconds["norm"], seconds[INFERENCE]), ("<=", 2)
        ),
        measure.Row(
            "absolute pass on an image (nothing condensed) / plain inference",
            measure.ratios(seconds["image"], seconds[INFERENCE]),
        ),
    ]
    for framework, limit in (("PyTorch float64", 4), ("PyTorch float32", 2)):
        rows.append(
            measure.Row(
                f"{framework} / norm pass", measure.ratios(seconds[framework], seconds["norm"]), (">=", limit)
            )
        )
    base = sorted(seconds[INFERENCE])[rounds // 2]
    finite = f"10^{log10(narrow):.4f}" if np.isfinite(narrow) else "not finite"
    notes = [
        f"One plain inference: {1000 * base:.1f} ms. l1 path-norm: 10^{norm.log10:.4f}, PyTorch's float64"
        f" pass differs by {abs(norm.over(expected) - 1):.1e}, its float32 pass gives {finite}."
    ]
    return rows, notes


def pair_rows(
    path: str, network: Network, twin: str, kind: str, limit: float, rounds: int
) -> list[measure.Row]:
    """The difference passes of one pair against plain inference."""
    other = onnxpath.load(twin)
    pairing, ones = match(network, other), absolute.ones(network)
    upper, shares = difference_plans(pairing)
    small = absolute.ones(collapse(network))
    readings = upper.run(small)
    for label, side, single in (("A", "p", network), ("B", "q", other)):
        agree(
            f"path-norm of {label} of the {kind} pair",
            total(readings, "a") + total(readings, side),
            norm_of(single),
        )
    bound, box = sharp_plan(pairing, network), sharp_plan(pairing, collapse(network))
    agree(f"sharp bound of the {kind} pair, collapsed and not", total(box.run(small)), total(bound.run(ones)))
    metric, sharpest = total(readings, "p") + total(readings, "q"), total(bound.run(ones))
    if not sharpest <= metric.times(1 + 1e-5):
        raise SystemExit(
            f"{kind} pair: the sharp bound 10^{sharpest.log10} exceeds the path-metric's upper bound"
            f" 10^{metric.log10}"
        )
    plans = {"upper bound": upper, "with shares": shares, "box": box, "sharp": bound}
    cases = {key: lambda p=p, x=ones if key == "sharp" else small: p.run(x) for key, p in plans.items()}
    seconds = measure.interleaved({INFERENCE: inference(path)} | cases, rounds)
    compared = {key: measure.ratios(values, seconds[INFERENCE]) for key, values in seconds.items()}
    return [
        measure.Row(
            f"difference pass, {kind} pair, upper bound / plain inference",
            compared["upper bound"],
            ("<=", limit),
        ),
        measure.Row(
            f"difference pass, {kind} pair, with layer shares / plain inference", compared["with shares"]
        ),
        measure.Row(
            f"sharp difference pass over a box, {kind} pair / plain inference",
            compared["box"],
            ("<=", _SHARP[kind]),
        ),
        measure.Row(f"sharp difference pass on an image, {kind} pair / plain inference", compared["sharp"]),
    ]


def batch_row(network: Network, twin: str, rounds: int) -> measure.Row:
    """Bounds of 64 images against bounds of one."""
    pairing, images = (
        match(network, onnxpath.load(twin)),
        np.random.default_rng(0).random((64, *network.shapes[network.inputs[0]][1:])),
    )
    regions = {count: Domain.samples(images[:count]).resolve(network) for count in (1, 64)}
    found = {
        count: difference_bounds.bounds(pairing, region, DEVICE, spectral=False).all().floats()
        for count, region in regions.items()
    }
    if not np.allclose(found[1], found[64][:1], rtol=1e-5):
        raise SystemExit("bounds of one image and of the same one among 64 differ")
    cases = {
        str(count): lambda r=region: difference_bounds.bounds(pairing, r, DEVICE, spectral=False)
        for count, region in regions.items()
    }
    seconds = measure.interleaved(cases, max(1, rounds // 2))
    return measure.Row(
        "bounds of 64 images / bounds of one, general pair",
        measure.ratios(seconds["64"], seconds["1"]),
        ("<=", 40),
    )


def report(name: str, folder: Path, rounds: int) -> str:
    """The section of one model, as markdown."""
    measure.say(f"{name}: exporting")
    paths = twins.files(name, folder, ("monotone", "general"))
    network = onnxpath.load(paths["original"])
    measure.say(f"{name}: path-norm")
    rows, notes = norm_rows(name, paths["original"], network, rounds)
    for kind, limit in (("monotone", 4.0), ("general", 6.0)):
        gc.collect()
        measure.say(f"{name}: {kind} pair")
        rows += pair_rows(paths["original"], network, paths[kind], kind, limit, rounds)
    if name != "vgg16":
        rows.append(batch_row(network, paths["general"], rounds))
    return (
        f"### {name}\n\n{' '.join(notes)}\n\n{measure.table(measure.HEADER, [row.cells() for row in rows])}"
    )


def main(options: list[str] | None = None) -> None:
    parser = measure.arguments(__doc__, 7)
    parser.add_argument("--models", nargs="+", choices=sorted(architectures.BUILDERS), default=list(MODELS))
    chosen = parser.parse_args(options)
    with measure.folder(chosen.cache) as folder:
        for name in chosen.models:
            print(report(name, folder, chosen.rounds), flush=True)
            gc.collect()


if __name__ == "__main__":
    main()
