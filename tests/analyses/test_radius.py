"""Theorem 3.1 with a radius: for |x_i| <= B the outputs differ by at most B d_I + d_H, and what follows for
Lemma E.1 and Theorem E.1."""

from dataclasses import replace

import numpy as np
import pytest
from oracle import paths
from oracle.networks import FLAVOURS, KINDS, perturb, random_network
from oracle.sketch import Sketch

from analyses.test_lipschitz import bounds, brute_lemma, largest_difference, value
from onnxpath.analyses.metric.metric import path_metric
from onnxpath.analyses.theory import lipschitz, neuron_bounds
from onnxpath.analyses.theory.normalized import theorem_e1
from onnxpath.engine.session import Device
from onnxpath.model.matching import match
from onnxpath.model.network import Network, Node, Parameter

DEVICE = Device("cpu", "float32", 1)
RADII = (0.0, 1e-3, 0.3, 4.0, 1e3)


def enumerated(a: Network, b: Network) -> tuple[float, float]:
    """d_I and d_H, path by path."""
    found = [0.0, 0.0]
    for part in paths.lift(a, b).values():
        gap = np.abs(part.p - part.q)
        found[0] += float(gap[part.start >= 0].sum())
        found[1] += float(gap[part.start < 0].sum())
    return found[0], found[1]


@pytest.mark.parametrize("kind", KINDS)
def test_the_bound_is_above_the_paths_and_the_difference(kind: str) -> None:
    """It is B d_I + d_H itself where the metric is exact, and never above max(B, 1) times the whole
    metric."""
    exact = 0
    for seed in range(6):
        a = random_network(seed, FLAVOURS[seed % 3], 1000)
        rng = np.random.default_rng([seed, 11])
        b = perturb(a, kind, rng)
        d_i, d_h = enumerated(a, b)
        for radius in (RADII[seed % 5], RADII[(seed + 2) % 5]):
            found = path_metric(a, b, DEVICE, radius)
            right = radius * d_i + d_h
            certified = path_metric(a, b, DEVICE).bound
            assert found.bound.value >= right * (1 - 1e-12)
            assert found.bound.value >= largest_difference(a, b, radius, rng, 6)
            assert found.bound <= certified.times(max(radius, 1.0))
            assert found.from_inputs.value >= d_i * (1 - 1e-12) and found.from_biases.value >= d_h * (
                1 - 1e-12
            )
            if found.path_metric.exact:
                exact += 1
                assert found.bound.value == pytest.approx(right, rel=1e-4, abs=1e-30)
                assert found.from_inputs.value == pytest.approx(d_i, rel=1e-4, abs=1e-30)
                assert found.from_biases.value == pytest.approx(d_h, rel=1e-4, abs=1e-30)
    assert exact >= 6 or kind not in ("monotone", "grown", "identical")


def test_the_upper_end_is_that_of_every_kind_of_path() -> None:
    """F_P + F_Q - 2 F_m over the paths from inputs, and over those from biases, for a pair that is not
    exact."""

    def network(first: float, last: float, b: float) -> Network:
        """Most weights stay, so that nothing is rescaled."""
        s = Sketch(x=(1, 3))
        hidden = s.relu(
            s.matmul("x", np.array([[first, -2.0], [3.0, 0.5], [1.0, first]]), np.array([b, 1.0]))
        )
        return s.network(s.matmul(hidden, np.array([[1.0], [last]]), np.array([b])))

    a, b = network(1.0, 1.0, 1.0), network(-2.0, 0.25, 3.0)
    m = paths.combine(a, b, lambda k, p, q: paths.shrunk(p, q))

    def sums(net: Network) -> np.ndarray:
        (one,) = paths.lift(net).values()
        return np.array([np.abs(one.p[one.start >= 0]).sum(), np.abs(one.p[one.start < 0]).sum()])

    right = sums(a) + sums(b) - 2 * sums(m)
    found = path_metric(a, b, Device("cpu", "float64", 1), 7.0)
    assert not found.path_metric.exact and not found.notes
    assert [found.from_inputs.value, found.from_biases.value] == pytest.approx(right, rel=1e-9)
    assert found.bound.value == pytest.approx(7 * right[0] + right[1], rel=1e-9)


