"""Gradients against PyTorch's autograd in float64, on random networks over all operators, with and without
ties."""

from pathlib import Path

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from ops.cases import CASES
from oracle.networks import perturb, random_network
from oracle.sketch import Sketch
from reference import evaluate, evaluate_absolute, gradient, ones

import onnxpath
from onnxpath.engine.session import Device
from onnxpath.evaluate.forward import counterpart
from onnxpath.evaluate.gradient import Gradient
from onnxpath.model.matching import match
from onnxpath.model.network import Network, Site
from onnxpath.ops import OPERATORS
from onnxpath.ops.graph import Graph
from onnxpath.ops.operator import Operator, always, never, same_image

DEVICES = {precision: Device("cpu", precision, 1) for precision in ("float32", "float64")}


def shape_of(network: Network, name: str, batch: int) -> tuple[int, ...]:
    return (batch, *network.shapes[name][1:]) if network.batched else network.shapes[name]


def agrees(found: np.ndarray, expected: np.ndarray, size: float) -> bool:
    """Up to float64 rounding, relative to the largest gradient that the same cotangents make without
    cancellation."""
    return bool(np.abs(found - expected).max() <= 1e-11 * max(size, np.abs(expected).max()))


def magnitude(network: Network, weights: dict[str, np.ndarray]) -> float:
    """Σ |c_v| Σ_p |Φ_p|, what roundings of a gradient are relative to."""
    values = evaluate_absolute(network, ones(network))
    return sum(float((values[name] * np.abs(w)).sum()) for name, w in weights.items())


@examples(20)
@given(seed=st.integers(0, 2**32 - 1), flavour=st.sampled_from(["plain", "sparse"]), whole=st.booleans())
def test_linear_objective_of_one_network(seed: int, flavour: str, whole: bool) -> None:
    """`whole`: integer inputs, so that maxima are tied and pre-activations are exactly 0 now and then."""
    rng = np.random.default_rng(seed)
    network = random_network(seed, flavour)
    batch = 3 if network.batched else 1
    inputs = {}
    for name in network.inputs:
        shape = shape_of(network, name, batch)
        inputs[name] = rng.integers(-1, 2, shape).astype(np.float64) if whole else rng.standard_normal(shape)
    weights = {name: rng.standard_normal(shape_of(network, name, batch)) for name in network.outputs}
    found = Gradient([network], DEVICES["float64"]).run(inputs, weights)
    for k in range(batch):
        part = slice(k, k + 1) if network.batched else slice(None)
        sample, c = ({name: x[part] for name, x in arrays.items()} for arrays in (inputs, weights))
        size = magnitude(network, c)
        expected = gradient(network, sample, c)
        values = evaluate(network, sample)
        for name in network.inputs:
            assert agrees(found.gradient[name][part], expected[name], size)
        for name in network.outputs:
            assert np.abs(found.values[name][part] - values[name]).max() <= 1e-12 * max(
                np.abs(v).max() for v in values.values()
            )


@examples(14)
@given(
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(["retrained", "monotone", "flipped", "other biases"]),
    absolute=st.booleans(),
)
def test_objectives_of_a_pair(seed: int, kind: str, absolute: bool) -> None:
    """Σ w (y_A - y_B) and Σ w |y_A - y_B|, where |·|' is 1 at 0."""
    rng = np.random.default_rng(seed)
    a = random_network(seed)
    b = perturb(a, kind, rng)
    pairing = match(a, b)
    other = counterpart(pairing)
    inputs = {name: rng.standard_normal(a.shapes[name]) for name in a.inputs}
    weights = {name: rng.standard_normal(a.shapes[name]) for name in a.outputs}
    found = Gradient([pairing.a, other], DEVICES["float64"], absolute).run(inputs, weights)
    values = [evaluate(network, inputs) for network in (a, other)]
    cotangents = {}
    for name in a.outputs:
        difference = values[0][name] - values[1][name]
        size = max(np.abs(v).max() for v in (values[0][name], values[1][name]))
        assert (
            np.abs(found.values[name] - difference).max()
            <= 1e-12 * max(np.abs(v).max() for v in values[0].values()) + 1e-12 * size
        )
        cotangents[name] = (
            weights[name] * np.where(found.values[name] < 0, -1, 1) if absolute else weights[name]
        )
    expected = [gradient(network, inputs, cotangents) for network in (a, other)]
    size = sum(magnitude(network, weights) for network in (a, other))
    for name in a.inputs:
        assert agrees(found.gradient[name], expected[0][name] - expected[1][name], size)


