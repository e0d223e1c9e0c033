"""What is compared with a limit is an upper end: brute force and the fine reference never exceed it, and it
is not far above."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from oracle.sketch import Sketch

import onnxpath
from onnxpath.analyses.bound import bound as bounds
from onnxpath.engine.scaled import Scaled
from onnxpath.model.domain import Domain
from onnxpath.records import Bound, BoundSide, Flips, Largest, Layer, Tool

# 1 ulp of float64 a product or sum of the reference; it has at most a few hundred.
SLACK = 1e-12
weights = st.lists(st.floats(-4, 4, width=32, allow_subnormal=False), min_size=10, max_size=10)


def mlp(values: list[float], factor: float = 1.0):
    """x (2) -> 2 ReLU -> 2 ReLU -> 1; `factor` rescales the first hidden neurons, which changes nothing."""
    w1, w2, w3 = (
        np.array(values[i:j], np.float32).reshape(shape)
        for i, j, shape in ((0, 4, (2, 2)), (4, 8, (2, 2)), (8, 10, (2, 1)))
    )
    sketch = Sketch(x=(1, 2))
    h = sketch.relu(sketch.matmul("x", w1 * np.float32(factor)))
    h = sketch.relu(sketch.matmul(h, w2 / np.float32(factor)))
    return sketch.network(sketch.matmul(h, w3))


def lifted(values: list[float]) -> np.ndarray:
    """Φ of every path, in float64."""
    w1, w2, w3 = (
        np.array(values[i:j], np.float64).reshape(shape)
        for i, j, shape in ((0, 4, (2, 2)), (4, 8, (2, 2)), (8, 10, (2, 1)))
    )
    return np.array([w1[i, j] * w2[j, k] * w3[k, 0] for i, j, k in itertools.product(range(2), repeat=3)])


def values(a, b) -> dict[str, float]:
    result = onnxpath.check(
        a, b, max_relative=1.99, max_metric=1e300, max_path_norm_increase=1e300, threads=1
    )
    return {
        b.name: b.value.value if isinstance(b.value, Scaled) else b.value for b in result.pairs[0].budgets
    }


@examples(15)
@given(weights, weights, st.sampled_from([1.0, 0.25, 4096.0]))
def test_values_are_upper_ends(first, second, factor):
    p, q = lifted(first), lifted(second)
    norms = np.abs(p).sum(), np.abs(q).sum()
    if min(norms) < 1e-6:
        return
    found = values(mlp(first), mlp(second, factor))
    distance = np.abs(p - q).sum()
    assert found["max-metric"] >= distance * (1 - SLACK)
    assert found["max-relative"] >= distance / max(norms) * (1 - SLACK)
    increase = norms[1] / norms[0] - 1
    assert found["max-path-norm-increase"] >= increase - SLACK * (1 + abs(increase))
    # and tight where the value is known to float32 rounding: the growth of two norms
    assert found["max-path-norm-increase"] <= increase + 1e-4 * (2 + abs(increase))


@examples(8)
@given(weights, st.integers(0, 2**10 - 1))
def test_values_of_a_pruned_network_are_tight(first, mask):
    second = [0.0 if mask >> k & 1 else value for k, value in enumerate(first)]
    p, q = lifted(first), lifted(second)
    if np.abs(p).sum() < 1e-6:
        return
    found = values(mlp(first), mlp(second))
    distance = np.abs(p - q).sum()
    assert distance * (1 - SLACK) <= found["max-metric"] <= distance * (1 + 1e-4)
    assert found["max-relative"] <= distance / np.abs(p).sum() * (1 + 1e-4) + SLACK


def test_equal_networks_keep_budgets_of_zero():
    network = mlp([1.0, -2, 3, 0.5, -1, 1, 2, 2, 0.1, -3])
    result = onnxpath.check(network, network, max_relative=0, max_metric=0, max_path_norm_increase=0)
    assert result.passed and not result.failures
    assert all(budget.layers == () for budget in result.pairs[0].budgets)


def test_the_layers_are_the_three_largest_in_order():
    first = [float(k + 1) for k in range(10)]
    network, other = mlp(first), mlp([v * 0.9 for v in first])
    [pair] = onnxpath.check(network, other, max_metric=0).pairs
    metric = onnxpath.path_metric(network, other)
    expected = sorted(metric.layers, key=lambda layer: -layer.share)[:3]
    assert [layer.name for layer in pair.budgets[0].layers] == [layer.name for layer in expected]


# -- errors are never a pass
# --------------------------------------------------------------------------------------------

ONES = [1.0] * 10


def test_growth_from_nothing_has_no_meaning():
    with pytest.raises(onnxpath.UsageError, match="path-norm of sketch is 0"):
        onnxpath.check(mlp([0.0] * 10), mlp(ONES), max_path_norm_increase=1)


def test_two_networks_that_are_zero_everywhere_do_not_differ():
    assert onnxpath.check(mlp([0.0] * 10), mlp([0.0] * 10), max_relative=0, max_path_norm_increase=0).passed


@pytest.mark.parametrize(
    ("budgets", "words"),
    [
        ({}, "no budget"), ({"max_bound": 1}, "max-bound needs a domain"),
        ({"max_flip_rate": "1%"}, "needs inputs"),
        ({"max_relative": 1, "domain": Domain.radius(1.0)}, "no max-bound"),
        ({"max_relative": 1, "inputs": np.ones((1, 2))}, "no budget that would"),
        ({"max_relative": 1, "norm": "3"}, "norm must be"),
        ({"max_relative": 1, "confidence": 1}, "confidence"),
    ],
)  # fmt: skip
def test_checks_that_could_not_fail_or_hold_what_nothing_uses(budgets, words):
    with pytest.raises(onnxpath.UsageError, match=words):
        onnxpath.check(mlp(ONES), mlp(ONES), **budgets)


def test_networks_of_different_structure():
    sketch = Sketch(x=(1, 2))
    other = sketch.network(sketch.matmul("x", np.ones((2, 1), np.float32)))
    with pytest.raises(onnxpath.MismatchError):
        onnxpath.check(mlp(ONES), other, max_relative=1)


def test_a_bound_that_is_no_number_is_an_error(monkeypatch):
    monkeypatch.setattr(bounds, "bound", lambda *arguments, **options: record(Scaled(float("nan"))))
    with pytest.raises(onnxpath.UsageError, match="no certified upper end"):
        onnxpath.check(mlp(ONES), mlp(ONES), max_bound=1, domain=Domain.radius(1.0))


def test_an_unbounded_bound_keeps_no_budget(monkeypatch):
    monkeypatch.setattr(bounds, "bound", lambda *arguments, **options: record(Scaled(float("inf"))))
    result = onnxpath.check(mlp(ONES), mlp(ONES), max_bound=1e308, domain=Domain.radius(1.0))
    assert not result.passed
    [entry] = result.to_dict()["entries"][0]["budgets"]
    assert (entry["passed"], entry["value"], entry["log10"]) == (False, None, None)


def test_without_classes_there_is_no_flip_rate(monkeypatch):
    monkeypatch.setattr(bounds, "bound", lambda *arguments, **options: record(Scaled(1.0)))
    with pytest.raises(onnxpath.UsageError, match="predicted class"):
        onnxpath.check(mlp(ONES), mlp(ONES), max_flip_rate=0.1, inputs=np.ones((4, 2)))


# -- bounds, from records made by hand
# ----------------------------------------------------------------------------------


def record(certified: Scaled, flips: Flips | None = None) -> Bound:
    side = BoundSide("a.onnx", "")
    layers = tuple(
        Layer(f"layer{k}", share, Scaled(share)) for k, share in enumerate((0.1, 0.4, 0.0, 0.2, 0.3))
    )
    return Bound(
        side,
        side,
        {},
        "inf",
        (),
        Largest(certified, None, None),
        "sharp",
        layers,
        Tool("", "", "", "cpu", "float32", "ieee"),
        flips=flips,
    )


def test_the_certified_bound_is_compared_and_not_what_was_found(monkeypatch):
    found = replace(record(Scaled(0.75)), largest=Largest(Scaled(0.75), 0.1, 7.5))
    monkeypatch.setattr(bounds, "bound", lambda *arguments, **options: found)
    [pair] = onnxpath.check(mlp(ONES), mlp(ONES), max_bound=0.5, domain=Domain.radius(1.0)).pairs
    [budget] = pair.budgets
    assert (budget.passed, budget.value, budget.certainty) == (False, Scaled(0.75), "certified")
    assert [layer.name for layer in budget.layers] == ["layer1", "layer4", "layer3"]


def test_the_upper_limit_of_the_flip_rate_is_compared_and_not_the_share(monkeypatch):
    monkeypatch.setattr(
        bounds, "bound", lambda *arguments, **options: record(Scaled(1.0), Flips(0, 100, 0.99, 0.045))
    )
    [pair] = onnxpath.check(mlp(ONES), mlp(ONES), max_flip_rate="1%", inputs=np.ones((100, 2))).pairs
    [budget] = pair.budgets
    assert (budget.passed, budget.value, budget.certainty) == (False, 0.045, "confidence")
    # 0.99**n <= 0.01 from n = 459 on
    assert "0 of 100 inputs differ" in budget.basis and "needs at least 459 inputs" in budget.basis
