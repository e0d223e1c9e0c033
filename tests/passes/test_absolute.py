"""Path-norms against the enumeration of all paths, and in ranges where float32 or float64 alone would give
nothing."""

from math import log10
from pathlib import Path

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from oracle import paths
from oracle.networks import random_network, rescale
from oracle.sketch import Sketch
from reference import evaluate_absolute

from onnxpath.analyses.metric.norm import evaluate, path_norms
from onnxpath.engine.session import Device
from onnxpath.importer import load
from onnxpath.model.network import Network

DEVICES = {precision: Device("cpu", precision, 1) for precision in ("float32", "float64")}
# What a result may differ by, and how much smaller than the certificate of any of these networks that is.
TOLERANCE = {"float32": 2e-6, "float64": 1e-12}
QS = (0.0, 1.0, 2.0, 3.5, 4.0)
PRECISIONS = pytest.mark.parametrize("precision", list(DEVICES))
SEEDS = st.integers(0, 2**32 - 1)
MODELS = Path(__file__).resolve().parents[2] / "models"


def checked(
    network: Network, q: float, precision: str, exact: dict[str, np.ndarray], inputs: dict | None = None
) -> None:
    """Every output neuron, to TOLERANCE of the largest one, and within the certificate."""
    for name, reading in evaluate(network, q, DEVICES[precision], inputs).items():
        found = np.ldexp(reading.values.mantissa, reading.values.exponent).reshape(-1)
        lost = np.ldexp(reading.lost.mantissa, reading.lost.exponent)
        right = exact[name].reshape(-1)
        error = np.abs(found - right)
        # the oracle itself is a float64 sum of up to 2e4 products of 20 factors
        assert (error <= reading.rho * found + lost + 2e-14 * right).all()
        assert (error <= TOLERANCE[precision] * right + lost).all(), (found, right)
        assert lost <= 1e-6 * TOLERANCE[precision] * right.max() or right.max() == 0, (
            "nothing may be lost in such a network"
        )


@PRECISIONS
@pytest.mark.parametrize("q", QS)
@examples(7)
@given(seed=SEEDS, flavour=st.sampled_from(("plain", "sparse")))
def test_path_norm_is_the_norm_of_the_path_lifting(q: float, precision: str, seed: int, flavour: str) -> None:
    network = random_network(seed, flavour)
    exact = paths.norm(network, q)
    checked(network, q, precision, exact)
    (norm,) = path_norms(network, [q], DEVICES[precision]).norms
    right = sum(float(x.sum()) for x in exact.values()) ** (1 / q if q else 1)
    assert abs(norm.value.value - right) <= norm.relative_error * norm.value.value + 2e-14 * right
    assert norm.relative_error <= {"float32": 1e-3, "float64": 1e-10}[precision], (
        "a certificate that says something"
    )


@PRECISIONS
@examples(7)
@given(seed=SEEDS, q=st.sampled_from((1.0, 2.0, 3.5)))
def test_samples_weigh_the_paths_that_start_at_them(precision: str, seed: int, q: float) -> None:
    network = random_network(seed, "plain")
    rng = np.random.default_rng(seed)
    shape = network.shapes["x"]
    batch = rng.random((3, *shape[1:])) * (rng.random((3, *shape[1:])) > 0.3) * rng.choice([1e-3, 1, 1e4])
    readings = evaluate(network, q, DEVICES[precision], {"x": batch})
    for k, sample in enumerate(batch):
        exact = paths.norm(network, q, sample.reshape(-1))
        for name, reading in readings.items():
            found = np.ldexp(reading.values.mantissa, reading.values.exponent)[k].reshape(-1)
            assert np.abs(found - exact[name]).max() <= TOLERANCE[precision] * exact[name].max()