@pytest.mark.parametrize("op", sorted(OPERATORS))
def test_every_operator_in_a_network(op: str) -> None:
    """Every geometry of every operator as a network of its own, on a batch."""
    rng = np.random.default_rng(4)
    for label, site in CASES[op].items():
        s = Sketch(**{f"x{k}": shape for k, shape in enumerate(site.input_shapes)})
        output = s.node(
            op, list(s.shapes), site.output_shape, site.node.weight, site.node.bias, False, label,
            **site.node.attributes
        )  # fmt: skip
        network = s.network(output, batched=site.batched)
        inputs = {name: rng.standard_normal(network.shapes[name]) for name in network.inputs}
        weights = {output: rng.standard_normal(network.shapes[output])}
        found = Gradient([network], DEVICES["float64"]).run(inputs, weights)
        for name, right in gradient(network, inputs, weights).items():
            assert found.gradient[name].shape == right.shape
            assert np.abs(found.gradient[name] - right).max() <= 1e-12 * max(1.0, np.abs(right).max()), label


def test_ties_are_shared_and_a_kink_passes_nothing_on() -> None:
    s = Sketch(x=(1, 1, 4))
    network = s.network(s.reduce("ReduceMax", s.relu("x"), (2,)))
    gradient = Gradient([network], DEVICES["float32"])
    for x, expected in (
        ([2, 2, 1, -1], [0.5, 0.5, 0, 0]),
        ([0, -1, -1, -1], [0, 0, 0, 0]),
        ([1, 0, 0, 0], [1, 0, 0, 0]),
    ):
        found = gradient.run({"x": np.array([[x]])}, {network.outputs[0]: np.ones((1, 1, 1))})
        assert found.gradient["x"].tolist() == [[expected]]


@pytest.mark.parametrize("weighted", [False, True])
def test_operators_with_a_slope(monkeypatch: pytest.MonkeyPatch, weighted: bool) -> None:
    """An activation says f'(x), which may depend on its weight: here f(x) = w x²."""

    def times(g: Graph, site: Site, y: str, weight: str | None) -> str:
        return g.op("Mul", [y, weight]) if weight else y

    def square(g: Graph, site: Site, inputs: list[str], weight: str | None = None) -> str:
        return times(g, site, g.op("Mul", [inputs[0], inputs[0]]), weight)

    def slope(g: Graph, site: Site, x: str, weight: str | None = None) -> str:
        return times(g, site, g.op("Add", [x, x]), weight)

    record = Operator(
        "Square", "activation", square, always, {"slope": slope}, image=same_image, homogeneous=False,
        projection=never,
    )  # fmt: skip
    monkeypatch.setitem(OPERATORS, "Square", record)
    s = Sketch(x=(1, 2))
    network = s.network(s.node("Square", ["x"], (1, 2), np.array([[2.0, -1.0]]) if weighted else None))
    found = Gradient([network], DEVICES["float64"]).run(
        {"x": np.array([[3.0, -5.0]])}, {network.outputs[0]: np.ones((1, 2))}
    )
    assert found.gradient["x"].tolist() == ([[12.0, 10.0]] if weighted else [[6.0, -10.0]])


def test_an_output_that_is_read_on_and_an_input_that_nothing_uses() -> None:
    s = Sketch(x=(1, 2), z=(1, 3))
    y = s.relu("x")
    last = s.matmul(y, np.array([[2.0], [3.0]], np.float32))
    network = s.network(last, y)
    run = Gradient([network], DEVICES["float32"]).run
    found = run(
        {"x": np.array([[1.0, -1.0]]), "z": np.ones((1, 3))},
        {last: np.ones((1, 1)), y: np.full((1, 2), 10.0)},
    )
    assert found.gradient["x"].tolist() == [[12.0, 0.0]]
    assert found.gradient["z"].tolist() == [[0.0, 0.0, 0.0]]


@pytest.mark.parametrize("name", ["slim320_folded", "resnet20_cifar_bn", "mnist_cntk"])
def test_real_models_against_a_difference_quotient(real_models: Path, name: str) -> None:
    """Along the gradient g the objective grows by ε ‖g‖², with float64 values of the function itself."""
    network = onnxpath.load(real_models / f"{name}.onnx")
    device = DEVICES["float64"]
    rng = np.random.default_rng(3)
    x = {key: rng.random(network.shapes[key]) for key in network.inputs}
    weights = {key: np.zeros(network.shapes[key]) for key in network.outputs}
    first = weights[network.outputs[0]].reshape(-1)
    first[:2] = (1, -1)
    run = Gradient([network], device).run
    g = run(x, weights).gradient
    square = sum(float((part**2).sum()) for part in g.values())
    # small enough to cross few kinks, large enough that float64 resolves the change
    eps = 1e-7 / np.sqrt(square)
    ends = [run({key: x[key] + sign * eps * g[key] for key in x}, weights).values for sign in (1, -1)]
    change = sum(float(((ends[0][key] - ends[1][key]) * weights[key]).sum()) for key in weights)
    assert change == pytest.approx(2 * eps * square, rel=1e-3)
