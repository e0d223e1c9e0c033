"""Theorem C.1: the path-metric bounds what the outputs of two networks differ by."""

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from oracle import paths
from oracle.networks import KINDS
from oracle.sketch import Sketch
from reference import evaluate

from onnxpath.analyses.metric.metric import path_metric
from onnxpath.model.network import Network
from passes.test_metric import DEVICES, NOISE, PRECISIONS, SEEDS, contained, norm_of, pair


def _corner(rng: np.random.Generator, network: Network, radius: float) -> dict[str, np.ndarray]:
    """A point of the box, often a corner or a point on a face."""
    found = {}
    for name in network.inputs:
        x = rng.uniform(-radius, radius, network.shapes[name])
        sides = rng.random(x.shape) < rng.choice([0, 0.5, 1])
        found[name] = np.where(sides, np.where(x < 0, -radius, radius), x)
    return found


def _gap(a: Network, b: Network, x: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    p, q = evaluate(a, x), evaluate(b, x)
    return {name: np.abs(p[name] - q[name]).reshape(-1) for name in a.outputs}


@examples(20)
@given(seed=SEEDS, kind=st.sampled_from(("monotone", "grown", "retrained")))
def test_theorem_c1_holds_path_by_path(seed: int, kind: str) -> None:
    """|R_P(x)_v - R_Q(x)_v| <= Σ_{p→v} |x_p0| |Φ_p - Φ'_p| for pairs of equal signs: the oracle agrees with
    the theorem."""
    a, b = pair(seed, kind)
    b = paths.combine(a, b, lambda k, p, q: np.where(p * q >= 0, q, 0))
    rng = np.random.default_rng(seed)
    for radius in (1.0, 0.3, 50.0):
        x = _corner(rng, a, radius)
        flat = np.concatenate([x[name].reshape(-1) for name in a.inputs])
        gap = _gap(a, b, x)
        for name, lifted in paths.lift(a, b).items():
            weights = np.where(lifted.start < 0, 1.0, np.abs(flat[lifted.start]))
            bound = paths.per_neuron(lifted, weights * np.abs(lifted.p - lifted.q), a.size_of(name))
            assert (gap[name] <= bound * (1 + 1e-12) + 1e-12 * np.abs(lifted.p).sum() * max(radius, 1)).all()


@PRECISIONS
@examples(20)
@given(seed=SEEDS, kind=st.sampled_from(KINDS), radius=st.sampled_from((0.0, 0.5, 1.0, 3.0, 100.0)))
def test_bound_covers_the_difference_of_the_outputs(
    precision: str, seed: int, kind: str, radius: float
) -> None:
    """Any pair, any signs: Σ_v |R_P(x)_v - R_Q(x)_v| <= bound for every |x_i| <= B."""
    a, b = pair(seed, kind)
    bound = path_metric(a, b, DEVICES[precision], radius).bound.value
    rng = np.random.default_rng(seed)
    noise = NOISE * max(radius, 1) * (norm_of(a) + norm_of(b))
    for _ in range(20):
        gap = _gap(a, b, _corner(rng, a, radius))
        assert sum(float(x.sum()) for x in gap.values()) <= bound + noise


@PRECISIONS
@pytest.mark.parametrize("radius", [0.25, 1.0, 4.0])
def test_theorem_c1_is_reached(radius: float, precision: str) -> None:
    """One path: the bound is the largest difference, to 1e-6 (for radius < 1, of a path that starts at a
    bias)."""
    s = Sketch(x=(1, 1))
    first = np.array([[0.0 if radius < 1 else 0.7]], np.float32)
    bias = np.array([0.3], np.float32) if radius < 1 else None
    x = s.relu(s.matmul("x", first, bias))
    x = s.relu(s.matmul(x, np.array([[1.3]], np.float32)))
    a = s.network(s.matmul(x, np.array([[-2.1]], np.float32)))
    b = paths.combine(a, a, lambda k, p, q: (p * (0.9 if k == 1 else 0.8)).astype(np.float32))
    found = path_metric(a, b, DEVICES[precision], radius)
    assert found.path_metric.exact
    largest = max(
        float(_gap(a, b, {"x": np.array([[sign * radius]])})[a.outputs[0]].sum()) for sign in (1, -1)
    )
    assert largest == pytest.approx(found.bound.value, rel=1e-6)


def test_scale_without_a_weight_against_one_with() -> None:
    """A Scale that only adds is one that multiplies by 1, whatever the other network multiplies by."""
    rng = np.random.default_rng(0)
    for factor in ([2.0, 0.5], [-1.0, 0.5], [-1.0, -2.0], [0.0, 0.0]):
        made = []
        for weight in (None, np.array([factor], np.float32)):
            s = Sketch(x=(1, 2))
            x = s.scale("x", weight, np.array([[0.5, -0.25]], np.float32))
            made.append(s.network(s.matmul(s.relu(x), np.array([[1.0], [-3.0]], np.float32))))
        for a, b in (made, made[::-1]):
            contained(a, b, path_metric(a, b, DEVICES["float64"]))
            bound = path_metric(a, b, DEVICES["float32"], 2.0).bound.value
            assert all(
                sum(x.sum() for x in _gap(a, b, _corner(rng, a, 2.0)).values()) <= bound for _ in range(20)
            )
