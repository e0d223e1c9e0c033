"""The path-metric against the enumeration of all paths: exact where it says so, inside the interval
elsewhere."""

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from oracle import paths
from oracle.networks import KINDS, perturb, random_network, rescale
from oracle.sketch import Sketch
from reference import evaluate_absolute, ones

from onnxpath.analyses.metric.metric import path_metric
from onnxpath.engine.session import Device
from onnxpath.model.network import Network
from onnxpath.records import PathMetric

DEVICES = {precision: Device("cpu", precision, 1) for precision in ("float32", "float64")}
PRECISIONS = pytest.mark.parametrize("precision", list(DEVICES))
SEEDS = st.integers(0, 2**32 - 1)
# float64 products of at most 20 factors, summed by the oracle
NOISE = 1e-13


def pair(seed: int, kind: str, flavour: str = "plain") -> tuple[Network, Network]:
    a = random_network(seed, flavour, limit=10_000)
    return a, perturb(a, kind, np.random.default_rng(seed))


def norm_of(network: Network) -> float:
    values = evaluate_absolute(network, ones(network), 1)
    return float(sum(values[name].sum() for name in network.outputs))


def contained(a: Network, b: Network, found: PathMetric) -> None:
    """The true metric lies where the result says, per output and in total."""
    right = paths.metric(a, b)
    slack = NOISE * (norm_of(a) + norm_of(b))
    total = sum(float(x.sum()) for x in right.values())
    interval = found.path_metric
    lower, upper = interval.lower.value, interval.upper.value
    assert lower <= upper
    if interval.exact:
        assert lower == upper
        assert abs(total - upper) <= interval.relative_error * upper + slack
        assert abs(total - upper) <= 1e-5 * total + slack
    assert (
        lower * (1 - interval.relative_error) - slack
        <= total
        <= upper * (1 + interval.relative_error) + slack
    )
    for name, output in zip(a.outputs, found.outputs, strict=True):
        true = float(right[name].sum())
        error = interval.relative_error
        # relative_error is certified for the total: an output's own error is allowed the rounding of a
        #     float32 pass
        assert output.lower.value * (1 - max(error, 1e-5 * interval.exact)) - slack <= true
        assert true <= output.upper.value * (1 + max(error, 1e-5 * interval.exact)) + slack
    assert found.a.path_norm.value == pytest.approx(norm_of(a), rel=1e-5)
    assert found.b.path_norm.value == pytest.approx(norm_of(b), rel=1e-5)
    assert found.relative == pytest.approx(upper / max(norm_of(a), norm_of(b)) if upper else 0.0, rel=1e-4)


@PRECISIONS
@pytest.mark.parametrize("kind", KINDS)
@examples(7)
@given(seed=SEEDS, flavour=st.sampled_from(("plain", "sparse")))
def test_result_contains_the_enumerated_metric(kind: str, precision: str, seed: int, flavour: str) -> None:
    a, b = pair(seed, kind, flavour)
    found = path_metric(a, b, DEVICES[precision])
    contained(a, b, found)
    if kind in ("identical", "monotone", "grown", "one layer"):
        assert found.path_metric.exact, "a pair of this kind has an exact metric"
    if kind == "identical":
        assert found.path_metric.upper.value == 0


@PRECISIONS
@pytest.mark.parametrize("kind", ["monotone", "retrained", "one layer", "other biases", "flipped"])
@examples(4)
@given(seed=SEEDS)
def test_channels_of_any_size(kind: str, precision: str, seed: int) -> None:
    """Output channels that differ by 10**±12 in every layer."""
    a, b = pair(seed, kind, "extreme")
    contained(a, b, path_metric(a, b, DEVICES[precision]))


@examples(10)
@given(seed=SEEDS, kind=st.sampled_from(KINDS))
def test_symmetric(seed: int, kind: str) -> None:
    a, b = pair(seed, kind)
    there, back = (path_metric(x, y, DEVICES["float64"]) for x, y in ((a, b), (b, a)))
    size = max(norm_of(a), norm_of(b))
    if there.notes or back.notes:  # rescalings differ, hence the intervals: they contain one number
        assert (
            max(x.path_metric.lower.value for x in (there, back))
            <= min(x.path_metric.upper.value for x in (there, back)) + NOISE * size
        )
        return
    for end in ("lower", "upper"):
        x, y = (getattr(found.path_metric, end).value for found in (there, back))
        assert x == pytest.approx(y, rel=1e-9, abs=1e-11 * size)
    assert there.path_metric.exact == back.path_metric.exact


@PRECISIONS
@examples(9)
@given(seed=SEEDS)
def test_nothing_lies_between_a_network_and_itself(precision: str, seed: int) -> None:
    a = random_network(seed, "sparse")
    found = path_metric(a, a, DEVICES[precision])
    assert found.path_metric.exact
    assert (
        found.path_metric.lower.value,
        found.path_metric.upper.value,
        found.relative,
        found.bound.value,
    ) == (0, 0, 0, 0)
    assert all(layer.share == 0 and layer.metric.value == 0 for layer in found.layers)


