"""Quantization by grids: what a grid does to numbers, what one layer costs, and which widths a budget
allows."""

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from onnx import helper, numpy_helper
from oracle import paths

import onnxpath
from onnxpath.analyses.metric.metric import path_metric
from onnxpath.analyses.quantize import grids, mixed
from onnxpath.analyses.quantize.blame import correlation, ranks
from onnxpath.analyses.quantize.layers import Layer, layers, quantized
from onnxpath.analyses.quantize.local import Local
from onnxpath.analyses.quantize.sensitivity import Variant, sensitivity
from onnxpath.analyses.quantize.settings import Budget, Settings
from onnxpath.analyses.quantize.variants import Runner
from onnxpath.engine.session import Device
from onnxpath.errors import UsageError
from onnxpath.evaluate.forward import Forward
from onnxpath.exporter.quantizing import stored_kinds
from onnxpath.model.matching import match
from onnxpath.model.network import Network

MODELS = Path(__file__).resolve().parents[2] / "models"
EXACT = Device("cpu", "float64", 1)
CPU = Device("cpu", "float32", 1)
NUMBERS = (
    st.floats(-(2.0**100), 2.0**100, width=32)
    | st.floats(-1, 1, width=32)
    | st.sampled_from([0.0, 2.0**-149, -(2.0**-127), 2.0**-126])
)


def read(name: str, **options: object) -> tuple[Network, list[Layer]]:
    path = MODELS / f"{name}.onnx"
    network = onnxpath.load(path)
    return network, layers(network, stored_kinds(path), Settings(**options))[0]  # type: ignore[arg-type]


def variants(
    network: Network, found: list[Layer], widths: tuple, rounding: str, device: Device, **more: object
) -> list[Variant]:
    return [variant for variant, _ in sensitivity(network, found, widths, rounding, device, **more).variants]  # type: ignore[arg-type]


