"""Lipschitz bounds: above the true difference, above the path-metric, in the order the paper claims, and
reached where it is."""

from dataclasses import replace

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from oracle import paths
from oracle.networks import FLAVOURS, KINDS, perturb, random_network, rescale
from oracle.sketch import Sketch
from reference import evaluate, path_norm

import onnxpath
from onnxpath.analyses.theory import layered, lipschitz, neuron_bounds, operator_norms
from onnxpath.analyses.theory.normalized import papers_theorem_e1, theorem_e1, total
from onnxpath.engine.session import Device
from onnxpath.errors import UsageError
from onnxpath.model.matching import match
from onnxpath.model.network import Network, Site
from onnxpath.records import Compared

FLOAT64 = Device("cpu", "float64")
HOLDS_ALWAYS = [
    "Lemma E.1",
    "Theorem E.1",
    "product of ℓ∞ operator norms",
    "product of spectral operator norms",
]
LAYERED = ["Corollary F.1", "Equation (1)"]


def bounds(a: Network, b: Network, input_bound: float) -> dict[str, Compared]:
    return {item.name: item for item in lipschitz.all_bounds(match(a, b), input_bound, FLOAT64)}


def value(item: Compared) -> float:
    found = item.value.value if item.value is not None else None
    assert found is not None, item
    return found


def largest_difference(
    a: Network, b: Network, bound: float, rng: np.random.Generator, runs: int = 12
) -> float:
    """The largest difference found, less what the float64 reference may have rounded: a small part of the
    path-norms."""
    worst = 0.0
    for k in range(runs):
        x = {
            n: bound * (rng.choice([-1.0, 1.0], a.shapes[n]) if k % 2 else rng.uniform(-1, 1, a.shapes[n]))
            for n in a.inputs
        }
        left, right = evaluate(a, x), evaluate(b, x)
        worst = max(worst, sum(float(np.abs(left[n] - right[n]).sum()) for n in a.outputs))
    return worst - 1e-14 * max(bound, 1.0) * (path_norm(a) + path_norm(b))


@pytest.mark.parametrize("kind", KINDS)
def test_every_bound_is_above_the_difference_and_the_path_metric(kind: str) -> None:
    """For every kind of pair and both sides of B = 1. Theorem and lemma bound ‖Φ - Φ'‖₁ itself, whatever the
    signs."""
    for seed in range(24):
        a = random_network(seed, FLAVOURS[seed % 3], 1000)
        rng = np.random.default_rng([seed, 7])
        b = perturb(a, kind, rng)
        metric = sum(float(part.sum()) for part in paths.metric(a, b).values())
        for bound in (0.3, 4.0):
            found = bounds(a, b, bound)
            difference = largest_difference(a, b, bound, rng)
            for name in HOLDS_ALWAYS:
                assert value(found[name]) >= difference, (seed, name)
            for name in HOLDS_ALWAYS[:2]:
                assert value(found[name]) >= max(bound, 1) * metric * (1 - 1e-12), (seed, name)


def mlp(rng: np.random.Generator, widths: list[int], size: float = 1.0, biased: bool = False) -> Network:
    s = Sketch(x=(1, widths[0]))
    x = "x"
    for k, (n, m) in enumerate(zip(widths, widths[1:], strict=False)):
        x = s.matmul(x, size * rng.standard_normal((n, m)), rng.standard_normal(m) if biased else None)
        x = s.relu(x) if k + 2 < len(widths) else x
    return s.network(x)


@examples(10)
@given(
    st.lists(st.integers(1, 5), min_size=2, max_size=6),
    st.floats(0.01, 30),
    st.integers(0, 2**32),
    st.floats(1e-6, 2),
)
def test_layered_bounds_hold_and_order(widths: list[int], bound: float, seed: int, step: float) -> None:
    """Corollary F.1 and Equation (1) on layered networks: above the difference and the path-metric bound of
    Theorem 3.1.

    Their ratio is 2 max(B, 1) W / (L (W B + 1)): F.1 is the smaller one exactly when that is below 1.
    """
    rng = np.random.default_rng(seed)
    a = mlp(rng, widths)
    b = perturb(a, "retrained", rng)
    b = replace(a, nodes=tuple(
        replace(x,
        weight=replace(x.weight,
        base=x.weight.base + step * (y.weight.base - x.weight.base))) if x.weight else x
        for x, y in zip(a.nodes, b.nodes, strict=True)
    ))  # fmt: skip
    found = bounds(a, b, bound)
    difference = largest_difference(a, b, bound, rng, 6)
    upper = onnxpath.path_metric(a, b, input_bound=bound, precision="float64").bound.value
    for name in HOLDS_ALWAYS + LAYERED:
        assert value(found[name]) >= difference
    # each step of the paper's proofs only loosens: metric <= Lemma E.1 <= Corollary F.1
    assert upper <= value(found["Lemma E.1"]) * (1 + 1e-9)
    assert value(found["Lemma E.1"]) <= value(found["Corollary F.1"]) * (1 + 1e-7)
    depth, width = len(widths) - 1, max(widths)
    if value(found["Equation (1)"]) > 0:
        ratio = 2 * max(bound, 1) * width / (depth * (width * bound + 1))
        assert value(found["Corollary F.1"]) / value(found["Equation (1)"]) == pytest.approx(ratio, rel=1e-7)