@PRECISIONS
@pytest.mark.parametrize(("powers", "size"), [(True, 6.0), (True, 30.0), (False, 6.0), (False, 40.0)])
@examples(4)
@given(seed=SEEDS)
def test_rescaled_copies_are_recognised(powers: bool, size: float, precision: str, seed: int) -> None:
    """Factors up to 2**±size (10**±12 for 40): nothing but the rounding of the stored weights is left."""
    a = random_network(seed, "plain")
    b = rescale(a, np.random.default_rng(seed), powers=powers, size=size)
    found = path_metric(a, b, DEVICES[precision])
    contained(a, b, found)
    assert found.relative < 1e-5
    if powers:
        assert found.path_metric.exact and found.path_metric.upper.value == 0


def _mlp(seed: int, *widths: int) -> Network:
    rng = np.random.default_rng(seed)
    s, x = Sketch(x=(1, widths[0])), "x"
    for k, (n, m) in enumerate(zip(widths, widths[1:], strict=False)):
        x = s.matmul(
            s.relu(x) if k else x,
            rng.standard_normal((n, m)).astype(np.float32),
            rng.standard_normal(m).astype(np.float32),
        )
    return s.network(x)


@PRECISIONS
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("seed", range(4))
def test_pruned_then_rescaled(seed: int, dtype: type, precision: str) -> None:
    """Pruning shows through a rescaling by powers of two: the metric is that of the pruning alone,
    exactly."""
    rng = np.random.default_rng(seed)
    a = _mlp(seed, 4, 6, 5, 3)
    pruned = paths.combine(a, a, lambda k, p, q: (p * (rng.random(p.shape) > 0.2)).astype(np.float32))
    b = rescale(pruned, rng, powers=True, size=20, dtype=dtype)
    right = sum(float(x.sum()) for x in paths.metric(a, pruned).values())
    interval = path_metric(a, b, DEVICES[precision]).path_metric
    assert interval.exact
    assert interval.upper.value == pytest.approx(right, rel=1e-5)
    real = rescale(pruned, rng, powers=False, size=20, dtype=dtype)
    interval = path_metric(a, real, DEVICES[precision]).path_metric
    assert interval.lower.value == pytest.approx(right, rel=1e-4)
    assert interval.upper.value == pytest.approx(right, rel=1e-4)


@PRECISIONS
@examples(10)
@given(seed=SEEDS, kind=st.sampled_from(("retrained", "flipped", "other biases", "monotone")))
def test_never_above_the_simpler_bounds(precision: str, seed: int, kind: str) -> None:
    """The triangle inequality through m is at most the one-sided pass and where signs agree, at most F_max -
    F_min (theory, section 3)."""
    a, b = pair(seed, kind)
    found = path_metric(a, b, DEVICES[precision])
    if found.notes:
        return  # b was rescaled first: another pair
    upper, size = found.path_metric.upper.value, 1e-4 if precision == "float32" else 1e-11
    smallest = norm_of(paths.combine(a, b, lambda k, p, q: paths.shrunk(p, q)))
    through = norm_of(a) + norm_of(b) - 2 * smallest
    assert upper == pytest.approx(through, rel=size, abs=1e-12 * (norm_of(a) + norm_of(b)))
    assert upper <= paths.one_sided(a, b) * (1 + size)
    b = paths.combine(a, b, lambda k, p, q: np.where(p * q >= 0, q, 0).astype(np.float32))
    found = path_metric(a, b, DEVICES[precision])
    if found.notes:
        return
    upper = found.path_metric.upper.value
    largest, smallest = (
        norm_of(paths.combine(a, b, lambda k, p, q, f=f: f(np.abs(p), np.abs(q))))
        for f in (np.maximum, np.minimum)
    )
    assert upper <= (largest - smallest) * (1 + size) + NOISE * largest


@PRECISIONS
@examples(10)
@given(seed=SEEDS, kind=st.sampled_from(("retrained", "flipped", "other biases")))
def test_lower_end_is_at_least_the_difference_of_the_norms(precision: str, seed: int, kind: str) -> None:
    """Σ_v |F_P - F_Q| per output neuron v."""
    a, b = pair(seed, kind)
    found = path_metric(a, b, DEVICES[precision])
    p, q = (evaluate_absolute(x, ones(x), 1) for x in (a, b))
    plain = sum(float(np.abs(p[name] - q[name]).sum()) for name in a.outputs)
    size = 3e-4 if precision == "float32" else 1e-11
    assert found.path_metric.lower.value >= plain - size * (norm_of(a) + norm_of(b))


