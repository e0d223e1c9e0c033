"""Margins and flip rates: whatever is said to agree agrees, and the limits are those of the binomial
distribution."""

from fractions import Fraction
from math import comb

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from oracle.sketch import Sketch
from reference import evaluate

import onnxpath
from onnxpath.analyses.bound import difference_bounds
from onnxpath.analyses.bound.flips import flips, upper_limit
from onnxpath.analyses.bound.margins import logit_pairs, margins
from onnxpath.engine.session import Device
from onnxpath.errors import UsageError
from onnxpath.model.domain import Domain
from onnxpath.model.matching import match
from onnxpath.model.network import Network

DEVICE = Device("cpu", "float32", 1)


def classifier(seed: int, noise: float, activation: str | None = None, last: bool = True) -> Network:
    """A small convolutional classifier; `noise` moves every weight by that part of it. last: scores come from
    a MatMul."""
    rng, moves = np.random.default_rng(seed), np.random.default_rng(seed + 1)

    def w(*shape: int) -> np.ndarray:
        array = rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
        return (array * (1 + noise * moves.standard_normal(shape))).astype(np.float32)

    s = Sketch(x=(1, 1, 5, 5))
    x = s.conv("x", w(4, 1, 3, 3), w(4))
    x = s.relu(x) if activation is None else s.activation(x, activation)
    x = s.reshape(s.reduce("ReduceSum", x, (2, 3)), 1, 4)
    x = s.matmul(x, w(4, 3), w(3))
    return s.network(x if last else s.relu(x))


@examples(7)
@given(
    seed=st.integers(0, 2**32 - 1), noise=st.sampled_from([1e-7, 1e-4, 1e-2, 0.5]),
    activation=st.sampled_from([None, "Tanh", "Softsign"]),
    last=st.booleans(),
)  # fmt: skip
def test_inputs_that_provably_agree_agree(
    seed: int, noise: float, activation: str | None, last: bool
) -> None:
    """Every change of a logit difference is within its bound; where A's margin is larger, B predicts the same
    class."""
    a, b = classifier(seed, 0.0, activation, last), classifier(seed, noise, activation, last)
    x = np.random.default_rng(seed).standard_normal((12, 1, 5, 5)).astype(np.float32)
    pairing = match(a, b)
    region = Domain.samples(x).resolve(a)
    bound = difference_bounds.bounds(pairing, region, DEVICE)
    pairs, found = logit_pairs(pairing, region, bound, DEVICE), margins(pairing, region, bound, DEVICE)
    scores = [np.concatenate([evaluate(n, {"x": row[None]})[n.outputs[0]] for row in x]) for n in (a, b)]
    assert (pairs.predicted == scores[0].argmax(axis=1)).all()
    first, second = (y[np.arange(12), pairs.predicted][:, None] - y for y in scores)
    others = np.arange(3)[None] != pairs.predicted[:, None]
    np.testing.assert_allclose(pairs.margins[others], first[others], rtol=1e-9, atol=1e-12)
    assert (pairs.certain <= pairs.margins).all() and (pairs.certain[others] <= first[others] + 1e-12).all()
    assert (np.abs(first - second) <= pairs.changes * (1 + 1e-12) + 1e-12).all()
    agree = (pairs.certain > pairs.changes).all(axis=1)
    assert found.agree == agree.sum() and (scores[1].argmax(axis=1) == pairs.predicted)[agree].all()


def test_small_changes_agree_and_large_ones_do_not() -> None:
    a = classifier(0, 0.0)
    x = np.random.default_rng(0).standard_normal((40, 1, 5, 5)).astype(np.float32)

    def agree(noise: float) -> int:
        pairing, domain = match(a, classifier(0, noise)), Domain.samples(x)
        region = domain.resolve(a)
        return margins(pairing, region, difference_bounds.bounds(pairing, region, DEVICE), DEVICE).agree

    assert agree(1e-5) >= 38
    assert agree(1.0) <= agree(1e-2) <= agree(1e-5)