@PRECISIONS
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@examples(7)
@given(seed=SEEDS, q=st.sampled_from((1.0, 2.0)))
def test_rescaled_by_extreme_powers_of_two(dtype: type, precision: str, seed: int, q: float) -> None:
    """Channels that differ by 2**±100 (stored in float64; 2**±50 in float32): the same path-norms, to the
    same accuracy."""
    network = random_network(seed, "plain")
    twin = rescale(
        network,
        np.random.default_rng(seed),
        powers=True,
        size=100 if dtype == np.float64 else 50,
        dtype=dtype,
    )
    exact = paths.norm(network, q)
    for name, reading in evaluate(twin, q, DEVICES[precision]).items():
        found = np.ldexp(reading.values.mantissa, reading.values.exponent).reshape(-1)
        assert np.abs(found - exact[name]).max() <= 5 * TOLERANCE[precision] * exact[name].max()


@PRECISIONS
@examples(10)
@given(seed=SEEDS, q=st.sampled_from((0.0, 1.0, 2.0)))
def test_channels_of_any_size(precision: str, seed: int, q: float) -> None:
    """Output channels that differ by 10**±12 in every layer; each one is right within its certificate."""
    network = random_network(seed, "extreme")
    exact = paths.norm(network, q)
    for name, reading in evaluate(network, q, DEVICES[precision]).items():
        found = np.ldexp(reading.values.mantissa, reading.values.exponent).reshape(-1)
        lost = np.ldexp(reading.lost.mantissa, reading.lost.exponent)
        error = np.abs(found - exact[name])
        assert (error <= reading.rho * found + lost + 2e-14 * exact[name]).all()
        assert error.max() <= TOLERANCE[precision] * exact[name].max()


def _chain(*matrices: np.ndarray) -> Network:
    s = Sketch(x=(1, matrices[0].shape[0]))
    x = "x"
    for k, matrix in enumerate(matrices):
        x = s.matmul(s.relu(x) if k else x, matrix)
    return s.network(x)


@PRECISIONS
@pytest.mark.parametrize("q", [1.0, 2.0, 4.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ([[1e-30, 1.0]], [[1e30], [1.0]]),
        ([[1e30, 1.0]], [[1e-30], [1.0]]),
        ([[1e-30, 1.0], [1e-22, 1.0]], [[1e22], [1.0]]),
        ([[1e-30, 1e-30]], [[1e30, 0.0], [0.0, 1e-30]]),
        ([[3e38, 3e38], [3e38, 3e38]], [[3e38], [3e38]]),
        ([[1e-45, 0.0]], [[1.0], [1.0]]),
    ],
)
def test_tiny_and_huge_weights(first: list, second: list, dtype: type, q: float, precision: str) -> None:
    """Paths whose factors leave float32's range one by one and come back."""
    a, b = np.array(first, dtype), np.array(second, dtype)
    reading = evaluate(_chain(a, b), q, DEVICES[precision])
    (reading,) = reading.values()
    rows = [
        [q * (np.log2(float(w)) + np.log2(float(v))) for w, v in zip(a[i], b[:, o], strict=True) if w and v]
        for o in range(b.shape[1])
        for i in range(len(a))
    ]
    for o, value in enumerate(reading.values.flatten()):
        terms = [t for i in range(len(a)) for t in rows[o * len(a) + i]]
        assert value.log2 == pytest.approx(np.logaddexp2.reduce(terms), rel=1e-13, abs=1e-6)


