"""The l2 path-metric against the enumeration of all paths."""

from dataclasses import replace

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from oracle import paths
from oracle.networks import KINDS, perturb, random_network
from oracle.sketch import Sketch

from onnxpath.analyses.metric.metric import path_metric
from onnxpath.engine.session import Device
from onnxpath.model.network import Network

DEVICE = Device("cpu", "float32", 1)
SEEDS = st.integers(0, 2**32 - 1)


def enumerated(a: Network, b: Network) -> tuple[float, float]:
    """The metric, and the size of what is subtracted in it."""
    lifted = list(paths.lift(a, b).values())
    square = sum(float(((x.p - x.q) ** 2).sum()) for x in lifted)
    return float(np.sqrt(square)), float(np.sqrt(sum(float((x.p**2 + x.q**2).sum()) for x in lifted)))


@pytest.mark.parametrize("kind", KINDS)
@examples(3)
@given(seed=SEEDS, flavour=st.sampled_from(("plain", "sparse", "extreme")))
def test_certified_ends_contain_the_metric(kind: str, seed: int, flavour: str) -> None:
    a = random_network(seed, flavour, limit=5_000)
    b = perturb(a, kind, np.random.default_rng(seed))
    found = path_metric(a, b, DEVICE, l2=True).l2
    right, size = enumerated(a, b)
    noise = 1e-13 * size  # of the oracle
    assert found.lower.value - noise <= right <= found.upper.value + noise
    assert found.lower <= found.value <= found.upper
    if kind == "identical":
        assert found.upper.value == 0 and found.relative_error == 0
    if kind not in ("identical", "rescaled"):
        assert found.relative_error < 1e-7 or right < 1e-7 * size


@examples(8)
@given(seed=SEEDS, size=st.sampled_from((1e-3, 1e-6)))
def test_close_pairs_lose_nothing(seed: int, size: float) -> None:
    """Against the derivative along the perturbation: Δ = size (dΦ + O(size)), each known to many digits."""
    a = random_network(seed, "plain", limit=5_000)
    rng = np.random.default_rng(seed)
    change: dict[int, np.ndarray] = {}

    def moved(step: float) -> Network:
        def rule(k: int, p: np.ndarray, q: np.ndarray) -> np.ndarray:
            key = k if p.ndim > 1 else -1 - k
            if key not in change or change[key].shape != p.shape:
                change[key] = rng.standard_normal(p.shape)
            return p * (1 + step * change[key])

        return paths.combine(a, a, rule)

    near, double = moved(size), moved(2 * size)
    one, two = (path_metric(a, x, DEVICE, l2=True).l2 for x in (near, double))
    right, norm = enumerated(a, near)
    assert one.value.value == pytest.approx(right, rel=1e-12 * norm / right if right else 0, abs=1e-14 * norm)
    assert one.relative_error < 1e-6
    # linear to first order: the error of this check is of relative order depth * size
    assert two.value.value == pytest.approx(2 * one.value.value, rel=200 * size)


def test_signs_count() -> None:
    """(w v) against (-w v): the distance is 2 |w v|; against (-w, -v) it is 0 although every weight
    differs."""
    made = []
    for first, second in ((3.0, 5.0), (-3.0, 5.0), (-3.0, -5.0)):
        s = Sketch(x=(1, 1))
        made.append(s.network(s.matmul(s.relu(s.matmul("x", np.array([[first]]))), np.array([[second]]))))
    assert path_metric(made[0], made[1], DEVICE, l2=True).l2.value.value == pytest.approx(30, rel=1e-14)
    null = path_metric(made[0], made[2], DEVICE, l2=True).l2
    assert null.value.value < 1e-5 and null.lower.value == 0 and null.relative_error == np.inf


def test_no_depth_overflows() -> None:
    """400 layers that multiply by 1e3 each: the metric is far beyond float64."""
    rng = np.random.default_rng(0)
    s, x = Sketch(x=(1, 4)), "x"
    for _ in range(400):
        x = s.relu(s.matmul(x, (1e3 * rng.standard_normal((4, 4))).astype(np.float32)))
    a = s.network(x)
    b = paths.combine(
        a, a, lambda k, p, q: (p * (1 + 1e-3 * rng.standard_normal(p.shape))).astype(np.float32)
    )
    result = path_metric(a, b, DEVICE, l2=True)
    assert result.l2.value.value is None and np.isfinite(result.l2.value.log10)
    assert 0 < result.l2.relative_error < 1e-6
    document = result.to_dict()["l2"]
    assert (
        document["value"] is None
        and document["lower"]["log10"] <= document["log10"] <= document["upper"]["log10"]
    )
    assert "l2" not in replace(result, l2=None).to_dict()
