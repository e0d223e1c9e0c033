"""The explicit path-lifting against everything that computes the same without listing paths: the independent
enumeration and the float64 reference of the tests, and the package's own passes.
"""

from dataclasses import replace

import numpy as np
import pytest
from oracle import paths as brute
from oracle.networks import FLAVOURS, perturb, random_network, rescale
from oracle.sketch import Sketch
from reference import evaluate

import onnxpath
from onnxpath.analyses.metric.norm import evaluate as absolute_pass
from onnxpath.analyses.theory import lifting
from onnxpath.analyses.theory.neurons import INPUT, MAX, Graph, graph
from onnxpath.engine.session import Device
from onnxpath.errors import UsageError

FLOAT64 = Device("cpu", "float64")


def sample(network: onnxpath.model.network.Network, rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {name: rng.standard_normal(network.shapes[name]) for name in network.inputs}


def flat(parts: dict[str, np.ndarray]) -> np.ndarray:
    return np.concatenate([part.reshape(-1) for part in parts.values()])


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_paths_of_a_hundred_networks_per_flavour(flavour: str) -> None:
    """Φ, path by path as a multiset per output neuron and start, is that of the independent enumeration."""
    for seed in range(100):
        network = random_network(seed, flavour, 2000)
        found, first = lifting.lift(network), 0
        phi, start = found.coordinates(), found.start
        for name, expected in brute.lift(network).items():
            for v in range(network.size_of(name)):
                mine, theirs = found.output == first + v, expected.end == v
                ours = sorted(zip(start[mine], phi[mine], strict=True))
                other = sorted(zip(expected.start[theirs], expected.p[theirs], strict=True))
                assert len(ours) == len(other)
                np.testing.assert_allclose(ours, other, rtol=1e-13)
            first += network.size_of(name)


def test_realization_is_the_inner_product_of_lifting_and_activations() -> None:
    """R(x)_v = ⟨Φ^{→v}, A(θ, x) (x, 1)⟩ for every output and several inputs; rounding is relative to Σ |Φ_p
    x_{p_0}|."""
    for seed in range(120):
        network = random_network(seed, FLAVOURS[seed % 2], 2000)
        found, rng = lifting.lift(network), np.random.default_rng(seed)
        phi = found.coordinates()
        for _ in range(3):
            x = sample(network, rng)
            vector = np.append(flat(x), 1.0)
            matrix = found.matrix(x)
            assert set(np.unique(matrix)) <= {0, 1} and (matrix.sum(1) <= 1).all()
            np.testing.assert_array_equal(matrix.any(1), found.activations(x).astype(bool))
            size = np.bincount(
                found.output, np.abs(phi) * np.abs(vector)[found.start], minlength=found.graph.ends.size
            )
            expected = flat({name: evaluate(network, x)[name] for name in network.outputs})
            for value in (
                np.bincount(found.output, phi * (matrix @ vector), minlength=size.size),
                flat(found.realization(x)),
            ):
                assert (np.abs(value - expected) <= 1e-13 * (size + np.abs(expected))).all()


@pytest.mark.parametrize("q", [0.0, 0.5, 1.0, 3.0])
def test_absolute_pass_agrees(q: float) -> None:
    for seed in range(70):
        network = random_network(seed, FLAVOURS[seed % 3], 2000)
        found = lifting.lift(network)
        phi = found.coordinates()
        expected = found.by_output((phi != 0) * 1.0 if q == 0 else np.abs(phi) ** q)
        for name, reading in absolute_pass(network, q, FLOAT64).items():
            got = np.array(
                [entry.value if entry.value is not None else 0.0 for entry in reading.values.flatten()]
            )
            np.testing.assert_allclose(got, expected[name].reshape(-1), rtol=1e-12, atol=1e-290)


def test_metric_lies_in_its_interval() -> None:
    """‖Φ - Φ'‖₁ by listing the paths of either network lies between the ends that the passes certify."""
    for seed in range(70):
        a = random_network(seed, FLAVOURS[seed % 2], 1000)
        b = perturb(
            a, ["monotone", "retrained", "flipped", "one layer"][seed % 4], np.random.default_rng(seed)
        )
        g, other = graph(a), graph(b)
        found = lifting.enumerate_paths(
            g, edge=(g.weight != 0) | (other.weight != 0), bias=(g.bias != 0) | (other.bias != 0)
        )
        distance = np.abs(found.coordinates() - found.coordinates(other.weight, other.bias)).sum()
        measured = onnxpath.path_metric(a, b, precision="float64").path_metric
        assert measured.lower.value * (1 - 1e-9) <= distance <= measured.upper.value * (1 + 1e-9)
        if measured.exact:
            assert distance == pytest.approx(measured.upper.value, rel=1e-9)


def test_lifting_is_invariant_under_rescaling() -> None:
    """The vector Φ itself, coordinate by coordinate: exactly for powers of two, to rounding for other
    factors."""
    changed = 0
    for seed in range(80):
        network = random_network(seed, "plain", 1000)
        rng = np.random.default_rng(seed)
        for powers in (True, False):
            other = rescale(network, rng, powers, dtype=np.float64)
            left, right = lifting.lift(network), lifting.lift(other)
            np.testing.assert_array_equal(left.start, right.start)
            np.testing.assert_array_equal(left.output, right.output)
            a, b = left.coordinates(), right.coordinates()
            changed += any(
                not np.array_equal(x.weight, y.weight) for x, y in ((graph(network), graph(other)),)
            )
            np.testing.assert_array_equal(a, b) if powers else np.testing.assert_allclose(a, b, rtol=1e-13)
            x = sample(network, rng)
            if powers:  # and so are the activations
                np.testing.assert_array_equal(left.activations(x), right.activations(x))
    assert changed > 40


def test_ties_of_max_pooling_go_to_the_first_neuron() -> None:
    s = Sketch(x=(1, 1, 4))
    network = s.network(s.flatten(s.max_pool("x", (2,))))
    found = lifting.lift(network)
    for x, expected in (([3.0, 3.0, 1.0, 2.0], [0, 3]), ([-1.0, -1.0, -2.0, -2.0], [0, 2])):
        active = found.activations({"x": np.array(x).reshape(1, 1, 4)})
        assert [int(k) for k in found.start[active == 1]] == expected


def pool_graph(k: int, values: int) -> Graph:
    """One k-max-pool neuron over some inputs, with edge weights 1, 2, ..."""
    n = np.arange(values)
    return Graph(
        np.array([INPUT] * values + [MAX], np.int8), np.full(values + 1, k), np.zeros(values + 1), n,
        np.full(values, values),
        1.0 + n, {"x": n}, {"y": np.array([values])}, (("x", 0, (values,)), ("pool", values, (1,))),
        (values, values + 1),
    )  # fmt: skip


@pytest.mark.parametrize("k", [1, 2, 3])
def test_k_max_pooling_takes_the_kth_largest(k: int) -> None:
    """Definition A.5: w_uv u is the k-th largest, and the first neuron in order that has this value is the
    active one."""
    rng = np.random.default_rng(k)
    for _ in range(50):
        x = rng.integers(-2, 3, 4).astype(float)
        found = lifting.enumerate_paths(pool_graph(k, 4))
        terms = x * np.arange(1, 5)
        expected = sorted(terms, reverse=True)[k - 1]
        assert found.graph.values({"x": x})[-1] == expected
        (winner,) = np.flatnonzero(found.activations({"x": x}))
        assert winner == np.flatnonzero(terms == expected)[0]
        assert found.realization({"x": x})["y"] == expected


def test_theorem_c1_is_reached() -> None:
    """The equality case of Theorem C.1: parameters that vanish off one path, x along its first neuron."""
    for seed in range(20):
        network = random_network(seed, "plain", 2000)
        found, rng = lifting.lift(network), np.random.default_rng(seed)
        candidates = [k for k in range(found.rows.size) if found.start[k] >= 0]
        if not candidates:
            continue
        path = int(rng.choice(candidates))
        taken, row = [], int(found.rows[path])
        while found.parent[row] >= 0:
            taken.append(int(found.edge[row]))
            row = int(found.parent[row])
        g = found.graph
        maxima = g.kind[g.target] == MAX  # their edges are 1; antecedents off the path are 0
        sides = []
        for size in (1.5, 0.5):
            weight = np.where(maxima, 1.0, 0.0)
            weight[[e for e in taken if not maxima[e]]] = size
            sides.append(replace(g, weight=weight, bias=np.zeros(g.kind.size)))
        x = {name: np.where(g.starts[ids] == found.start[path], 2.0, 0.0) for name, ids in g.inputs.items()}
        ends = g.ends[g.ends >= 0]
        gap = np.abs(sides[0].values(x)[ends] - sides[1].values(x)[ends]).sum()
        distance = np.abs(
            np.subtract(
                *(
                    lifting.enumerate_paths(sides[0], edge=sides[0].weight != 0).coordinates(s.weight, s.bias)
                    for s in sides
                )
            )
        )
        start = lifting.enumerate_paths(sides[0]).start
        assert gap == pytest.approx(2.0 * distance[start == found.start[path]].sum(), rel=1e-12)
        assert gap > 0


def test_refusals_name_the_count() -> None:
    s = Sketch(x=(1, 10))
    x = "x"
    for _ in range(4):
        x = s.relu(s.matmul(x, np.ones((10, 10), np.float32)))
    network = s.network(x, path="wide.onnx")
    with pytest.raises(
        UsageError, match=r"wide\.onnx: there are 100,000 paths, more than the 5,000 that may be listed"
    ):
        lifting.lift(network, 5000)
    with pytest.raises(
        UsageError, match=r"wide\.onnx: the graph of neurons has more than 300 edges \(at node 'matmul_6'\)"
    ):
        lifting.lift(network, limit=300)


def test_mixed_norms_of_the_lifting() -> None:
    s = Sketch(x=(1, 2))
    network = s.network(s.matmul("x", np.array([[3.0, 1.0], [4.0, 0.0]], np.float32)))
    found = lifting.lift(network)
    assert lifting.norm(found, 2) == pytest.approx(26**0.5)
    assert lifting.norm(found, 2, 1) == pytest.approx(6.0)
    assert lifting.norm(found, 1, np.inf) == pytest.approx(7.0)