def test_the_last_layer_makes_the_bound_of_a_difference_smaller_than_the_sum_of_two() -> None:
    """When only what comes before the last layer changes, equal rows of it cancel."""
    s = Sketch(x=(1, 4))
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((4, 4)).astype(np.float32)
    rows = np.stack([np.ones(4), np.ones(4)], axis=1).astype(np.float32)

    def network(scale: float) -> Network:
        s = Sketch(x=(1, 4))
        return s.network(
            s.matmul(
                s.relu(s.matmul("x", weight * np.float32(scale))), rows, np.array([1.0, 0.0], np.float32)
            )
        )

    a, b = network(1.0), network(3.0)
    region = Domain.samples(rng.standard_normal((5, 4)).astype(np.float32)).resolve(a)
    pairing = match(a, b)
    found = margins(pairing, region, difference_bounds.bounds(pairing, region, DEVICE), DEVICE)
    assert found.agree == 5 and max(found.changes) < 1e-9
    assert s.shapes["x"] == (1, 4)


@examples(15)
@given(n=st.integers(1, 60), data=st.data(), confidence=st.sampled_from([0.5, 0.9, 0.99, 0.999999]))
def test_clopper_pearson_is_the_binomial_tail(n: int, data: st.DataObject, confidence: float) -> None:
    """In exact arithmetic: at the limit k or fewer have probability at most 1 - confidence, and a little
    below it more."""
    k = data.draw(st.integers(0, n))
    limit = upper_limit(k, n, confidence)
    if k == n:
        assert limit == 1
        return

    def tail(p: Fraction) -> Fraction:
        return sum((comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k + 1)), Fraction(0))

    assert tail(Fraction(limit)) <= 1 - Fraction(confidence)
    assert tail(Fraction(limit) * (1 - Fraction(1, 10**9))) > 1 - Fraction(confidence)


def test_flips_of_scores() -> None:
    a = np.eye(3)[[0, 1, 2, 0]]
    found = flips(a, np.eye(3)[[0, 1, 0, 1]], 0.9)
    assert (found.differ, found.inputs, found.share) == (2, 4, 0.5)
    assert found.upper_limit == upper_limit(2, 4, 0.9) > 0.5
    for confidence in (0.0, 1.0, -1.0, float("nan")):
        with pytest.raises(UsageError, match="confidence"):
            upper_limit(0, 4, confidence)


def test_flips_of_real_twins() -> None:
    """The pruned digits network: as many flips as ONNX Runtime's own predictions differ by."""
    import onnxruntime

    x = np.load("models/digits_test.npz")["x"]
    paths = ["models/digits_resnet.onnx", "models/digits_resnet_pruned40.onnx"]
    classes = [onnxruntime.InferenceSession(path).run(None, {"x": x})[0].argmax(axis=1) for path in paths]
    result = onnxpath.bound(*paths, Domain.samples(x), search=0)
    assert result.flips.differ == (classes[0] != classes[1]).sum() > 0
    assert result.flips.upper_limit > result.flips.share


def test_rounding_of_what_the_bound_cuts_off_counts() -> None:
    """Orthogonal layers: ℓ2 norms keep the scores' size small, but a float64 pass rounds sums over all
    paths."""
    rng = np.random.default_rng(0)
    layers = [np.linalg.qr(rng.standard_normal((64, 64)))[0].astype(np.float32) for _ in range(4)]

    def network(noise: float) -> Network:
        s = Sketch(x=(1, 64))
        x = "x"
        for layer in layers:
            x = s.relu(s.matmul(x, (layer * (1 + noise)).astype(np.float32)))
        return s.network(s.matmul(x, np.eye(64, 3, dtype=np.float32)))

    a = network(0.0)
    pairing, region = (
        match(a, network(1e-3)),
        Domain.samples(rng.random((2, 64)).astype(np.float32)).resolve(a),
    )
    pairs = logit_pairs(pairing, region, difference_bounds.bounds(pairing, region, DEVICE), DEVICE)
    paths = np.abs(layers[0].astype(np.float64))
    for layer in (*layers[1:], np.eye(64, 3)):
        paths = paths @ np.abs(layer.astype(np.float64))
    sizes = region.radius()["x"] @ paths
    own = sizes[np.arange(2), pairs.predicted][:, None] + sizes
    others = np.arange(3)[None] != pairs.predicted[:, None]
    assert ((pairs.margins - pairs.certain)[others] >= 64 * 2.0**-53 * own[others]).all()
