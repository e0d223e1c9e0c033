"""Networks whose values grow without parameters: x + relu(x) doubles them, a sum over a window multiplies
them by its length.

Nothing overflows at any depth, whatever is computed: float32 reaches to 2^127, float64 to 2^1023. The oracle
computes with whole numbers.
"""

from functools import cache
from math import log10

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import onnxpath
from onnxpath.model.domain import Domain

KINDS = ("double", "pool", "concatenated", "largest")
SHAPE = (1, 2, 1, 4)


def _block(kind: str, k: int, x: str, y: str) -> list[onnx.NodeProto]:
    made = helper.make_node
    if kind == "double":
        return [made("Relu", [x], [f"r{k}"]), made("Add", [x, f"r{k}"], [y])]
    if kind == "pool":
        return [made("MaxPool", [x], [y], kernel_shape=[1, 3], pads=[0, 1, 0, 1], strides=[1, 1])]
    if kind == "concatenated":
        return [
            made("Concat", [x, x], [f"c{k}"], axis=2),
            made("ReduceMax", [f"c{k}"], [y], axes=[2], keepdims=1),
        ]
    return [made("Neg", [x], [f"n{k}"]), made("Max", [x, f"n{k}"], [y])]


@cache
def model(kind: str, depth: int, seed: int | None = None) -> bytes:
    """Blocks without parameters; between two layers where there is a seed."""
    nodes, weights, rng = [], {}, np.random.default_rng(seed)
    if seed is not None:
        weights = {"k": rng.standard_normal((2, 2, 1, 1)), "l": rng.standard_normal((8, 2))}
        nodes.append(helper.make_node("Conv", ["x", "k"], ["y0"]))
    for k in range(depth):
        nodes += _block(kind, k, f"y{k}" if k or seed is not None else "x", f"y{k + 1}")
    last = f"y{depth}"
    if seed is not None:
        nodes += [helper.make_node("Flatten", [last], ["f"]), helper.make_node("MatMul", ["f", "l"], ["z"])]
        last = "z"
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )  # fmt: skip
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    ).SerializeToString()


def grown(kind: str, depth: int) -> list[int]:
    """What `depth` blocks make of a row of four ones."""
    row = [1, 1, 1, 1]
    for _ in range(depth):
        padded = [0, *row, 0]
        row = [sum(padded[i : i + 3]) for i in range(4)] if kind == "pool" else [2 * value for value in row]
    return row


@pytest.mark.parametrize(
    ("kind", "depth"), [*((kind, 150) for kind in KINDS), ("double", 600), ("pool", 600)]
)
def test_path_norms_of_blocks_without_parameters(kind: str, depth: int) -> None:
    """600 doublings of 8 ones: log10 181.52. The bound of a padded pool grows faster than its values, and is
    measured again."""
    found = onnxpath.path_norm(model(kind, depth), [0, 1])
    for norm in found.norms:
        assert norm.value.log10 == pytest.approx(log10(2 * sum(grown(kind, depth))), abs=1e-5)
        assert norm.relative_error < 3e-4


@pytest.mark.parametrize("kind", ["double", "pool"])
def test_everything_is_finite_behind_many_blocks(kind: str) -> None:
    """Metric, costs, bound and inspection of two layers with the blocks between them, by the linear maps they
    are."""
    everything = kind == "double"
    a, b = (onnxpath.load(model(kind, 140, seed)) for seed in (0, 1))
    row = np.array(
        grown(kind, 140), float
    )  # the blocks multiply ones by this, and the first layer's channels are constant on ones
    sizes = []
    for network in (a, b):
        k, w = (node.weight.array().astype(np.float64) for node in network.nodes if node.weight is not None)
        sizes.append(np.abs(w.T) @ np.kron(np.abs(k[:, :, 0, 0]).sum(1), row))
    metric = onnxpath.path_metric(a, b, l2=everything, samples=10 * everything)
    for side, size in zip((metric.a, metric.b), sizes, strict=True):
        assert side.path_norm.log10 == pytest.approx(log10(size.sum()), abs=1e-5)
    low, high = metric.path_metric.lower, metric.path_metric.upper
    assert abs(sizes[0] - sizes[1]).sum() * (1 - 1e-5) <= low.value * (1 + 1e-5) and low <= high
    assert high.value <= sum(sizes).sum() * (1 + 1e-5)
    assert sum(layer.share for layer in metric.layers) == pytest.approx(1, abs=1e-5)
    assert not everything or (metric.l2 is not None and metric.l2.value.log10 is not None)
    costs = onnxpath.path_costs(a)
    for layer in costs.layers:  # every path meets both layers
        assert layer.cost.log10 == pytest.approx(log10(sizes[0].sum()), abs=1e-4)
    if not everything:
        return
    bound = onnxpath.bound(a, b, Domain.box(-1, 1), search=2).largest
    assert 0 < bound.found <= bound.certified.value <= high.value * (1 + 1e-5)
    paths = onnxpath.inspect(a).to_dict()["paths"]
    assert paths["log10"] == pytest.approx(log10(sum(grown(kind, 140)) * 2 * 2 * 2), abs=1e-5)
