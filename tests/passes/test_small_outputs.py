"""Neurons and differences far below the rest of their tensor: known to the error that is stated of them, and
0 only where they are 0."""

from pathlib import Path

import numpy as np
import pytest
from oracle import paths
from oracle.networks import perturb
from oracle.sketch import Sketch

from onnxpath.analyses.metric.metric import path_metric
from onnxpath.analyses.metric.norm import path_norms
from onnxpath.engine.session import Device
from onnxpath.importer import load
from onnxpath.model.network import Network

CPU = Device("cpu", "float32", 1)
CASES = Path(__file__).resolve().parents[1] / "data" / "cases" / "attack"
# of the oracle, which adds up to 2e4 products of 20 factors in float64 and takes roots
NOISE = 5e-13


def spread_out(seed: int) -> Network:
    """Cells of one channel that are up to 2^±(40 · layers) apart, zeros among them, through sums over windows
    and matrices."""
    rng = np.random.default_rng(seed)
    s = Sketch(x=(1, 2, 4))
    x = "x"
    for _ in range(int(rng.integers(2, 4))):
        factors = (
            np.exp2(rng.integers(-40, 41, (1, 2, 4)))
            * (rng.random((1, 2, 4)) < 0.8)
            * rng.choice([-1, 1], (1, 2, 4))
        )
        x = s.relu(s.scale(x, factors.astype(np.float32)))
        x = s.conv(x, rng.standard_normal((2, 2, 1)).astype(np.float32) * (rng.random((2, 2, 1)) < 0.8))
        x = s.max_pool(x, (2,), strides=(1,), pads=(0, 1)) if rng.random() < 0.3 else x
    first = s.scale(x, np.exp2(rng.integers(-40, 41, (1, 2, 4))).astype(np.float32))
    return s.network(
        first,
        s.matmul(
            s.flatten(first), (rng.standard_normal((8, 3)) * (rng.random((8, 3)) < 0.6)).astype(np.float32)
        ),
    )


def neurons_are_right(network: Network, q: float, device: Device = CPU) -> None:
    result = path_norms(network, [q], device, per_output=True)
    (norm,) = result.norms
    exact = paths.norm(network, q)
    assert norm.value.value == pytest.approx(
        sum(float(x.sum()) for x in exact.values()) ** (1 / q if q else 1), rel=norm.relative_error + NOISE
    )
    for name, output in zip(network.outputs, result.outputs, strict=True):
        right = exact[name] ** (1 / q if q else 1)
        for value, error, true in zip(output.values[0], output.errors[0], right, strict=True):
            assert error <= 1.2 * max(norm.relative_error, 1e-15), "every neuron to the error of the norm"
            assert abs(value.value - true) <= (error + NOISE) * true


@pytest.mark.parametrize("q", [0.0, 1.0, 2.0])
def test_a_neuron_far_below_the_rest_is_known(q: float) -> None:
    for seed in range(12):
        neurons_are_right(spread_out(seed), q)


@pytest.mark.parametrize(
    "name",
    ["n_norm_out_28_a", "n_norm_out_36_a", "n_norm_out_1168_a", "n_norm_out_1572_a", "n_norm_out_1732_a"],
)
def test_networks_that_printed_zeros(name: str) -> None:
    for q in (1.0, 2.0):
        neurons_are_right(load(CASES / f"{name}.onnx"), q)


def test_what_not_even_float64_tells_is_an_upper_bound() -> None:
    """2^-1200 beside 2^0 in one channel: at most, and never a zero; beside it a neuron that no path
    reaches."""
    s = Sketch(x=(1, 1, 3))
    x = "x"
    for _ in range(10):
        x = s.relu(s.scale(x, np.array([1.0, 2.0**-120, 2.0**-120], np.float32).reshape(1, 1, 3)))
        x = s.conv(x, np.ones((1, 1, 1), np.float32))
    network = s.network(s.scale(x, np.array([1.0, 1.0, 0.0], np.float32).reshape(1, 1, 3)))
    (output,) = path_norms(network, [1.0], CPU, per_output=True).outputs
    (one, tiny, none), errors = output.values[0], output.errors[0]
    assert one.value == pytest.approx(1, rel=1e-5)
    assert -400 < tiny.log10 < -290 and tiny.log2 >= -1200 and errors[1] == np.inf
    assert none.log10 is None and errors[2] == 0
    document = path_norms(network, [1.0], CPU, per_output=True).to_dict()["outputs"][0]["norms"][0]
    assert document["relative_errors"][1] is None and document["relative_errors"][2] == 0


@pytest.mark.parametrize("kind", ["monotone", "retrained", "one layer"])
def test_shares_of_a_small_difference_sum_to_one(kind: str) -> None:
    """Or the metric is 0, exactly, and they are all 0."""
    zeros = 0
    for seed in range(12):
        a = spread_out(seed)
        b = perturb(a, kind, np.random.default_rng(seed))
        found = path_metric(a, b, CPU)
        right = sum(float(value.sum()) for value in paths.metric(a, b).values())
        total = sum(layer.share for layer in found.layers)
        if right == 0 and total == 0:
            zeros += 1
            assert found.path_metric.exact and found.path_metric.upper.log10 is None
        else:
            assert total == pytest.approx(1, abs=1e-4)
            assert found.path_metric.lower.value * (1 - 1e-4) <= right * (
                1 + 1e-9
            ) and right <= found.path_metric.upper.value * (1 + 1e-4)
    assert zeros < 12


def test_a_difference_on_no_path_is_exactly_nothing() -> None:
    """Changed weights that read cells which are 0, or that only zero weights read."""
    a, b = (load(CASES / f"m_shares_1582_{side}.onnx") for side in "ab")
    found = path_metric(a, b, CPU, l2=True)
    assert (
        found.path_metric.exact
        and found.path_metric.upper.log10 is None
        and "no changed coordinate" in found.path_metric.method
    )
    assert (
        found.bound.log10 is None and all(layer.share == 0 for layer in found.layers) and found.relative == 0
    )
    assert found.l2 is not None and found.l2.upper.log10 is None


def test_a_small_output_beside_a_large_one_has_an_interval_of_its_own() -> None:
    """Two outputs 2^200 apart, from one hidden tensor: each difference to its own rounding."""
    s = Sketch(x=(1, 2, 2))
    h = s.scale("x", np.array([2.0**100, 1, 1, 2.0**-100], np.float32).reshape(1, 2, 2))
    h = s.relu(s.scale(h, np.array([2.0**100, 1, 1, 2.0**-100], np.float32).reshape(1, 2, 2)))
    small = s.scale(h, np.array([0, 1, 1, 2.0**20], np.float32).reshape(1, 2, 2))
    a = s.network(h, small)
    b = paths.combine(a, a, lambda k, p, q: p * 0.75 if k == 0 else p)
    found = path_metric(a, b, CPU)
    for output, (name, right) in zip(found.outputs, paths.metric(a, b).items(), strict=True):
        assert output.upper.value == pytest.approx(right.sum(), rel=1e-5), name
