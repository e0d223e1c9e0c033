"""Every canonical operator through every pass over paths, against a list of all paths in float64
(tests/oracle/paths.py).

Absolute pass and its certificate, Φ-costs, the difference in paper mode, one-sided and ℓ2, sampled paths, the
lifting, Lemma E.1 and Theorem E.1 of channels and of neurons, operator norms, rescaling. Operators and cases
are found in the registry: one that is added without a case fails. Bounds on functions are in
test_every_operator_bounds.py.
"""

from dataclasses import replace

import numpy as np
import pytest
import reference
from ops.cases import ALL, CASES, EXTENSIONS
from oracle import paths

import onnxpath
from onnxpath.analyses.bound.compare import compare
from onnxpath.analyses.bound.difference_bounds import bounds
from onnxpath.analyses.metric.metric import path_metric
from onnxpath.analyses.metric.norm import evaluate
from onnxpath.analyses.prune.costs import measure
from onnxpath.analyses.theory import lifting, lipschitz, neuron_bounds, operator_norms
from onnxpath.analyses.theory.normalized import theorem_e1
from onnxpath.engine.session import Device
from onnxpath.model.domain import Domain
from onnxpath.model.matching import Pairing, match
from onnxpath.model.network import Network
from onnxpath.ops import OPERATORS
from onnxpath.ops.operator import REQUIRED
from onnxpath.rewrites.rescaling.groups import groups, learned, rescaled
from passes.every_operator import Case, case, enumerated, outputs

FLOAT32, FLOAT64 = (Device("cpu", precision, 1) for precision in ("float32", "float64"))
MODEL = [(op, label) for op, label in ALL if op not in EXTENSIONS]
SITES = pytest.mark.parametrize(("op", "label"), MODEL, ids=[f"{op}-{label}" for op, label in MODEL])
# Neurons are listed one by one in networks as files hold them: condensed ones are for absolute passes.
NEURONS = pytest.mark.parametrize(
    ("op", "label"),
    [x for x in MODEL if x[0] != "Unfold"],
    ids=[f"{op}-{label}" for op, label in MODEL if op != "Unfold"],
)
# What is made of other passes that are tested case by case: two cases of every operator.
FEW = pytest.mark.parametrize(
    ("op", "label"),
    [
        x
        for op in CASES
        if op not in (*EXTENSIONS, "Unfold")
        for x in dict.fromkeys([(op, next(iter(CASES[op]))), (op, list(CASES[op])[-1])])
    ],
)
# Of float32 passes, whose certificates are far wider.
CLOSE = 3e-6


def test_every_operator_has_a_case_of_every_kind() -> None:
    assert {op for op, _ in ALL} == set(OPERATORS), "an operator without a case in tests/ops/cases.py"
    assert {operator.kind for operator in OPERATORS.values()} == set(REQUIRED)
    assert {op for op, _ in ALL if not all(site.batched for site in CASES[op].values())} >= {
        "MatMul",
        "Scale",
        "PRelu",
        "Reshape",
        "Gather",
    }


def per_output(found: paths.Paths, values: np.ndarray) -> np.ndarray:
    return np.bincount(found.end, values, minlength=3)


@SITES
def test_norm_and_its_certificate(op: str, label: str) -> None:
    found = enumerated(op, label, "any")
    for q in (1.0,) if op == "Unfold" else (0.0, 1.0, 2.0):  # whose matrix is no weight, and has no powers
        right = per_output(found, (found.p != 0) * 1.0 if q == 0 else np.abs(found.p) ** q)
        (reading,) = evaluate(case(op, label).a, q, FLOAT32).values()
        value = reading.values.floats().reshape(-1)
        np.testing.assert_allclose(value, right, rtol=CLOSE)
        assert (np.abs(value - right) <= reading.rho * value + reading.lost.value).all()


@SITES
def test_costs(op: str, label: str) -> None:
    """Of every weight and bias, and of every channel, to their certified error."""
    network = case(op, label).a
    found, right = measure(network, FLOAT32), reference.costs(network)
    assert set(found.costs) == {key for key in right if key[1] != "value"}
    for key, cost in found.costs.items():
        value = np.ldexp(cost.astype(np.float64), found.exponent)
        np.testing.assert_allclose(value, right[key], rtol=1e-5, atol=1e-30)
        assert (np.abs(value - right[key]) <= found.error * right[key] + 1e-30).all()
    for layer in found.layers:
        node = next(node for node in network.nodes if node.name == layer.name)
        total = layer.neurons.sum(dtype=np.float64) * 2.0**found.exponent
        assert total == pytest.approx(right[node.output, "value"].sum(), rel=1e-5)


