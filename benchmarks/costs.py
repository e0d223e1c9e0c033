"""Φ-costs and pruning: the cost pass against inference and PyTorch, and `onnxpath prune` against reading and
writing the file.

    python benchmarks/costs.py [--models resnet18 resnet50] [--process resnet18 vgg16] [--rounds N] [--cache
    FOLDER]

The cost of every weight, bias and channel (one forward and one adjoint pass, then all kernels' costs),
sessions created beforehand, against one plain ONNX Runtime inference of the file, and against forward +
backward of the absolute network in PyTorch, float32 and float64, on as many threads; every cost is compared
with float64 autograd first.

The process `onnxpath prune MODEL -o OUT --sparsity 0.5` (start, imports, costs, thresholds, the certificate's
metric, writing, checking and loading the result) against a process that reads the file with onnx, opens one
session and saves the file: wall time, processor time and peak memory.
"""

import gc
from collections.abc import Callable
from pathlib import Path
from statistics import median

import architectures
import measure
import numpy as np
import process
import speed
import torch
import twins

import onnxpath
from onnxpath.analyses.prune.costs import path_costs
from onnxpath.engine.plan import Plan
from onnxpath.engine.session import Device
from onnxpath.lanes import absolute, costs
from onnxpath.model.network import Network
from onnxpath.rewrites.condense import condense

DEVICE = Device("cpu")
HERE = Path(__file__).resolve().parent


def cost_pass(network: Network) -> Callable[[], object]:
    """The pass as `onnxpath.path_costs` runs it, except that the costs do not take the place of the folded
    weights."""
    small = condense(network)
    traced = costs.trace(small, DEVICE, {name: np.ones(()) for name in small.outputs})
    plan = Plan(traced.tracer.graph, traced.tracer.graph_exponents, traced.outputs, DEVICE)
    parts = [
        part
        for part in traced.parts.values()
        if ("x", part.node.output) in traced.outputs and not part.elementwise
    ]
    folded = {part.node.output: traced.tracer.graph.feeds[part.step.weight] for part in parts}
    kernels, made, ones = (
        costs.Kernels(parts, folded, DEVICE),
        {key: np.empty_like(w) for key, w in folded.items()},
        absolute.ones(small),
    )
    return lambda: kernels.run(plan.run(ones), folded, made)


def autograd(name: str, dtype: torch.dtype) -> tuple[Callable[[], object], torch.nn.Module]:
    """Forward and backward of the absolute network, gradients of all parameters."""
    network = architectures.absolute(architectures.build(name), dtype).requires_grad_()
    ones = torch.ones(architectures.input_shape(name), dtype=dtype)

    def run() -> None:
        network.zero_grad(set_to_none=True)
        network(ones).sum().backward()

    return run, network


def agree(network: Network, model: torch.nn.Module) -> float:
    """The largest relative deviation of a layer's summed cost from float64 autograd's, layers paired by that
    sum."""
    result = path_costs(network, DEVICE)
    found = sorted(
        float(np.ldexp(p.mantissa.sum(dtype=np.float64), result.exponent))
        for p in result.parameters
        if p.kind == "weight"
    )
    expected = sorted(float((p.detach() * p.grad).sum()) for p in model.parameters() if p.ndim > 1)
    worst = max(abs(a / b - 1) for a, b in zip(found, expected, strict=True))
    if worst > 1e-4:
        raise SystemExit(f"costs deviate from autograd by {worst:g}")
    return worst


def pass_report(name: str, folder: Path, rounds: int) -> str:
    path = twins.files(name, folder, ())["original"]
    network = onnxpath.load(path)
    torch.set_num_threads(measure.cores())
    wide, model = autograd(name, torch.float64)
    wide()
    worst = agree(network, model)
    cases = {
        "costs": cost_pass(network), speed.INFERENCE: speed.inference(path), "PyTorch float64": wide,
        "PyTorch float32": autograd(name, torch.float32)[0],
    }  # fmt: skip
    seconds = measure.interleaved(cases, rounds)
    rows = [
        measure.Row(
            "all costs / plain inference",
            measure.ratios(seconds["costs"], seconds[speed.INFERENCE]),
            ("<=", 6),
        )
    ]
    for framework, limit in (("PyTorch float64", 4), ("PyTorch float32", 2)):
        ratios = measure.ratios(seconds[framework], seconds["costs"])
        rows.append(measure.Row(f"{framework}, forward + backward / all costs", ratios, (">=", limit)))
    count = sum(parameter.size for parameter in network.parameters().values())
    note = (
        f"{count:,} parameters; a layer's summed cost differs from float64 autograd by at most {worst:.1e}."
    )
    return f"### {name}: the pass\n\n{note}\n\n{measure.table(measure.HEADER, [row.cells() for row in rows])}"


def process_report(name: str, folder: Path, rounds: int) -> str:
    path, out = twins.files(name, folder, ())["original"], str(folder / f"{name}-pruned.onnx")
    todo = {
        "prune": [*process.PROGRAM, "prune", path, "-o", out, "--sparsity", "0.5", "--format", "json"],
        "baseline": [str(HERE / "resave.py"), path, str(folder / f"{name}-saved.onnx")],
    }
    usage: dict[str, list[process.Usage]] = {key: [] for key in todo}
    for k in range(rounds + 1):
        for key, command in todo.items():
            found = process.launch(command)
            if k > 0:
                usage[key].append(found)
    columns = {
        key: {"wall time": [u.seconds for u in us], "peak memory": [float(u.bytes) for u in us]}
        for key, us in usage.items()
    }
    rows = [
        measure.Row(
            f"{what}: prune / load, one session, save",
            measure.ratios(columns["prune"][what], columns["baseline"][what]),
            target,
        )
        for what, target in (("wall time", ("<=", 2.0)), ("peak memory", None))
    ]
    figures = "; ".join(
        f"{key} {median(c['wall time']):.2f} s, {median(c['peak memory']) / 1e9:.2f} GB"
        for key, c in columns.items()
    )
    return (
        f"### {name}: the program\n\nMedians:"
        f" {figures}.\n\n{measure.table(measure.HEADER, [row.cells() for row in rows])}"
    )


def main(options: list[str] | None = None) -> None:
    parser = measure.arguments(__doc__, 5)
    parser.add_argument(
        "--models", nargs="*", choices=sorted(architectures.BUILDERS), default=["resnet18", "resnet50"]
    )
    parser.add_argument(
        "--process", nargs="*", choices=sorted(architectures.BUILDERS), default=["resnet18", "vgg16"]
    )
    chosen = parser.parse_args(options)
    with measure.folder(chosen.cache) as folder:
        for name in chosen.models:
            measure.say(f"{name}: the cost pass")
            print(pass_report(name, folder, chosen.rounds), flush=True)
            gc.collect()
        for name in chosen.process:
            measure.say(f"{name}: the program")
            print(process_report(name, folder, chosen.rounds), flush=True)


if __name__ == "__main__":
    main()
