"""Every record of an extension activation: its constants hold for the function, by dense search and on random
pairs, and are not loose; its graph computes it, and its slope, in both precisions."""

import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from reference_activations import FUNCTIONS, samples

from onnxpath.ops import OPERATORS
from onnxpath.ops.activation import FUNCTIONS as RECORDS
from onnxpath.ops.function import Constants
from ops.cases import CASES
from ops.test_adjoints import Bench

ALL = [pytest.param(name, p, id=f"{name}{list(p)}") for name in FUNCTIONS for p in samples(name)]
# beside 0, the kinks and the extrema: all slopes are largest, and all ranges attained or approached, within
#     this interval
GRID = np.concatenate(
    [np.linspace(-40, 40, 400_001), np.geomspace(1e-12, 1e6, 2_000), -np.geomspace(1e-12, 1e6, 2_000), [0.0]]
)
# the oracle computes f in float64: a few units in the last place of what it adds up
NOISE = 8e-16


def value(name: str, p: tuple, x: np.ndarray) -> np.ndarray:
    return FUNCTIONS[name](torch.from_numpy(np.asarray(x, np.float64)), *p).numpy()


def slope(name: str, p: tuple, x: np.ndarray) -> np.ndarray:
    points = torch.tensor(np.asarray(x, np.float64), requires_grad=True)
    FUNCTIONS[name](points, *p).sum().backward()
    return points.grad.numpy()


def test_every_record_has_an_oracle() -> None:
    assert set(RECORDS) == set(FUNCTIONS)
    for name, record in RECORDS.items():
        assert all(len(p) == len(record.parameters) for p in samples(name))


@pytest.mark.parametrize(("name", "p"), ALL)
def test_constants_by_dense_search(name: str, p: tuple) -> None:
    c = RECORDS[name].constants(*p)
    y = value(name, p, GRID)
    # the oracle's softplus is exp and log: relative rounding only
    noise = NOISE * (1 + np.abs(y))
    assert (y >= c.infimum - noise).all()
    assert (y <= c.supremum + noise).all()
    assert abs(value(name, p, np.zeros(1))[0]) <= c.at_zero + NOISE
    found = np.abs(slope(name, p, GRID))
    assert found.max() <= c.lipschitz * (1 + 1e-14)
    assert (np.abs(y) <= c.at_zero + c.lipschitz * np.abs(GRID) + c.jump + noise).all()
    # tight: a coarser constant would cost bounds
    assert found.max() >= c.lipschitz * (1 - 2e-3) or p in [(2.0, 2.0), (0.0,), (1.0, 0.0)]
    for limit, extreme in ((c.infimum, y.min()), (c.supremum, y.max())):
        assert math.isinf(limit) or abs(limit - extreme) <= 1e-4 * max(1.0, abs(limit)), (limit, extreme)


@pytest.mark.parametrize(("name", "p"), ALL)
@settings(max_examples=60, deadline=None, derandomize=True)
@given(s=st.floats(-1e6, 1e6), t=st.floats(-60, 60), near=st.floats(-1, 1))
@example(s=20.0, t=20.0, near=1e-9)
def test_pairs(name: str, p: tuple, s: float, t: float, near: float) -> None:
    c = RECORDS[name].constants(*p)
    for x, y in ((s, t), (t, t + near), (t, t + 1e-6 * near)):
        fx, fy = value(name, p, np.array([x, y]))
        noise = NOISE * (1 + abs(x) + abs(y))
        assert abs(fx - fy) <= c.lipschitz * abs(x - y) + c.jump + noise
        assert abs(fx - fy) <= c.width + noise
        assert abs(fx - fy) <= max(abs(fx), abs(fy)) + c.beyond_zero + noise
        assert max(abs(fx), abs(fy)) <= c.size + noise


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize(("name", "p"), ALL)
def test_graph_of_value_and_slope(name: str, p: tuple, precision: str) -> None:
    """In float64 to rounding, whether or not ONNX Runtime has the operator; infinite inputs aside, nothing
    overflows on the way."""
    site = CASES["Activation"][f"{name}{list(p)}"]
    x = np.concatenate([np.linspace(-30, 30, 1201) + 1e-3, [-1e4, 1e4, 0.1234]])
    x = x.astype(np.float32).astype(np.float64).reshape(1, -1)
    bench = Bench(precision)
    tensor = bench.bind(x)
    emitted = [
        OPERATORS["Activation"].emit(bench.graph, site, [tensor]),
        OPERATORS["Activation"].adjoints["slope"](bench.graph, site, tensor),
    ]
    y, dy = bench.read(*emitted)
    unit = {"float32": 6e-7, "float64": 2e-15}[precision]
    assert (np.abs(y - value(name, p, x)) <= 4 * unit * (1 + np.abs(x))).all()
    # Sin and Cos of large float32 arguments, and x q'(x), amplify rounding by |x|
    assert (
        np.abs(dy - slope(name, p, x))
        <= 4 * unit * (1 + np.abs(x)) * (1 + max(map(abs, (0.0, *(v for v in p if math.isfinite(v))))))
    ).all()


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("label", list(CASES["PRelu"]))
def test_slope_of_prelu(label: str, precision: str) -> None:
    site, bench = CASES["PRelu"][label], Bench(precision)
    x, slopes = (
        np.random.default_rng(0).standard_normal(site.input_shapes[0]).astype(np.float32),
        site.node.weight.base,
    )
    found = OPERATORS["PRelu"].adjoints["slope"](bench.graph, site, bench.bind(x), bench.bind(slopes))
    assert np.array_equal(bench.read(found)[0], np.where(x > 0, 1.0, np.broadcast_to(slopes, x.shape)))


def test_relu_is_a_record_too() -> None:
    c = OPERATORS["Relu"].constants(CASES["Relu"]["any"])
    assert c == Constants(1.0, 0.0) and c.beyond_zero == 0 and math.isinf(c.size)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(scale=st.floats(0.5, 2), off=st.floats(-1e-3, 1e-3))
def test_gelu_tanh_near_the_ideal_coefficient(scale: float, off: float) -> None:
    """The constants hold for coefficients as a half-precision file holds them."""
    p = (scale, 0.044715 * (1 + off))
    c, x = RECORDS["GeluTanh"].constants(*p), np.linspace(-6, 6, 4001)
    assert np.abs(slope("GeluTanh", p, x)).max() <= c.lipschitz
    assert value("GeluTanh", p, x).min() >= c.infimum


@settings(max_examples=200, deadline=None, derandomize=True)
@given(alpha=st.floats(0.01, 5), beta=st.floats(0, 2))
def test_hard_swish_of_any_gate(alpha: float, beta: float) -> None:
    c = RECORDS["HardSwish"].constants(alpha, beta)
    x = np.unique(
        np.concatenate(
            [
                np.linspace(-2 / alpha, 2 / alpha, 2001),
                [-beta / (2 * alpha), -beta / alpha, (1 - beta) / alpha],
            ]
        )
    )
    y = value("HardSwish", (alpha, beta), x)
    assert (y >= c.infimum - 1e-14 * (1 + 1 / alpha)).all()
    assert (np.abs(np.diff(y)) <= c.lipschitz * np.diff(x) + 1e-14 * (1 + 1 / alpha)).all()