@examples(75)
@given(
    array=arrays.arrays(np.float32, arrays.array_shapes(min_dims=2, max_dims=3, max_side=5),
    elements=NUMBERS),
    bits=st.integers(2, 16), by_channel=st.booleans(), rounding=st.sampled_from(grids.ROUNDINGS),
    wide=st.booleans(),
    kind=st.sampled_from(["float32", "bfloat16"]),
)  # fmt: skip
def test_grids(array: np.ndarray, bits: int, by_channel: bool, rounding: str, wide: bool, kind: str) -> None:
    """Signs do not flip, zeros stay zeros, no number moves by more than itself or (to nearest) half a step,
    and none grows towards zero."""
    if kind == "bfloat16":
        array = (array.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
    array = array.astype(np.float64) if wide and kind == "float32" else array
    axis = 0 if by_channel else None
    step = grids.along(grids.steps(grids.largest(array, axis), bits), axis, array.ndim)
    n = grids.integers(array, step, bits, rounding)
    assert (n == np.rint(n)).all() and np.abs(n).max() <= grids.levels(bits)
    made = grids.rounded(array, bits, axis, rounding, kind)
    assert made.dtype == array.dtype and (array * np.sign(made) >= 0).all() and (made[array == 0] == 0).all()
    assert (np.abs(array - made) <= np.abs(array)).all()
    if rounding == "zero":
        assert (np.abs(made) <= np.abs(array)).all()
    if kind == "float32":
        # the product is rounded once, the quotient once, and below 2^-126 a step is larger than the range
        # needs
        np.testing.assert_array_equal(made, (n.astype(np.float32) * step).astype(array.dtype))
        room = (0.5 if rounding == "nearest" else 1.0) * step.astype(np.float64) * (
            1 + 2.0**-7
        ) + 2.0**-23 * np.abs(array)
        assert (np.abs(array - made) <= room).all()


@pytest.mark.parametrize("bits", [2, 4, 8, 16])
def test_the_largest_number_is_on_its_grid(bits: int) -> None:
    """Up to the rounding of the step: L s is at most M, and less by two units in the last place at most."""
    top = np.random.default_rng(bits).lognormal(0, 5, 1000).astype(np.float32)
    reached = grids.steps(top, bits) * np.float32(grids.levels(bits))
    assert (reached <= top).all() and (reached >= top * (1 - 2.0**-21)).all()


@pytest.mark.parametrize("granularity", ["channel", "tensor"])
@pytest.mark.parametrize("rounding", grids.ROUNDINGS)
@pytest.mark.parametrize("name", ["digits_mlp", "digits_maxpool_cnn", "digits_resnet_bn"])
def test_a_layer_alone_costs_what_the_difference_pass_says(
    name: str, rounding: str, granularity: str
) -> None:
    """Both numbers are exact, each up to float32 rounding; 1e-5 is what the certificates allow."""
    network, found = read(name, granularity=granularity)
    made = variants(network, found, (2, 5, 8), rounding, CPU)
    assert [(v.layer, v.bits) for v in made] == list(product(range(len(found)), (2, 5, 8)))
    rng = np.random.default_rng(0)
    for variant in rng.permutation(np.array(made, object))[:5]:
        twin = quantized(network, {found[variant.layer].tensor: variant.bits}, found, rounding)
        metric = path_metric(network, twin, CPU).path_metric
        assert variant.exact and metric.exact and variant.relative_error < 1e-2
        assert variant.metric.over(metric.upper) == pytest.approx(1, rel=1e-5)


def test_in_float64_they_agree_to_fourteen_digits() -> None:
    network, found = read("digits_mlp")
    for variant in variants(network, found, (3, 8, 16), "nearest", EXACT):
        twin = quantized(network, {found[variant.layer].tensor: variant.bits}, found, "nearest")
        assert variant.metric.over(path_metric(network, twin, EXACT).path_metric.upper) == pytest.approx(
            1, rel=1e-13
        )


def test_the_bound_of_a_layer_alone_is_no_smaller_than_what_is_found() -> None:
    """Σ_p r_p |Φ_p - Φ'_p| for inputs in [0, 1/2], against real images of half brightness, all outputs added
    up."""
    network, found = read("digits_maxpool_cnn")
    (name,) = network.inputs
    radius = {name: np.full((1, 1, 1, 1), 0.5)}
    made = variants(network, found, (2, 3, 8), "nearest", CPU, radius=radius)
    full = variants(
        network, found, (2, 3, 8), "nearest", CPU, radius={name: np.full(network.shapes[name], 0.5)}
    )
    x = np.load(MODELS / "digits_test.npz")["x"][:50] / 2
    runner = Runner(network, {name: x}, CPU)
    for variant, same in zip(made, full, strict=True):
        layer = found[variant.layer]
        assert variant.bound is not None and same.bound is not None and variant.bound < variant.metric
        assert variant.bound.over(same.bound) == pytest.approx(
            1, rel=1e-3
        )  # collapsed or not, up to their certificates
        assert (
            0 < runner.error([(layer, layer.rounded(variant.bits, "nearest"))]).largest <= variant.bound.value
        )


@pytest.mark.parametrize("name", ["digits_mlp", "digits_resnet"])
def test_the_error_found_is_that_of_the_rounded_network(name: str) -> None:
    """One session for all variants gives what a session of its own gives the rounded file, and forgets every
    variant."""
    path = MODELS / f"{name}.onnx"
    network, found = read(name)
    x = np.load(MODELS / "digits_test.npz")["x"][:20]
    runner = Runner(network, {network.inputs[0]: x}, CPU)
    plain = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
    for chosen in (found[:1], found[1:], found):
        edits = {layer.tensor: layer.rounded(3, "nearest") for layer in chosen}
        proto = onnx.load(path)
        for tensor in proto.graph.initializer:
            if tensor.name in edits:
                tensor.CopyFrom(numpy_helper.from_array(edits[tensor.name], tensor.name))
        own = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"]).run(
            None, {"x": x}
        )[0]
        gap = np.abs(own.astype(np.float64) - plain)
        error = runner.error([(layer, edits[layer.tensor]) for layer in chosen])
        # float32 outputs of up to 30, by other kernels
        assert error.largest == pytest.approx(gap.max(), abs=1e-4) and error.mean == pytest.approx(
            gap.max(1).mean(), abs=1e-4
        )
    assert runner.error([]).largest == 0