def test_the_order_of_the_appendix_has_exceptions() -> None:
    rng = np.random.default_rng(0)
    for widths, bound, smaller in (
        ([4, 4, 4, 4, 4], 1.0, "Corollary F.1"),
        ([4, 4, 4], 0.1, "Equation (1)"),
        ([4, 4], 1.0, "Equation (1)"),
    ):
        a = mlp(rng, widths)
        found = bounds(a, perturb(a, "retrained", rng), bound)
        assert min(LAYERED, key=lambda name: value(found[name])) == smaller


def test_why_layered_bounds_do_not_apply() -> None:
    s = Sketch(x=(1, 2))
    w = np.eye(2)
    cases = {
        "without biases; node 'one' has one": s.network(s.matmul("x", w, np.ones(2), name="one")),
        "has branches": (b := Sketch(x=(1, 2))).network(b.add(b.matmul("x", w), "x")),
        "'conv' is Conv": (c := Sketch(x=(1, 1, 3))).network(c.conv("x", np.ones((1, 1, 2)), name="conv")),
        "'two' follows another": (t := Sketch(x=(1, 2))).network(t.matmul(t.matmul("x", w), w, name="two")),
        "last layer is linear": (r := Sketch(x=(1, 2))).network(r.relu(r.matmul("x", w))),
    }
    for reason, network in cases.items():
        for item in lipschitz.all_bounds(match(network, network), 1.0):
            if item.name in LAYERED:
                assert item.value is None and reason in item.condition
    zero = Sketch(x=(1, 2))
    network = zero.network(zero.matmul("x", w, np.zeros(2)))
    assert isinstance(layered.layered(match(network, network)), layered.Layered)


def normalized_by_hand(network: Network) -> list[tuple[np.ndarray, np.ndarray]]:
    """Algorithm 1 on a layered network: the normalized (weight, bias) of every layer."""
    size, layers = np.ones(network.shapes["x"][1]), []
    weighted = [node for node in network.nodes if node.weight is not None]
    for k, node in enumerate(weighted):
        weight = node.weight.array().astype(float) * size[:, None]
        bias = np.zeros(weight.shape[1]) if node.bias is None else node.bias.array().astype(float)
        if k + 1 < len(weighted):
            size = np.abs(weight).sum(0) + np.abs(bias)
            divisor = np.where(size > 0, size, 1)
            weight, bias = weight / divisor, bias / divisor
        layers.append((weight, bias))
    return layers


@pytest.mark.parametrize("biased", [False, True])
def test_theorem_e1_is_the_formula_of_the_paper(biased: bool) -> None:
    """On layered networks, where the largest path is the sum of the largest rows: Σ_out + min ‖Φ‖₁ max_p
    Σ_hidden from above.

    The channel and the neuron level agree there; both keep ‖θ^{→v}‖₁ of every output, whose sum is ‖Φ‖₁
    without output biases.
    """
    for seed in range(40):
        rng = np.random.default_rng(seed)
        a = mlp(rng, [3, 4, 3, 2], biased=biased)
        b = perturb(a, "retrained", rng)
        p, q = normalized_by_hand(a), normalized_by_hand(b)
        rows = [np.abs(w - v).sum(0) + np.abs(c - d) for (w, c), (v, d) in zip(p, q, strict=True)]
        norms = [np.abs(layers[-1][0]).sum() + np.abs(layers[-1][1]).sum() for layers in (p, q)]
        paper = rows[-1].sum() + min(norms) * sum(row.max() for row in rows[:-1])
        each = rows[-1].sum() + np.minimum(*(np.abs(layers[-1][0]).sum(0) for layers in (p, q))).sum() * sum(
            row.max() for row in rows[:-1]
        )
        pairing = match(a, b)
        coarse = theorem_e1(pairing)[1].value
        fine = neuron_bounds.summed(neuron_bounds.theorem_e1(neuron_bounds.graph_pair(pairing, 10**6))).value
        printed = (
            papers_theorem_e1(pairing).value,
            neuron_bounds.papers_theorem_e1(neuron_bounds.graph_pair(pairing, 10**6)).value,
        )
        for found in printed:
            assert found == pytest.approx(paper, rel=1e-7, abs=1e-11 * max(norms))
        for found in (coarse, fine):  # factors are rounded up, by 1e-9 a layer and to a grid of 2^-40
            assert found == pytest.approx(each, rel=1e-7, abs=1e-11 * max(norms))
        assert each <= paper * (1 + 1e-12)


