"""Cost against depth: residual networks of 50 to 800 blocks, whose path-norms are far beyond float32 and
float64.

    python benchmarks/depth.py [--blocks 50 100 200 400 800] [--rounds N] [--cache FOLDER]

A block is y = relu(x + conv(relu(conv(x)))), with 3x3 convolutions of 16 channels on 8x8 positions and random
weights. The second network of the metric has 0.1 % multiplicative noise on every weight. Times are those of
the Python interface, files read anew, sessions created anew; the best of all rounds, and what a block costs
of it. If the cost is linear in the depth, the time per block does not grow from one row to the next
("growth", 1 = linear; less where a fixed cost is spread over more blocks). "error" is the certified relative
error of the path-norm; a result that underflow has destroyed is shown as "lost".
"""

from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import measure
import numpy as np
from onnx import TensorProto, helper, numpy_helper, save

import onnxpath
from onnxpath.engine.scaled import Scaled
from onnxpath.records import PathMetric, PathNorms

BLOCKS = (50, 100, 200, 400, 800)
CHANNELS, SIZE = 16, 8


def write(path: Path, blocks: int, noise: float) -> None:
    """A random residual network; the same weights for every noise but for that."""
    random, shaken = np.random.default_rng(blocks), np.random.default_rng(1)
    nodes, tensors = [], []

    def convolution(x: str, channels: int) -> str:
        k = len(tensors) // 2
        weight = random.normal(0.0, (2.0 / (9 * channels)) ** 0.5, (CHANNELS, channels, 3, 3)).astype(
            np.float32
        )
        weight *= 1 + np.float32(noise) * shaken.standard_normal(weight.shape, np.float32)
        bias = random.normal(0.0, 0.05, CHANNELS).astype(np.float32)
        tensors.extend([numpy_helper.from_array(weight, f"w{k}"), numpy_helper.from_array(bias, f"b{k}")])
        nodes.append(
            helper.make_node(
                "Conv", [x, f"w{k}", f"b{k}"], [f"c{k}"], f"conv{k}", kernel_shape=[3, 3], pads=[1, 1, 1, 1]
            )
        )
        return f"c{k}"

    def plain(op: str, inputs: list[str]) -> str:
        nodes.append(helper.make_node(op, inputs, [f"t{len(nodes)}"], f"{op.lower()}{len(nodes)}"))
        return nodes[-1].output[0]

    x = plain("Relu", [convolution("x", 3)])
    for _ in range(blocks):
        inner = plain("Relu", [convolution(x, CHANNELS)])
        x = plain("Relu", [plain("Add", [x, convolution(inner, CHANNELS)])])
    ends = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, c, SIZE, SIZE])
        for n, c in (("x", 3), (x, CHANNELS))
    ]
    graph = helper.make_graph(nodes, "residual", ends[:1], ends[1:], tensors)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def measured(blocks: int, folder: Path) -> tuple[dict[str, float], PathNorms, PathMetric]:
    """Seconds of load, norm and metric, once, with the results."""
    paths = [folder / f"depth-{blocks}-{kind}.onnx" for kind in ("original", "noise")]
    for path, noise in zip(paths, (0.0, 0.001), strict=True):
        if not path.exists():
            write(path, blocks, noise)
    seconds: dict[str, float] = {}

    def timed(what: str, call: Callable):
        start = perf_counter()
        found = call()
        seconds[what] = perf_counter() - start
        return found

    a = timed("load", lambda: onnxpath.load(paths[0]))
    b = onnxpath.load(paths[1])
    norms = timed("norm", lambda: onnxpath.path_norm(a, 1.0, provider="cpu"))
    metric = timed("metric", lambda: onnxpath.path_metric(a, b, provider="cpu"))
    return seconds, norms, metric


def _magnitude(value: Scaled) -> str:
    return "lost" if value.log10 is None else f"{value.log10:.2f}"


def report(sizes: list[int], folder: Path, rounds: int) -> str:
    best: dict[int, dict[str, float]] = {}
    results = {}
    measured(min(sizes), folder)  # imports, and the first use of everything
    for _ in range(rounds):
        for blocks in sizes:
            measure.say(f"{blocks} blocks")
            seconds, norms, metric = measured(blocks, folder)
            results[blocks] = norms, metric
            best[blocks] = {key: min(value, best.get(blocks, seconds)[key]) for key, value in seconds.items()}
    header = [
        "blocks",
        "log10 path-norm",
        "error",
        "log10 path-metric ≤",
        "load (s)",
        "norm (s)",
        "metric (s)",
    ]
    header += [f"{key} per block (ms)" for key in ("load", "norm", "metric")] + [
        f"{key} growth" for key in ("load", "norm", "metric")
    ]
    rows, previous = [], None
    for blocks in sizes:
        norms, metric = results[blocks]
        each = {key: 1000 * value / blocks for key, value in best[blocks].items()}
        growth = [f"{each[key] / previous[key]:.2f}" if previous else "" for key in each]
        norm, times = norms.norms[0], [*best[blocks].values(), *each.values()]
        figures = [_magnitude(norm.value), f"{norm.relative_error:.1e}", _magnitude(metric.path_metric.upper)]
        rows.append([str(blocks), *figures, *(f"{x:.2f}" for x in times), *growth])
        previous = each
    return measure.table(header, rows)


def main(options: list[str] | None = None) -> None:
    parser = measure.arguments(__doc__, 2)
    parser.add_argument("--blocks", nargs="+", type=int, default=list(BLOCKS))
    chosen = parser.parse_args(options)
    with measure.folder(chosen.cache) as folder:
        print(report(sorted(chosen.blocks), folder, chosen.rounds), flush=True)


if __name__ == "__main__":
    main()