@examples(7)
@given(seed=st.integers(0, 2**32 - 1), bits=st.integers(2, 5), rounding=st.sampled_from(grids.ROUNDINGS))
def test_against_all_paths(seed: int, bits: int, rounding: str) -> None:
    """Σ |Φ_p - Φ'_p| over explicit paths, for every layer of a small file alone."""
    rng = np.random.default_rng(seed)
    widths = [3, 4, 3, 2]
    nodes, tensors, x = [], [], "x"
    for k, (n, m) in enumerate(zip(widths, widths[1:], strict=False)):
        tensors += [
            numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), f"{kind}{k}")
            for kind, shape in (("w", (n, m)), ("b", (m,)))
        ]
        nodes.append(helper.make_node("Gemm", [x, f"w{k}", f"b{k}"], [f"h{k}"], f"layer{k}"))
        x = f"h{k}"
        if k < 2:
            nodes.append(helper.make_node("Relu", [x], [f"r{k}"]))
            x = f"r{k}"
    ends = [helper.make_tensor_value_info(name, 1, [1, size]) for name, size in (("x", 3), (x, 2))]
    proto = helper.make_model(
        helper.make_graph(nodes, "g", ends[:1], ends[1:], tensors),
        ir_version=8,
        opset_imports=[helper.make_opsetid("", 17)],
    )
    network = onnxpath.load(proto)
    found, _ = layers(network, stored_kinds(proto), Settings())
    for variant in variants(network, found, (bits,), rounding, EXACT):
        twin = quantized(network, {found[variant.layer].tensor: bits}, found, rounding)
        expected = sum(float(part.sum()) for part in paths.metric(network, twin).values())
        assert variant.metric.value == pytest.approx(expected, rel=1e-12)


def test_a_tensor_that_a_path_meets_twice_gets_a_pass_of_its_own() -> None:
    """|p² - q²| is not 2 p |p - q|: the number is the certified upper end then."""
    rng = np.random.default_rng(1)
    tensors = [numpy_helper.from_array(rng.standard_normal((4, 4)).astype(np.float32), "w")]
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "w"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(name, 1, [1, 4]) for name in "xy"]
    proto = helper.make_model(
        helper.make_graph(nodes, "g", ends[:1], ends[1:], tensors),
        ir_version=8,
        opset_imports=[helper.make_opsetid("", 17)],
    )
    network = onnxpath.load(proto)
    found, _ = layers(network, stored_kinds(proto), Settings())
    nearest, zero = (
        variants(network, found, (3,), rounding, EXACT, radius={"x": np.ones((1, 1))})[0]
        for rounding in grids.ROUNDINGS
    )
    for variant, rounding in ((nearest, "nearest"), (zero, "zero")):
        twin = quantized(network, {"w": 3}, found, rounding)
        expected = sum(float(part.sum()) for part in paths.metric(network, twin).values())
        assert variant.bound is None and variant.metric.value >= expected * (1 - 1e-12)
        assert variant.exact == (rounding == "zero")
    assert not nearest.exact


