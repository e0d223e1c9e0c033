"""The sharp difference pass through activations beyond ReLU: no difference that a search finds is above the
bound."""

from dataclasses import replace

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from oracle.networks import KINDS, perturb, random_network
from oracle.sketch import Sketch
from reference import evaluate
from reference_activations import FUNCTIONS
from reference_activations import samples as numbers

from onnxpath.analyses.bound.bound import output_difference
from onnxpath.analyses.inspect import inspect
from onnxpath.analyses.metric.metric import path_metric
from onnxpath.analyses.metric.norm import path_norms
from onnxpath.engine.plan import Output, Plan, Reading
from onnxpath.errors import UnsupportedError
from onnxpath.lanes.emission import Emission
from onnxpath.model.matching import match
from onnxpath.model.network import Network, Node, Parameter
from onnxpath.model.paths import extensions
from onnxpath.rewrites.collapse import collapse
from onnxpath.rewrites.rescaling.alignment import align
from onnxpath.rewrites.rescaling.groups import groups
from passes.test_sharp import DEVICES, certified, samples

PRECISIONS = pytest.mark.parametrize("precision", list(DEVICES))
ONE_OF_EACH = [(name, p) for name in FUNCTIONS for p in numbers(name)]


def activated(network: Network, rng: np.random.Generator, only: tuple | None = None) -> Network:
    """The network with its ReLUs replaced by random extension activations (one in five stays)."""
    nodes = []
    for node in network.nodes:
        if node.op == "Relu" and rng.random() < 0.8:
            node = _activation(node, network.shapes[node.output], rng, only)
        nodes.append(node)
    return replace(network, nodes=tuple(nodes))


def _activation(node: Node, shape: tuple, rng: np.random.Generator, only: tuple | None) -> Node:
    if only is None and rng.random() < 0.3:
        wide = tuple(n if k and rng.random() < 0.6 else 1 for k, n in enumerate(shape))
        slopes = (rng.standard_normal(wide) * rng.choice([0.0, 0.25, 1.0, 4.0], wide)).astype(np.float32)
        fixed = bool(rng.random() < 0.3)
        return replace(
            node,
            op="PRelu",
            weight=Parameter(f"{node.name}.slope", slopes, None, (f"{node.name}.slope",), fixed),
        )
    name, p = only or ONE_OF_EACH[rng.integers(len(ONE_OF_EACH))]
    return replace(node, op="Activation", attributes={"function": name, "parameters": p})


def check(a: Network, b: Network, rng: np.random.Generator, precision: str, size: float = 1.0) -> float:
    """Every sampled difference is within the bound; the largest part of a bound that was reached."""
    radius = {
        name: size * np.abs(rng.normal(size=a.shapes[name])) * rng.integers(0, 2, a.shapes[name])
        for name in a.inputs
    }
    bounds, reached = output_difference(match(a, b), radius, DEVICES[precision]), 0.0
    for inputs in samples(a, radius, rng):
        values = [evaluate(network, inputs) for network in (a, b)]
        # what float64 forward passes of tensors of this size may differ by without a cause
        largest = max(np.abs(v).max() for found in values for v in found.values())
        for name, other in zip(a.outputs, b.outputs, strict=True):
            p, q = (np.asarray(found[output]) for found, output in zip(values, (name, other), strict=True))
            limit = certified(bounds[name], p.shape)
            assert not np.isnan(limit).any()
            assert (np.abs(p - q) <= limit * (1 + 1e-12) + 1e-13 * largest).all()
            with np.errstate(invalid="ignore", divide="ignore"):
                reached = max(reached, np.nan_to_num(np.abs(p - q) / limit, posinf=0.0).max())
    return reached


@pytest.mark.parametrize("flavour", ["plain", "sparse", "extreme"])
@pytest.mark.parametrize("kind", KINDS)
@examples(4)
@given(seed=st.integers(0, 2**32 - 1), precision=st.sampled_from(list(DEVICES)))
def test_no_difference_is_above_the_bound(flavour: str, kind: str, seed: int, precision: str) -> None:
    rng = np.random.default_rng(seed)
    a = activated(random_network(seed, flavour), rng)
    check(a, perturb(a, kind, rng), rng, precision, size=float(rng.choice([1e-6, 1.0, 30.0])))


