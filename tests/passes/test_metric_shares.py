"""What every layer adds to the path-metric's upper bound, against the enumeration of all paths."""

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from oracle import paths
from oracle.networks import perturb
from oracle.sketch import Sketch

from onnxpath.analyses.metric.metric import path_metric
from onnxpath.model.network import Network
from passes.test_metric import DEVICES, PRECISIONS, SEEDS, contained, norm_of, pair


def _share_oracle(a: Network, b: Network) -> dict[str, float]:
    """Each layer's part of D(P, m) + D(Q, m): what F loses when that layer, too, goes to m, in the order of
    the nodes.

    With the layers before it at m and those after it at P, a layer's injected difference is F(it at P) - F(it
    at m).
    """
    learned = [
        x
        for x, y in zip(a.nodes, b.nodes, strict=True)
        if any(p is not None for n in (x, y) for p in (n.weight, n.bias))
    ]
    parts = np.zeros(len(learned))
    for side in (0, 1):
        norms = [
            norm_of(
                paths.combine(
                    a, b, lambda k, p, q, n=n, side=side: paths.shrunk(p, q) if k < n else (p, q)[side]
                )
            )
            for n in range(len(learned) + 1)
        ]
        parts += -np.diff(norms)
    return {node.name: part for node, part in zip(learned, parts, strict=True)}


@PRECISIONS
@examples(8)
@given(
    seed=SEEDS,
    kind=st.sampled_from(("one layer", "monotone", "retrained", "other biases")),
    flavour=st.sampled_from(("plain", "extreme")),
)
def test_share_of_a_layer_is_what_it_adds(precision: str, seed: int, kind: str, flavour: str) -> None:
    a, b = pair(seed, kind, flavour)
    found = path_metric(a, b, DEVICES[precision])
    if found.notes:
        return
    parts = _share_oracle(a, b)
    total = sum(parts.values())
    noise = 1e-13 * (norm_of(a) + norm_of(b))
    shares = {layer.name: layer.share for layer in found.layers}
    if total <= 1e6 * noise:
        return
    assert sum(shares.values()) == pytest.approx(1, abs=1e-5)
    for layer in found.layers:
        assert layer.share == pytest.approx(parts[layer.name] / total, abs=2e-5 + noise / total)
        assert layer.metric.value == pytest.approx(
            found.path_metric.upper.value * layer.share, rel=1e-5, abs=1e-300
        )


@PRECISIONS
def test_shares_through_branches_of_very_different_size(precision: str) -> None:
    """Two layers feed one sum through factors of 2**±100; each has half of the difference, pools and sums in
    between."""
    s = Sketch(x=(1, 2, 4))
    ups = [s.scale("x", np.full((1, 2, 1), 2.0**k), name=f"up{k}") for k in (100, -100)]
    downs = [
        s.scale(s.max_pool(x, (2,)), np.array([2.0**-k, 3 * 2.0**-k]).reshape(1, 2, 1))
        for x, k in zip(ups, (100, -100), strict=True)
    ]
    wide = [s.scale(s.relu(x), np.array([1.0, 2.0**-120]).reshape(1, 2, 1)) for x in downs]
    total = s.scale(
        s.reduce("ReduceSum", s.concat(*wide, s.add(*wide)), (2,)),
        np.array([1.0, 2.0**120] * 3).reshape(1, 6, 1),
    )
    a = s.network(s.reduce("ReduceSum", total, (1,)))
    b = paths.combine(a, a, lambda k, p, q: p * 0.5 if k < 2 else p)
    found = path_metric(a, b, DEVICES[precision])
    contained(a, b, found)
    shares = {layer.name: layer.share for layer in found.layers}
    assert shares["up100"] == pytest.approx(0.5, rel=1e-6) and shares["up-100"] == pytest.approx(
        0.5, rel=1e-6
    )


def test_shares_count_every_output_that_a_layer_reaches() -> None:
    """A hidden tensor, its ReLU and a layer after it are all outputs: the first layer reaches each of
    them."""
    rng = np.random.default_rng(3)
    s = Sketch(x=(1, 3))
    h = s.matmul(
        "x", rng.standard_normal((3, 4)).astype(np.float32), rng.standard_normal(4).astype(np.float32)
    )
    r = s.relu(h)
    a = s.network(h, r, s.matmul(r, rng.standard_normal((4, 2)).astype(np.float32)))
    b = perturb(a, "monotone", rng)
    found = path_metric(a, b, DEVICES["float64"])
    contained(a, b, found)
    parts = _share_oracle(a, b)
    for layer in found.layers:
        assert layer.share == pytest.approx(parts[layer.name] / sum(parts.values()), rel=1e-9)