@pytest.mark.parametrize("name", ["digits_mlp", "digits_maxpool_cnn", "digits_resnet_bn"])
def test_what_a_layer_alone_can_do_on_given_inputs(name: str) -> None:
    """Never less than the outputs' differences add up to, never more than the path-metric allows there, and
    equal to them for the last layer."""
    network, found = read(name)
    x = np.load(MODELS / "digits_test.npz")["x"][:70]
    samples = {network.inputs[0]: x}
    local, forward = Local(network, found, samples, EXACT), Forward([network], EXACT)
    plain = forward.run(samples)[0][network.outputs[0]]
    for variant in variants(network, found, (3,), "nearest", EXACT):
        layer = found[variant.layer]
        rounded = layer.rounded(3, "nearest")
        twin = quantized(network, {layer.tensor: 3}, found, "nearest")
        gap = (
            np.abs(Forward([twin], EXACT).run(samples)[0][network.outputs[0]] - plain)
            .reshape(len(x), -1)
            .sum(1)
            .max()
        )
        (bound,) = local.bounds([(layer, rounded)])
        assert bound is not None and gap <= bound.value * (1 + 1e-9)  # float64
        assert bound <= variant.metric.times(1 + 1e-9)  # pixels are at most 1
        if layer is found[-1]:
            assert bound.value == pytest.approx(gap, rel=1e-9)


OPTIONS = st.lists(
    st.lists(st.tuples(st.integers(0, 20), st.floats(0, 1)), min_size=1, max_size=4).map(
        lambda items: [mixed.Option(k, size, cost) for k, (size, cost) in enumerate(items)]
    ),
    min_size=1, max_size=5,
)  # fmt: skip


@examples(75)
@given(options=OPTIONS, target=st.floats(0, 3))
def test_an_assignment_is_the_cheapest_of_all(options: list[list[mixed.Option]], target: float) -> None:
    found = mixed.assign(options, target)
    every = list(product(*options))
    cost = {combination: np.cumsum([option.cost for option in combination])[-1] for combination in every}
    feasible = [c for c in every if cost[c] <= target]
    if not feasible:
        assert found is None
        return
    assert found is not None
    chosen = tuple(own[k] for own, k in zip(options, found, strict=True))
    best = min((sum(option.bytes for option in c), cost[c]) for c in feasible)
    assert (sum(option.bytes for option in chosen), cost[chosen]) == best


@examples(50)
@given(options=OPTIONS, factor=st.floats(0.05, 20))
def test_what_is_measured_decides(options: list[list[mixed.Option]], factor: float) -> None:
    """Costs may be wrong by a factor: what comes back keeps the measured budget, and anything does where the
    free choice is among the options."""
    options = [[mixed.Option(None, 50, 0.0), *own] for own in options]

    def measure(choice: list[int]) -> float:
        return factor * sum(own[k].cost for own, k in zip(options, choice, strict=True))

    found = mixed.search(options, measure)
    assert found is not None and measure(found) <= 1


def test_ranks_and_their_correlation() -> None:
    assert ranks([3, 1, 2, 2]).tolist() == [4, 1, 2.5, 2.5]
    assert correlation([1, 2, 3], [10, 20, 40]) == 1 and correlation([1, 2, 3], [3, 2, 1]) == -1
    assert correlation([1], [2]) is None and correlation([1, 1], [1, 2]) is None


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("metric=1%", Budget("metric", 0.01, True)),
        ("bound=0.5", Budget("bound", 0.5, False)),
        ("metric=1e9", Budget("metric", 1e9, False)),
    ],
)
def test_budgets(text: str, budget: Budget) -> None:
    assert Budget.parse(text) == budget


@pytest.mark.parametrize(
    "text",
    ["", "metric", "metric=", "metric=x", "size=3", "metric=0", "bound=-1", "metric=nan", "metric=inf%"],
)
def test_budgets_that_mean_nothing(text: str) -> None:
    with pytest.raises(UsageError, match="budget"):
        Budget.parse(text)


def test_matching_networks_share_their_layers() -> None:
    """The rounded network is the float one with other numbers in these layers alone."""
    network, found = read("digits_resnet")
    twin = quantized(network, {found[2].tensor: 4}, found, "nearest")
    pairing = match(network, replace(twin, path="twin"))
    changed = [
        node.output
        for node in network.nodes
        if node.weight is not None and not np.array_equal(node.weight.base, pairing.twin[node.output][0].base)
    ]
    assert changed == list(found[2].outputs)