def test_theorem_e1_is_reached() -> None:
    """y = c relu(a·x): one hidden neuron whose normalized rows differ; and pairs that differ in the last
    layer only."""
    s = Sketch(x=(1, 2))
    a = s.network(s.matmul(s.relu(s.matmul("x", np.array([[7.0], [3.0]]))), np.array([[5.0]])))
    t = Sketch(x=(1, 2))
    b = t.network(t.matmul(t.relu(t.matmul("x", np.array([[0.3], [0.7]]))), np.array([[50.0]])))
    metric = sum(float(part.sum()) for part in paths.metric(a, b).values())
    assert metric == pytest.approx(40.0)
    assert value(bounds(a, b, 1.0)["Theorem E.1"]) == pytest.approx(metric, rel=1e-7)
    for seed in range(10):
        rng = np.random.default_rng(seed)
        a = mlp(rng, [3, 5, 4, 2], biased=True)
        last = a.nodes[-1]
        moved = replace(
            last, weight=replace(last.weight, base=last.weight.base + rng.standard_normal(last.weight.shape))
        )
        b = replace(a, nodes=(*a.nodes[:-1], moved))
        metric = sum(float(part.sum()) for part in paths.metric(a, b).values())
        assert value(bounds(a, b, 1.0)["Theorem E.1"]) == pytest.approx(metric, rel=1e-7)


def test_lemma_e1_is_reached_on_a_single_path() -> None:
    """One path with weights p >= q >= 0: the lemma telescopes Π p - Π q."""
    s, t = Sketch(x=(1, 1)), Sketch(x=(1, 1))
    p, q = np.array([2.0, 3.0, 1.5]), np.array([1.0, 2.5, 0.5])
    nets = []
    for sketch, weights in ((s, p), (t, q)):
        x = "x"
        for w in weights:
            x = sketch.relu(sketch.matmul(x, np.array([[w]])))
        nets.append(sketch.network(x))
    assert value(bounds(*nets, 1.0)["Lemma E.1"]) == pytest.approx(p.prod() - q.prod(), rel=1e-7)


def test_neuron_level_lemma_is_the_brute_force_one_and_channel_level_above_it() -> None:
    """The (max,+) recursion evaluated on dense matrices; views cost nothing, so that edges of weight 1 may be
    merged."""
    for seed in range(60):
        a = random_network(seed, "plain", 1500)
        b = perturb(a, "retrained", np.random.default_rng(seed))
        pairing = match(a, b)
        fine = neuron_bounds.summed(neuron_bounds.lemma_e1(neuron_bounds.graph_pair(pairing, 10**6))).value
        assert fine == pytest.approx(brute_lemma(a, b), rel=1e-7)
        assert fine <= total(a, lipschitz.lemma_e1(pairing)).value * (1 + 1e-7)