@PRECISIONS
@examples(14)
@given(seed=SEEDS, kind=st.sampled_from(("flipped", "retrained", "other biases")))
def test_lower_end_knows_the_signs_of_the_paths(precision: str, seed: int, kind: str) -> None:
    """Where signs are carried: Σ_v max(|F_P - F_Q|, F_P - Σ s_p Φ_p(Q), F_Q - Σ t_p Φ_p(P)), s and t the
    signs of the other network's paths, a coordinate that is 0 there counting against."""
    a, b = pair(seed, kind)
    found = path_metric(a, b, DEVICES[precision])
    if found.notes or "signed passes" not in found.path_metric.method:
        return

    def signed(k: int, p: np.ndarray, q: np.ndarray) -> np.ndarray:
        return np.where(p != 0, np.sign(p) * q, -np.abs(q))

    total = 0.0
    ends = [
        paths.lift(paths.combine(x, y, signed), paths.combine(x, x, lambda k, p, q: np.abs(p)))
        for x, y in ((a, b), (b, a))
    ]
    for name in a.outputs:
        size = a.size_of(name)
        rest = [paths.per_neuron(end[name], end[name].q - end[name].p, size) for end in ends]
        total += float(np.maximum(0, np.maximum(*rest)).sum())
    size = norm_of(a) + norm_of(b)
    close = 1e-3 if precision == "float32" else 1e-10
    assert found.path_metric.lower.value == pytest.approx(
        total, rel=close, abs=close * found.path_metric.upper.value + NOISE * size
    )
    assert found.path_metric.lower.value <= total + NOISE * size


@pytest.mark.parametrize("precision", list(DEVICES))
def test_a_difference_far_below_rounding_is_not_lost(precision: str) -> None:
    """One weight changes by one unit in the last place of float32, in a network of norm 1e5: full relative
    accuracy."""
    a = _mlp(1, 6, 8, 8, 4)
    b = paths.combine(a, a, lambda k, p, q: p.astype(np.float32))
    nodes = [node for node in b.nodes if node.weight is not None]
    nodes[1].weight.base[2, 3] = np.nextafter(nodes[1].weight.base[2, 3], np.float32(0))
    right = sum(float(x.sum()) for x in paths.metric(a, b).values())
    interval = path_metric(a, b, DEVICES[precision]).path_metric
    assert right < 1e-6 * norm_of(a)
    assert interval.exact and interval.upper.value == pytest.approx(
        right, rel=1e-6 if precision == "float32" else 1e-8
    )


@PRECISIONS
def test_the_interval_closes_where_supports_are_disjoint(precision: str) -> None:
    """Paths of one network alone count in full at both ends, though the next layer differs as well."""
    made = []
    for first, second in (([[1.0, 0.0]], [[1.0], [1.0]]), ([[0.0, 1.0]], [[1.01], [0.99]])):
        s = Sketch(x=(1, 1))
        made.append(s.network(s.matmul(s.relu(s.matmul("x", np.array(first))), np.array(second))))
    interval = path_metric(*made, DEVICES[precision]).path_metric
    assert not interval.exact
    assert interval.lower.value == pytest.approx(1.99, rel=1e-5)
    assert interval.upper.value == pytest.approx(1.99, rel=1e-5)


def test_two_outputs_that_depend_on_different_layers() -> None:
    """An output that no change reaches has metric 0; the other has all of it."""
    rng = np.random.default_rng(5)
    s = Sketch(x=(1, 3))
    left = s.matmul("x", rng.standard_normal((3, 2)).astype(np.float32), name="left")
    right = s.matmul("x", rng.standard_normal((3, 2)).astype(np.float32), name="right")
    a = s.network(left, right)
    b = paths.combine(a, a, lambda k, p, q: (p * (1.5 if k else 1)).astype(np.float32))
    found = path_metric(a, b, DEVICES["float32"])
    assert found.outputs[0].upper.value == 0
    assert found.outputs[1].upper.value == found.path_metric.upper.value > 0
    assert {layer.name: layer.share for layer in found.layers} == {"left": 0, "right": pytest.approx(1)}


def test_a_rescaling_beyond_float32_meets_a_channel_of_zeros() -> None:
    """Aligning B to A's subnormal weight makes a coefficient of 2^146, which only ever multiplies zeros in
    one lane."""

    def network(values: list[float]) -> Network:
        v, s = np.array(values, np.float32), Sketch(x=(1, 2))
        x = s.relu(s.matmul(s.relu(s.matmul("x", v[:4].reshape(2, 2))), v[4:8].reshape(2, 2)))
        return s.network(s.matmul(x, v[8:].reshape(2, 1)))

    a, b = network([0, 0, 0, 1, 0, 0, -1, 1.54e-44, 1, 0]), network([0, 0, 0, 1, 0, 0, 1, 1, 0, 1])
    found = path_metric(a, b, Device("cpu", "float32", 1))
    assert (found.a.path_norm.value, found.b.path_norm.value) == (1, 1)
    assert found.path_metric.lower.value <= 2 <= found.path_metric.upper.value * (1 + 1e-6)