@pytest.mark.parametrize("precision", list(DEVICES))
@pytest.mark.parametrize(
    ("power", "q"), [(60, 1.0), (140, 1.0), (300, 1.0), (60, 2.0), (140, 2.0), (200, 2.0)]
)
@pytest.mark.parametrize("upwards", [True, False])
def test_float64_weights_beyond_float32(power: int, q: float, upwards: bool, precision: str) -> None:
    """A float64 file whose channels were rescaled by 2**±power, far beyond what float32 can hold."""
    rng = np.random.default_rng(power)
    first, second = rng.standard_normal((4, 6)), rng.standard_normal((6, 3))
    factor = np.ldexp(1.0, np.array([power * upwards, -power, 0, power // 2 * upwards, -power // 2, 1]))
    plain, scaled = _chain(first, second), _chain(first * factor, second / factor[:, None])
    exact = paths.norm(plain, q)
    for name, reading in evaluate(scaled, q, DEVICES[precision]).items():
        found = np.ldexp(reading.values.mantissa, reading.values.exponent).reshape(-1)
        assert np.abs(found - exact[name]).max() <= 5 * TOLERANCE[precision] * exact[name].max()


@PRECISIONS
@pytest.mark.parametrize("power", [50, 140, 250])
def test_a_dead_channel_beside_huge_ones(power: int, precision: str) -> None:
    """x -> W x has a channel of 2**power and a dead one; a branch of ordinary size is added; then 2**-power
    takes it back."""
    s = Sketch(x=(1, 2))
    huge = s.matmul("x", np.diag([2.0**power, 0.0]))
    ordinary = s.matmul("x", np.diag([3.0, 5.0]).astype(np.float32))
    total = s.relu(s.add(huge, ordinary))
    network = s.network(s.matmul(total, np.array([[2.0**-power], [1.0]])))
    (reading,) = evaluate(network, 1, DEVICES[precision]).values()
    assert reading.total().value == pytest.approx(6.0 + 3 * 2.0**-power, rel=1e-6)


def _deep(blocks: int, gain: float, seed: int = 0) -> tuple[Network, list[tuple[np.ndarray, ...]]]:
    rng = np.random.default_rng(seed)
    s, layers, x = Sketch(x=(1, 5)), [], "x"
    for _ in range(blocks):
        a, b = (rng.standard_normal((5, 5)) * gain for _ in range(2))
        c = rng.standard_normal(5) * gain
        layer = tuple(p.astype(np.float32) for p in (a, b, c))
        layers.append(layer)
        x = s.relu(s.add(x, s.matmul(s.relu(s.matmul(x, layer[0], layer[2])), layer[1])))
    return s.network(x), layers


def _deep_log2(layers: list[tuple[np.ndarray, ...]], q: float) -> np.ndarray:
    """log2 of the q-th powers' sums at every output, mantissas and exponents apart."""
    value, exponent = np.ones(5), 0
    for layer in layers:
        a, b, c = (np.abs(p.astype(np.float64)) ** q for p in layer)
        value = value + (value @ a + np.ldexp(c, -min(exponent, 2000))) @ b
        shift = int(np.floor(np.log2(value.max())))
        value, exponent = np.ldexp(value, -shift), exponent + shift
    return np.log2(value) + exponent


@pytest.mark.parametrize(("q", "precision"), [(1.0, "float32"), (2.0, "float64")])
def test_four_hundred_residual_blocks(q: float, precision: str) -> None:
    """A path-norm beyond float64 has a finite logarithm that is right to 1e-6, and a value of None."""
    network, layers = _deep(400, q)
    right = _deep_log2(layers, q)
    assert right.max() > 1500
    (reading,) = evaluate(network, q, DEVICES[precision]).values()
    found = np.array([value.log2 for value in reading.values.flatten()])
    # 400 blocks of 3 rounded sums: 1e-4 relative in float32, as a difference of logarithms
    assert np.abs(found - right).max() <= {"float32": 1e-4, "float64": 1e-11}[precision]
    (norm,) = path_norms(network, [q], DEVICES[precision]).norms
    expected = (np.logaddexp2.reduce(right) / q) * log10(2)
    assert norm.value.value is None
    assert norm.value.log10 == pytest.approx(expected, rel=1e-6 if precision == "float32" else 1e-13)
    assert norm.relative_error < (2e-2 if precision == "float32" else 1e-9)


@pytest.mark.parametrize("q", [1.0, 2.0])
def test_very_small_path_norms(q: float) -> None:
    """Values below float64's smallest number: the logarithm is finite and right."""
    network = _chain(*[np.full((3, 3), 1e-30, np.float32)] * 14)
    (norm,) = path_norms(network, [q], DEVICES["float32"]).norms
    right = (14 * q * np.log10(np.float64(np.float32(1e-30))) + 15 * log10(3)) / q
    assert norm.value.log10 == pytest.approx(right, rel=1e-7)


@PRECISIONS
def test_no_path_at_all(precision: str) -> None:
    network = _chain(np.zeros((3, 2), np.float32), np.ones((2, 2), np.float32))
    for norm in path_norms(network, QS, DEVICES[precision], per_output=True).norms:
        assert (norm.value.value, norm.value.log10, norm.relative_error) == (
            0.0,
            None,
            pytest.approx(0.0, abs=1e-6),
        )


@PRECISIONS
def test_path_count_of_a_deep_network(precision: str) -> None:
    """q = 0 counts paths, exactly while they fit the mantissa: 3 ** 9 of them here, with one weight of ten
    removed."""
    weights = [np.ones((3, 3), np.float32) for _ in range(9)]
    assert path_norms(_chain(*weights), [0.0], DEVICES[precision]).norms[0].value.value == 3**10
    weights[4][1, 2] = 0
    assert path_norms(_chain(*weights), [0.0], DEVICES[precision]).norms[0].value.value == 3**10 - 3**8


@PRECISIONS
@pytest.mark.parametrize("file", sorted(path.name for path in MODELS.glob("*.onnx")))
def test_models(file: str, precision: str) -> None:
    """The trained models, against the reference's absolute pass, on ones and on a sample."""
    network = load(MODELS / file)
    (name,) = network.inputs
    rng = np.random.default_rng(0)
    for x in (np.ones(network.shapes[name]), rng.random(network.shapes[name])):
        for q in (1.0, 2.0):
            right = evaluate_absolute(network, {name: x**q}, q)
            (reading,) = evaluate(network, q, DEVICES[precision], {name: x}).values()
            found = np.ldexp(reading.values.mantissa, reading.values.exponent)
            np.testing.assert_allclose(found, right[network.outputs[0]], rtol=TOLERANCE[precision])
            assert (np.abs(found - right[network.outputs[0]]) <= reading.rho * found).all()


@PRECISIONS
def test_bias_by_position_under_channels_of_different_size(precision: str) -> None:
    """y = W x + b with b along the last axis: it is the same for channels of 2**100 and of 2**-100."""
    s = Sketch(x=(1, 3, 3))
    network = s.network(
        s.matmul("x", np.diag([2.0**100, 1.0, 2.0**-100]), np.array([2.0**-99, 0.0, 2.0**-98]), side="left")
    )
    (reading,) = evaluate(network, 1, DEVICES[precision]).values()
    found = np.ldexp(reading.values.mantissa, reading.values.exponent)[0]
    np.testing.assert_allclose(found[2], [3 * 2.0**-100, 2.0**-100, 5 * 2.0**-100], rtol=1e-6)


def test_profiles_bound_every_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    """With profiles switched on for small networks, every lane stays below 2**log2 times its profile, cell by
    cell."""
    from onnxpath.engine.plan import Output, Plan
    from onnxpath.lanes import absolute, tracer

    monkeypatch.setattr(tracer, "deep", lambda network: True)
    for seed in range(60):
        network = random_network(seed)
        tracer, lanes = absolute.trace(network, 1.0, DEVICES["float64"], dict.fromkeys(network.inputs, 0.0))
        outputs = {
            name: Output(tracer.graph.output(lane.tensor), lane.exponent)
            for name, lane in lanes.items()
            if name not in network.inputs
        }
        found = Plan(tracer.graph, tracer.graph_exponents, outputs, DEVICES["float64"]).run(
            absolute.ones(network)
        )
        for name, reading in found.items():
            lane, values = lanes[name], reading.values
            true = np.ldexp(values.mantissa, np.broadcast_to(values.exponent, values.mantissa.shape))
            cells = 1.0 if lane.profile is None else lane.profile
            assert (true <= np.exp2(np.broadcast_to(lane.log2, true.shape)) * cells * (1 + 1e-6)).all(), (
                seed,
                name,
            )