def brute_lemma(a: Network, b: Network, radius: float = 1.0) -> float:
    state = {
        name: (np.full(a.size_of(name), radius), np.full(a.size_of(name), radius), np.zeros(a.size_of(name)))
        for name in a.inputs
    }
    for item, node in zip(paths.edges(a, b), a.nodes, strict=True):
        shared = [brute_antecedents(a, node, k) for k in range(len(node.inputs))]
        fp, fq = np.abs(item.bias_p), np.abs(item.bias_q)
        row_p, row_q, moved = 0.0, 0.0, 0.0
        top = np.zeros((3, a.size_of(node.output)))
        for name, p, q, present in zip(item.inputs, item.p, item.q, shared, strict=True):
            fp, fq = fp + np.abs(p) @ state[name][0], fq + np.abs(q) @ state[name][1]
            row_p, row_q, moved = (
                row_p + np.abs(p).sum(1),
                row_q + np.abs(q).sum(1),
                moved + np.abs(p - q).sum(1),
            )
            for k in range(3):
                top[k] = np.maximum(top[k], np.where(present, state[name][k], 0.0).max(1))
        gap = np.abs(item.bias_p - item.bias_q)
        state[node.output] = (
            fp,
            fq,
            np.minimum(gap + moved * top[1] + row_p * top[2], gap + moved * top[0] + row_q * top[2]),
        )
    return float(sum(state[name][2].sum() for name in a.outputs))


def brute_antecedents(network: Network, node: onnxpath.model.network.Node, operand: int) -> np.ndarray:
    """Which inputs are antecedents of which outputs: the edges of the same node with weights 1."""
    ones = None if node.weight is None else replace(node.weight, base=np.ones(node.weight.shape), scale=None)
    single = replace(node, weight=ones, bias=None)
    (item,) = paths.edges(replace(network, nodes=(single,), outputs=(node.output,)))
    return item.p[operand] != 0


def test_biases_that_vary_over_positions() -> None:
    """Tokens share weights but not biases: one factor must do for all of them."""
    for seed in range(60):
        rng = np.random.default_rng(seed)
        s = Sketch(x=(1, 3, 4))
        x = "x"
        for k in range(3):
            wide = 10.0 ** rng.uniform(-2, 2, (3, 1)) * rng.standard_normal((3, 4))
            x = s.matmul(x, rng.standard_normal((4, 4)), wide, side="right")
            if k == 1:
                x = s.matmul(x, rng.standard_normal((3, 3)), rng.standard_normal((3, 4)), side="left")
            x = s.scale(s.relu(x), rng.standard_normal((1, 3, 1)), rng.standard_normal((1, 3, 4)))
        a = s.network(s.reduce("ReduceSum", x, (1,)))
        b = perturb(a, ["retrained", "monotone", "one layer"][seed % 3], rng)
        metric = sum(float(part.sum()) for part in paths.metric(a, b).values())
        pairing = match(a, b)
        assert theorem_e1(pairing)[1].value >= metric * (1 - 1e-12)
        assert total(a, lipschitz.lemma_e1(pairing)).value >= metric * (1 - 1e-12)


def test_a_large_bias_at_another_position_hides_nothing() -> None:
    """relu(± x_0) beside relu(x_1 + 1000), which is not read: the path's sign flips, and that is 2 apart."""
    nets = []
    for sign in (1.0, -1.0):
        s = Sketch(x=(1, 2, 1))
        hidden = s.relu(s.matmul("x", np.array([[sign]]), np.array([[0.0], [1000.0]])))
        nets.append(s.network(s.matmul(hidden, np.array([[1.0, 0.0]]), side="left")))
    for name in HOLDS_ALWAYS[:2]:
        assert value(bounds(*nets, 1.0)[name]) >= 2.0
    assert theorem_e1(match(*nets))[1].value >= 2.0


def test_invariance_and_its_absence() -> None:
    """Theorem E.1 does not see rescalings; Lemma E.1 and operator norms do."""
    moved = 0
    for seed in range(30):
        a = random_network(seed, "plain", 1500)
        rng = np.random.default_rng(seed)
        b = perturb(a, "retrained", rng)
        c = rescale(b, rng, True, dtype=np.float64)
        before, after = bounds(a, b, 1.0), bounds(a, c, 1.0)
        norm = sum(float(part.sum()) for part in paths.norm(a, 1).values())
        assert value(after["Theorem E.1"]) == pytest.approx(
            value(before["Theorem E.1"]), rel=1e-7, abs=1e-10 * norm
        )
        moved += value(after["Lemma E.1"]) > 1.01 * value(before["Lemma E.1"])
    assert moved > 5


def test_equal_networks_have_distance_zero() -> None:
    for seed in range(30):
        a = random_network(seed, FLAVOURS[seed % 3], 1500)
        for item in lipschitz.all_bounds(match(a, replace(a, path="again")), 1.0, FLOAT64):
            assert item.value is None or item.value.mantissa == 0, item


def dense(network: Network) -> np.ndarray:
    """The matrix of a network of one linear node."""
    (item,) = paths.edges(network)
    return item.p[0]


