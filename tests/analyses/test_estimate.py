"""The estimate of the l1 path-metric by sampling paths, against the enumeration of all paths."""

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from oracle import paths
from oracle.networks import KINDS, perturb, random_network
from oracle.sketch import Sketch

from onnxpath.analyses.metric.estimate import estimate, interval
from onnxpath.analyses.metric.metric import path_metric
from onnxpath.engine.session import Device
from onnxpath.errors import UsageError
from onnxpath.model.network import Network
from onnxpath.records import Estimate

DEVICE = Device("cpu", "float32", 1)
SEEDS = st.integers(0, 2**32 - 1)


def sampled(a: Network, b: Network, samples: int, seed: int = 0) -> Estimate:
    twin = {x.output: (y.weight, y.bias) for x, y in zip(a.nodes, b.nodes, strict=True)}
    return estimate(a, twin, DEVICE, samples, seed)


def enumerated(a: Network, b: Network) -> tuple[float, float]:
    """The metric, and Σ_p Φ_p(M)."""
    largest = paths.combine(a, b, lambda k, p, q: np.maximum(np.abs(p), np.abs(q)))
    return (
        sum(float(x.sum()) for x in paths.metric(a, b).values()),
        sum(float(x.sum()) for x in paths.norm(largest, 1).values()),
    )


@pytest.mark.parametrize("kind", KINDS)
@examples(3)
@given(seed=SEEDS, flavour=st.sampled_from(("plain", "sparse", "extreme")))
def test_interval_covers_the_metric(kind: str, seed: int, flavour: str) -> None:
    a = random_network(seed, flavour, limit=3_000)
    b = perturb(a, kind, np.random.default_rng(seed))
    found = sampled(a, b, 1_000, seed)
    right, size = enumerated(a, b)
    assert found.lower.value - 1e-12 * size <= right <= found.upper.value + 1e-12 * size
    assert found.lower <= found.value <= found.upper


@pytest.mark.parametrize("seed", range(6))
def test_unbiased(seed: int) -> None:
    """200,000 paths: the mean is within five standard deviations (of variables in [0, 2 Σ F], any
    distribution: Popoviciu)."""
    a = random_network(seed, "plain", limit=3_000)
    b = perturb(a, ("flipped", "retrained", "monotone")[seed % 3], np.random.default_rng(seed))
    n, (right, size) = 200_000, enumerated(a, b)
    assert abs(sampled(a, b, n, seed).value.value - right) <= 5 * size / np.sqrt(n)


def test_every_draw_is_the_metric_of_a_network_that_only_grows_in_one_layer() -> None:
    """|Φ_p - Φ'_p| / Φ_p(M) is 1/2 on every path: the estimate has no variance at all."""
    rng = np.random.default_rng(1)
    s = Sketch(x=(1, 2, 5, 5))
    x = s.relu(s.conv("x", rng.standard_normal((4, 2, 3, 3)), strides=(2, 2), pads=(1, 1, 1, 1)))
    x = s.max_pool(x, (2, 2), strides=(1, 1))
    a = s.network(s.matmul(s.flatten(s.add(x, x)), rng.standard_normal((16, 3))))
    b = paths.combine(a, a, lambda k, p, q: p * (2 if k == 0 else 1))
    right, _ = enumerated(a, b)
    assert sampled(a, b, 100).value.value == pytest.approx(right, rel=1e-9)


def test_close_networks_keep_their_digits() -> None:
    rng = np.random.default_rng(2)
    a = random_network(3, "plain", limit=3_000)
    b = paths.combine(a, a, lambda k, p, q: p * (1 + 1e-9 * np.abs(rng.standard_normal(p.shape))))
    right, size = enumerated(a, b)
    found = sampled(a, b, 20_000)
    assert right < 1e-7 * size and found.value.value == pytest.approx(right, rel=0.1)


def test_seeds() -> None:
    a = random_network(5, "plain", limit=3_000)
    b = perturb(a, "flipped", np.random.default_rng(5))
    first, again, other = (sampled(a, b, 500, seed) for seed in (1, 1, 2))
    assert first == again and first.value != other.value


def test_intersected_with_what_is_certain() -> None:
    a = random_network(5, "plain", limit=3_000)
    b = perturb(a, "flipped", np.random.default_rng(5))
    result = path_metric(a, b, DEVICE, samples=10)
    assert (
        result.path_metric.lower <= result.estimate.lower
        and result.estimate.upper <= result.path_metric.upper
    )
    with pytest.raises(UsageError, match="at least 2 samples"):
        sampled(a, b, 1)


def test_nothing_differs_or_no_path_is_left() -> None:
    s = Sketch(x=(1, 2))
    a = s.network(s.matmul(s.relu(s.matmul("x", np.ones((2, 3)))), np.zeros((3, 1))))
    assert sampled(a, a, 10).upper.value == 0
    b = random_network(7, "plain", limit=3_000)
    assert sampled(b, b, 10).value.value == 0


def test_no_depth_overflows() -> None:
    rng = np.random.default_rng(0)
    s, x = Sketch(x=(1, 4)), "x"
    for _ in range(150):
        x = s.relu(
            s.matmul(
                x,
                (1e3 * rng.standard_normal((4, 4))).astype(np.float32),
                (1e3 * rng.standard_normal(4)).astype(np.float32),
            )
        )
    a = s.network(x)
    b = paths.combine(
        a, a, lambda k, p, q: (p * (1 + 1e-3 * rng.standard_normal(p.shape))).astype(np.float32)
    )
    found = path_metric(a, b, DEVICE, samples=500)
    part = found.to_dict()["estimate"]
    assert part["value"] is None and part["lower"]["log10"] <= part["log10"] <= part["upper"]["log10"]


@pytest.mark.parametrize("rate", [0.001, 0.02, 0.5])
def test_interval_holds_at_least_as_often_as_it_says(rate: float) -> None:
    """Bernoulli variables, the hardest bounded ones: 2,000 intervals, at most 1 % plus five standard
    deviations of that miss."""
    rng = np.random.default_rng(0)
    misses = sum(
        not lower <= rate <= upper
        for lower, upper in (interval((rng.random(300) < rate) * 1.0, 1.0, 0.99) for _ in range(2_000))
    )
    assert misses <= 20 + 5 * np.sqrt(20)