@SITES
@pytest.mark.parametrize("kind", ["smaller", "any"])
def test_path_metric(op: str, label: str, kind: str) -> None:
    """Exact for a monotone pair, else between its ends; ℓ2 exactly for any pair."""
    one, every = case(op, label), enumerated(op, label, kind)
    apart = np.abs(every.p - every.q)
    found = path_metric(one.a, one.twins[kind], FLOAT32, l2=kind == "any" and op != "Unfold")
    size = max(np.abs(every.p).sum(), np.abs(every.q).sum())
    assert found.path_metric.exact == (kind == "smaller")
    if found.path_metric.exact:
        assert found.path_metric.upper.value == pytest.approx(apart.sum(), rel=CLOSE)
    assert (
        found.path_metric.lower.value * (1 - CLOSE)
        <= apart.sum()
        <= found.path_metric.upper.value * (1 + CLOSE)
    )
    assert found.path_metric.upper.value <= 2 * size * (1 + CLOSE)
    if found.l2 is not None:
        assert found.l2.value.value == pytest.approx(np.linalg.norm(apart), rel=1e-4)
        assert (
            abs(found.l2.value.value - np.linalg.norm(apart))
            <= found.l2.relative_error * found.l2.value.value
        )


@NEURONS
def test_lifting_lists_the_same_paths(op: str, label: str) -> None:
    found, every = lifting.lift(case(op, label).a), enumerated(op, label, "any")
    phi = found.coordinates()
    every = replace(
        every, end=every.end[every.p != 0], start=every.start[every.p != 0], p=every.p[every.p != 0]
    )
    assert phi.size == every.p.size
    mine, theirs = (
        np.lexsort(keys) for keys in ((phi, found.start, found.output), (every.p, every.start, every.end))
    )
    assert np.array_equal(found.output[mine], every.end[theirs])
    assert np.array_equal(found.start[mine], every.start[theirs])
    np.testing.assert_allclose(phi[mine], every.p[theirs], rtol=1e-12)


@FEW
def test_sampled_paths(op: str, label: str) -> None:
    """The estimate's interval holds the path-metric (at 99 % confidence, with seeds that are fixed)."""
    one, every = case(op, label), enumerated(op, label, "any")
    found = path_metric(one.a, one.twins["any"], FLOAT64, samples=2000).estimate
    assert found.lower.value * (1 - 1e-9) <= np.abs(every.p - every.q).sum() <= found.upper.value * (1 + 1e-9)


def farthest(one: Case, kind: str, radius: float = 1.0, count: int = 60) -> np.ndarray:
    """|f_A - f_B| at samples of ‖x‖_∞ <= radius: [samples, outputs]."""
    ends = [{name: np.full(one.a.shapes[name], side * radius) for name in one.a.inputs} for side in (-1, 1)]
    points = one.points(*ends, count)
    return np.abs(outputs(one.a, points) - outputs(one.twins[kind], points))


@NEURONS
def test_bounds_of_theory(op: str, label: str) -> None:
    """Lemma E.1 and Theorem E.1, of channels and of neurons, bound the path-metric; products of operator
    norms the outputs."""
    kind = "any"
    one, every = case(op, label), enumerated(op, label, kind)
    pairing = match(one.a, one.twins[kind])
    apart = per_output(every, np.abs(every.p - every.q))
    (lemma,) = lipschitz.lemma_e1(pairing).values()
    assert (np.exp2(np.broadcast_to(lemma, (1, 3))).reshape(-1) >= apart * (1 - 1e-12)).all()
    theorem, total = theorem_e1(pairing)
    assert (np.exp2(np.broadcast_to(theorem["y"], (1, 3))).reshape(-1) >= apart * (1 - 1e-12)).all()
    assert total.value >= apart.sum() * (1 - 1e-12)
    pair = neuron_bounds.graph_pair(pairing, 500_000)
    assert neuron_bounds.summed(neuron_bounds.lemma_e1(pair)).value >= apart.sum() * (1 - 1e-12)
    fine = neuron_bounds.theorem_e1(pair)
    assert fine is None or neuron_bounds.summed(fine).value >= apart.sum() * (1 - 1e-12)
    for radius in (0.1, 1.0):
        seen = farthest(one, kind, radius, 40).sum(1).max()
        for norm in ("inf", "spectral"):
            assert lipschitz.operator_norm_product(pairing, radius, norm).value >= seen * (1 - 1e-12)
            assert _tensors_stay_within(one.a, pairing, radius, norm)