@examples(13)
@given(st.data())
def test_operator_norms_are_upper_bounds(data: st.DataObject) -> None:
    """Convolutions with strides, dilations, pads and groups, plain and transposed, against their dense
    matrices."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    draw = lambda low, high: data.draw(st.integers(low, high))  # noqa: E731
    s = Sketch(x=(1, 4, draw(4, 6), draw(4, 6)))
    kernel, group = (draw(1, 3), draw(1, 3)), data.draw(st.sampled_from([1, 2]))
    options = {
        "strides": (draw(1, 3), draw(1, 3)),
        "dilations": (draw(1, 2), 1),
        "pads": (draw(0, 1), 0, draw(0, 1), 1),
        "group": group,
    }
    transposed = data.draw(st.booleans())
    if transposed:
        y = s.conv_transpose("x", rng.standard_normal((4, 2, *kernel)), **(options | {"pads": (0, 0, 0, 0)}))
    else:
        if (
            s.shapes["x"][2] + options["pads"][0] + options["pads"][2]
            < options["dilations"][0] * (kernel[0] - 1) + 1
        ):
            return
        y = s.conv("x", rng.standard_normal((6, 4 // group, *kernel)), **options)
    network = s.network(y)
    matrix, site = dense(network), Site.of(network, network.nodes[0])
    spectral = 2.0 ** operator_norms._matrix_norm(
        site, operator_norms.Difference(network.nodes[0].weight), "spectral"
    )
    rows = 2.0 ** operator_norms._matrix_norm(site, operator_norms.Difference(network.nodes[0].weight), "inf")
    assert np.linalg.norm(matrix, 2) <= spectral
    assert np.abs(matrix).sum(1).max() <= rows
    assert spectral <= np.sqrt(np.prod(kernel)) * np.linalg.norm(matrix, "fro")


def test_spectral_norm_of_a_matrix_is_sharp() -> None:
    rng = np.random.default_rng(0)
    for shape in ((5, 9), (9, 5), (1, 4), (60, 60)):
        matrix = rng.standard_normal(shape) * 10.0 ** rng.uniform(-30, 30)
        found, true = 2.0 ** operator_norms.spectral(matrix), np.linalg.norm(matrix, 2)
        assert true <= found <= true * (1 + 1e-3)  # float32 products, with their rounding added


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_input_lipschitz_constant(flavour: str) -> None:
    """Σ_v |R(x)_v - R(y)_v| <= ‖Φ‖₁ ‖x - y‖_∞ over paths from inputs, reached by linear networks of one
    sign."""
    for seed in range(30):
        network = random_network(seed, flavour, 2000)
        found = lipschitz.input_lipschitz(network, FLOAT64)
        rng = np.random.default_rng(seed)
        for _ in range(6):
            x = {n: rng.standard_normal(network.shapes[n]) for n in network.inputs}
            y = {n: x[n] + 10.0 ** rng.uniform(-2, 1) * rng.uniform(-1, 1, x[n].shape) for n in x}
            left, right = evaluate(network, x), evaluate(network, y)
            step = max(float(np.abs(x[n] - y[n]).max()) for n in x)
            change = np.concatenate([np.abs(left[n] - right[n]).reshape(-1) for n in network.outputs])
            size = sum(float(np.abs(part[n]).sum()) for part in (left, right) for n in network.outputs)
            assert change.sum() <= found.summed.value * step + 1e-12 * size
            assert change.max() <= found.largest.value * step + 1e-12 * size
    s = Sketch(x=(1, 3))
    network = s.network(s.matmul("x", np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), np.array([100.0, 0.0])))
    found = lipschitz.input_lipschitz(network, FLOAT64)
    assert found.summed.value == pytest.approx(21.0) and found.largest.value == pytest.approx(12.0)


@pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf")])
def test_input_bounds_are_checked(bad: float) -> None:
    a = random_network(0)
    with pytest.raises(UsageError, match="input bound"):
        lipschitz.all_bounds(match(a, a), bad)


def test_very_deep_networks_do_not_overflow() -> None:
    """200 layers that multiply by 1e4: every bound is beyond float64 and finite in log10."""
    rng = np.random.default_rng(0)
    a = mlp(rng, [3] * 201, 1e4)
    found = bounds(a, perturb(a, "retrained", rng), 1.0)
    for item in found.values():
        assert item.value.log10 > 700 and np.isfinite(item.value.log10)