@pytest.mark.parametrize("only", ONE_OF_EACH, ids=str)
@examples(4)
@given(seed=st.integers(0, 2**32 - 1))
def test_every_function(only: tuple, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a = activated(random_network(seed), rng, only)
    check(a, perturb(a, str(rng.choice(KINDS)), rng), rng, "float32")


def layer(name: str, p: tuple, weight: float, bias: float, last: float = 1.0) -> Network:
    """y = last f(weight x + bias)."""
    s = Sketch(x=(1, 1))
    x = s.matmul("x", np.array([[weight]], np.float32), np.array([bias], np.float32))
    return s.network(s.matmul(s.activation(x, name, *p), np.array([[last]], np.float32)))


def bound(a: Network, b: Network, radius: float, precision: str = "float32") -> float:
    reading: Reading | None = output_difference(
        match(a, b), {"x": np.full((1, 1), radius)}, DEVICES[precision]
    )[a.outputs[0]]
    return float(certified(reading, (1,))[0])


@PRECISIONS
@pytest.mark.parametrize("name", ["Tanh", "Sigmoid", "Erf", "Softsign", "Sin", "Atan"])
def test_a_bounded_activation_caps_whatever_came_before(name: str, precision: str) -> None:
    """Inputs of 1e30: the exponents are chosen afresh at the cap, and nothing is infinite or lost."""
    width = 1.0 if name == "Sigmoid" else np.pi if name == "Atan" else 2.0
    for big in (1e3, 1e30, 3e37):
        for last in (1.0, 1e-20, 1e20):
            found = bound(layer(name, (), big, 0.0, last), layer(name, (), -big, 1.0, last), 1.0, precision)
            assert found == pytest.approx(width * np.float64(np.float32(last)), rel=1e-5)


@PRECISIONS
def test_tiny_differences_keep_their_relative_accuracy(precision: str) -> None:
    """D' = L D below any cap, for a difference far below the values."""
    for function, p, gain in (
        ("Tanh", (), 1.0),
        ("Sigmoid", (), 0.25),
        ("Clip", (-1.0, 1.0), 1.0),
        ("Gelu", (1.0,), 1.12890414518516),
    ):
        a, b = np.float32(0.5), np.nextafter(np.float32(0.5), np.float32(1))
        assert bound(layer(function, p, a, 0.0), layer(function, p, b, 0.0), 1.0, precision) == pytest.approx(
            gain * (float(b) - float(a)), rel=1e-5
        )


def test_the_range_below_zero_helps() -> None:
    """Both values of a Gelu lie in [-0.17, a']: the difference is at most a' + 0.17, not the sum of the
    magnitudes."""
    a, b = layer("Gelu", (1.0,), 10.0, 0.0), layer("Gelu", (1.0,), -10.0, 0.0)
    assert bound(a, b, 1.0) == pytest.approx(11.2890414518516 + 0.16997120747991, rel=1e-5)
    a, b = layer("Softplus", (np.inf,), 10.0, 0.0), layer("Softplus", (np.inf,), -10.0, 0.0)
    assert bound(a, b, 1.0) == pytest.approx(10 + np.log(2), rel=1e-5)


@pytest.mark.parametrize("p, q, size", [(0.1, 0.3, 2.0), (-0.5, 0.5, 1.0), (3.0, -2.0, 1.0), (0.0, 1.0, 7.0)])
def test_slopes_of_prelu_that_differ_are_injected(p: float, q: float, size: float) -> None:
    """f_p(s) - f_q(s) = (p - q) min(s, 0): the bound |p - q| size is attained at s = -size."""

    def network(slope: float) -> Network:
        s = Sketch(x=(1, 1))
        return s.network(s.prelu(s.matmul("x", np.ones((1, 1), np.float32)), np.array([[slope]], np.float32)))

    assert bound(network(p), network(q), size) == pytest.approx(size * abs(p - q), rel=1e-6)


def test_a_jump_costs_itself_and_only_where_something_differs() -> None:
    a, b = (
        layer("Softplus", (3.0,), 1.0, 0.0),
        layer("Softplus", (3.0,), np.nextafter(np.float32(1), np.float32(2)), 0.0),
    )
    jump = np.log1p(np.exp(-3.0))
    assert bound(a, b, 4.0) == pytest.approx(jump + 4 * 2**-23, rel=1e-5)
    assert bound(a, a, 4.0) == 0


@PRECISIONS
@examples(20)
@given(
    gain=st.floats(1e-3, 1e3), offset=st.sampled_from([0.0, 1e-30, 1e-3, 1.0, 1e20]),
    cap=st.sampled_from([0.0, 1e-25, 0.5, 6.0, np.inf]),
    log2=st.floats(-400, 400), seed=st.integers(0, 99),
)  # fmt: skip
def test_bend(precision: str, gain: float, offset: float, cap: float, log2: float, seed: int) -> None:
    """min(gain x + offset, cap) at exponents that fit, within its own certificate, for lanes of any
    magnitude."""
    network, device, rng = (
        Network("", "", ("x",), (), (), {"x": (1, 8)}),
        DEVICES[precision],
        np.random.default_rng(seed),
    )
    emission = Emission(network, device)
    lane = emission.bend(emission.source("x", (1, 8), log2), gain, offset, cap)
    plan = Plan(
        emission.graph, emission.graph_exponents,
        {"y": Output(emission.graph.output(lane.tensor), lane.exponent, lane.roundings,
        float(lane.flush.max()), lane.relative)}, device,
    )  # fmt: skip
    # mantissas of the input's own precision, so that the reference knows what went in
    x = np.ldexp(
        rng.random((1, 8)).astype(np.float32).astype(np.float64),
        int(np.floor(log2)) - rng.integers(0, 30, (1, 8)),
    )
    reading = plan.run({"x": x})["y"]
    expected = np.minimum(np.float64(gain) * x + offset, cap).reshape(-1)
    for value, right in zip(reading.values.flatten(), expected, strict=True):
        upper, lower = reading.upper(value), reading.lower(value)
        assert upper.log2 >= np.log2(right) - 1e-12 if right > 0 else upper.mantissa >= 0
        assert lower.mantissa == 0 or (right > 0 and lower.log2 <= np.log2(right) + 1e-12)
    # what the input lost is carried on: beside a cap it may matter, but never more than the cap does
    assert reading.lost.log2 <= np.log2(cap) + 1.001 if cap > 0 else reading.lost.mantissa == 0
    if expected.max() > 0 and (cap == np.inf or (cap >= 0.5 and log2 <= 60)):
        assert reading.lost.log2 <= np.log2(expected.max()) - 30
    if expected.max() > 0:
        assert (np.log2(expected.max()) <= np.broadcast_to(lane.log2, (1, 8)) + 1e-6).all()


def test_extensions_are_listed_and_refused_where_paths_are_needed() -> None:
    s = Sketch(x=(1, 2))
    x = s.activation(s.relu(s.matmul("x", np.ones((2, 3), np.float32))), "Tanh", name="first")
    x = s.prelu(s.matmul(x, np.ones((3, 3), np.float32)), np.ones((1, 3), np.float32), name="second")
    network = s.network(s.matmul(x, np.ones((3, 1), np.float32)))
    assert extensions(network) == ("first", "second")
    assert extensions(random_network(0)) == ()
    for analysis in (path_norms, inspect, lambda n: path_metric(n, n)):
        with pytest.raises(UnsupportedError, match="node 'first' \\(Tanh\\)"):
            analysis(network)


def _chain(activation: str) -> Network:
    rng, s = np.random.default_rng(5), Sketch(x=(1, 3))
    x = s.matmul(
        "x", rng.standard_normal((3, 4)).astype(np.float32), rng.standard_normal(4).astype(np.float32)
    )
    x = (
        s.prelu(x, np.abs(rng.standard_normal((1, 4))).astype(np.float32))
        if activation == "PRelu"
        else s.activation(x, activation)
    )
    return s.network(s.matmul(x, rng.standard_normal((4, 2)).astype(np.float32)))


def test_rescaling_passes_through_prelu_and_no_other_activation() -> None:
    assert len(groups(_chain("PRelu")).free()) == 4
    assert groups(_chain("Tanh")).free() == set()


def test_alignment_undoes_a_rescaling_around_a_prelu() -> None:
    """D(A, B) = D(A, rescaled B): hidden channels are multiplied by powers of two, the slopes (which differ)
    stay."""
    a = _chain("PRelu")
    first, prelu, last = a.nodes
    prelu = replace(prelu, weight=replace(prelu.weight, base=prelu.weight.base + np.float32(0.25)))
    factor = np.array([8.0, 0.25, 1.0, 512.0], np.float32)
    changed = (
        replace(
            first,
            weight=replace(first.weight, base=first.weight.base * factor),
            bias=replace(first.bias, base=first.bias.base * factor),
        ),
        prelu,
        replace(last, weight=replace(last.weight, base=last.weight.base / factor[:, None])),
    )
    plain, moved = (match(a, replace(a, nodes=nodes)) for nodes in ((first, prelu, last), changed))
    aligned = align(moved, 1.1)
    assert aligned is not None and aligned.exact
    radius = {"x": np.ones((1, 3))}
    right, found = (
        certified(output_difference(pairing, radius, DEVICES["float32"])[a.outputs[0]], (2,))
        for pairing in (plain, replace(moved, twin=aligned.twin))
    )
    np.testing.assert_allclose(found, right, rtol=1e-6)


def test_collapsed_images_give_the_same_bound() -> None:
    """A box that does not vary over space: the same bound from the network on smaller images."""

    def network(seed: int) -> Network:
        rng, s = np.random.default_rng(seed), Sketch(x=(1, 2, 24, 24))
        x = s.conv("x", rng.standard_normal((3, 2, 3, 3)).astype(np.float32), pads=(1, 1, 1, 1))
        x = s.activation(s.prelu(x, rng.standard_normal((1, 3, 1, 1)).astype(np.float32)), "Gelu", 1.0)
        x = s.conv(x, rng.standard_normal((2, 3, 3, 3)).astype(np.float32), pads=(1, 1, 1, 1))
        return s.network(s.flatten(s.reduce("ReduceMax", s.activation(x, "Tanh"), (2, 3))))

    a, b = network(0), network(1)
    small = match(collapse(a), collapse(b))
    assert small.a.shapes["x"] < a.shapes["x"]
    whole, less = (
        certified(
            output_difference(pairing, {"x": np.full(pairing.a.shapes["x"], 1e-3)}, DEVICES["float64"])[
                pairing.a.outputs[0]
            ],
            (1, 2),
        )
        for pairing in (match(a, b), small)
    )
    np.testing.assert_allclose(less, whole, rtol=1e-9)