def _tensors_stay_within(
    network: Network, pairing: Pairing, radius: float, kind: operator_norms.Kind
) -> bool:
    """The norms of every tensor of both networks at samples, and of the difference, are at most what the pass
    says."""
    inputs = {name: operator_norms.of_input(network.size_of(name), radius, kind) for name in network.inputs}
    state = operator_norms.norms(network, pairing.twin, inputs, kind)
    rng, order = np.random.default_rng(1), np.inf if kind == "inf" else 2
    for _ in range(4):
        point = {name: radius * rng.choice([-1.0, 1.0], network.shapes[name]) for name in network.inputs}
        a, b = reference.evaluate(network, point), reference.evaluate(pairing.b, point)
        for name, known in state.items():
            for array, limit in ((a[name], known.p), (b[name], known.q), (a[name] - b[name], known.d)):
                if np.linalg.norm(array.reshape(-1), order) > 2.0**limit * (1 + 1e-12) + 1e-12:
                    return False
    return True


@FEW
def test_everything_that_compare_lists(op: str, label: str) -> None:
    """Every known bound for one pair and domain is above what samples show; those of the path-metric are
    above it."""
    one, every = case(op, label), enumerated(op, label, "signs")
    pairing = match(one.a, one.twins["signs"])
    region = Domain.radius(1.0).resolve(pairing.a)
    rows = {
        row.name: row.value for row in compare(pairing, region, bounds(pairing, region, FLOAT32), FLOAT32)
    }
    known = {name: value.value for name, value in rows.items() if value is not None}
    assert {
        "sharp difference pass",
        "triangle through the minimum",
        "paper difference pass",
        "max minus min",
        "Theorem 3.1",
    } <= set(known)
    seen, apart = farthest(one, "signs").sum(1).max(), np.abs(every.p - every.q).sum()
    for name, value in known.items():
        assert value >= seen, name
    for name in ("triangle through the minimum", "paper difference pass", "max minus min", "Theorem 3.1"):
        assert known[name] >= apart * (1 - 1e-12), name


@pytest.mark.parametrize(("op", "label"), [x for x in ALL if x[0] != "Unfold"])
def test_rescaling_changes_neither_function_nor_paths(op: str, label: str) -> None:
    """Every group that may be rescaled, by powers of two: the same outputs, exactly, and the same Φ."""
    network = case(op, label).a
    found = groups(network)
    log2 = np.random.default_rng(2).integers(-3, 4, found.count).astype(float)
    log2[0] = 0.0
    parts = {
        node.output: rescaled(network, node, node.weight, node.bias, found, log2) for node in learned(network)
    }
    nodes = tuple(
        (
            replace(node, weight=parts[node.output][0], bias=parts[node.output][1])
            if node.output in parts
            else node
        )
        for node in network.nodes
    )
    other = replace(network, nodes=nodes)
    rng = np.random.default_rng(3)
    for _ in range(3):
        x = {name: rng.standard_normal(network.shapes[name]) for name in network.inputs}
        np.testing.assert_allclose(
            reference.evaluate(other, x)["y"], reference.evaluate(network, x)["y"], rtol=1e-12, atol=1e-13
        )
    if op not in EXTENSIONS:
        np.testing.assert_allclose(paths.lift(other)["y"].p, paths.lift(network)["y"].p, rtol=1e-12)


def test_a_small_model_says_so() -> None:
    """The cases above are as small as they seem: nothing here asserts on empty lists."""
    assert len(MODEL) > 100
    assert all(onnxpath.path_norm(case(op, label).a).norms[0].value.value > 0 for op, label in MODEL[::20])