def test_without_biases_it_is_a_multiple() -> None:
    s, t = Sketch(x=(1, 2)), Sketch(x=(1, 2))
    a, b = (
        k.network(k.matmul(k.relu(k.matmul("x", scale * np.eye(2))), np.ones((2, 1))))
        for k, scale in ((s, 1.0), (t, 3.0))
    )
    found = path_metric(a, b, DEVICE, 0.25)
    assert found.bound.value == pytest.approx(0.25 * 4, rel=1e-5) and found.from_biases.value == 0


@pytest.mark.parametrize("kind", ["retrained", "monotone", "other biases", "flipped"])
def test_appendix_e_at_a_radius(kind: str) -> None:
    """Above what the paths and the functions differ by, never above the formulas of the paper."""
    for seed in range(8):
        a = random_network(seed, FLAVOURS[seed % 3], 1000)
        rng = np.random.default_rng([seed, 5])
        b = perturb(a, kind, rng)
        d_i, d_h = enumerated(a, b)
        for radius in (RADII[seed % 5], RADII[(seed + 3) % 5]):
            found = bounds(a, b, radius)
            difference = largest_difference(a, b, radius, rng, 4)
            for name, paper in (
                ("Lemma E.1 at radius B", "Lemma E.1"),
                ("Theorem E.1 at radius B, by output", "Theorem E.1"),
            ):
                assert value(found[name]) >= (radius * d_i + d_h) * (1 - 1e-12), (seed, name)
                assert value(found[name]) >= difference, (seed, name)
                assert value(found[name]) <= value(found[paper]) * (1 + 1e-7) + 1e-300, (seed, name)
            assert value(found["Lemma E.1 at radius B"]) <= brute_lemma(a, b, radius) * (1 + 1e-7) + 1e-300


def test_a_radius_is_a_scale_in_front() -> None:
    """Lemma and theorem at radius B, at both levels, are those at 1 of the network that multiplies its inputs
    by B."""
    for seed in range(12):
        a = random_network(seed, "plain", 800)
        b = perturb(a, "retrained", np.random.default_rng(seed))
        radius = (0.125, 32.0)[seed % 2]
        pair, scaled = match(a, b), match(_scaled(a, radius), _scaled(b, radius))
        log2 = lipschitz.log2_up(radius)
        for one, other in (
            (theorem_e1(pair, log2)[1], theorem_e1(scaled)[1]),
            *zip(_fine(pair, log2), _fine(scaled, 0.0), strict=True),
        ):
            assert one.value == pytest.approx(other.value, rel=1e-6, abs=1e-9 * (1 + other.value))


def _fine(pairing, log2: float):
    pair = neuron_bounds.graph_pair(pairing, 10**6)
    yield neuron_bounds.summed(neuron_bounds.lemma_e1(pair, log2))
    theorem = neuron_bounds.theorem_e1(pair, log2)
    if theorem is not None:
        yield neuron_bounds.summed(theorem)


def _scaled(network: Network, factor: float) -> Network:
    """The network behind x -> factor x."""
    shape = network.shapes["x"]
    weight = Parameter("factor", np.full((1,) * len(shape), factor), fixed=True)
    front = Node("front", "Scale", ("x",), "front", {}, weight)
    nodes = [
        replace(node, inputs=tuple("front" if name == "x" else name for name in node.inputs))
        for node in network.nodes
    ]
    return replace(network, nodes=(front, *nodes), shapes={**network.shapes, "front": shape})


@pytest.mark.parametrize("number", [0.0, 1e-300, 0.3, 0.5, 1.0, 3.0, 1024.0, 1e300])
def test_logarithms_are_rounded_up(number: float) -> None:
    found = lipschitz.log2_up(number)
    assert found == -np.inf if not number else found >= np.log2(number) and found - np.log2(number) < 1e-11
