"""Generalization bounds: every constant against an independent high-precision calculation, every condition
against small networks."""

from math import inf, log, sqrt

import mpmath
import numpy as np
import pytest
from oracle.architectures import resnet18
from oracle.networks import random_network
from oracle.sketch import Sketch
from reference import path_norm

from onnxpath.analyses.theory import architecture, generalization, lifting
from onnxpath.analyses.theory.generalization import entropy_integral
from onnxpath.analyses.theory.neurons import graph
from onnxpath.analyses.theory.normalized import channel_norm
from onnxpath.engine.session import Device
from onnxpath.errors import UsageError
from onnxpath.model.network import Network

FLOAT64 = Device("cpu", "float64")


def exact_integral(constant: float, terms: list[tuple[float, float]]) -> float:
    """∫₀¹ √(c + Σ m ln(1 + a/u)) du with 40 digits, through u = e^-s."""
    with mpmath.workdps(40):

        def integrand(s: mpmath.mpf) -> mpmath.mpf:
            inside = mpmath.mpf(constant) + sum(
                mpmath.mpf(m) * mpmath.log1p(mpmath.mpf(a) * mpmath.exp(s)) for m, a in terms
            )
            return mpmath.sqrt(inside) * mpmath.exp(-s)

        return float(mpmath.quad(integrand, [0, 1, 3, 8, 20, 60, 120, mpmath.inf]))


@pytest.mark.parametrize(
    "terms", [[(1, 4)], [(1, 4000)], [(11_689_512, 4000)], [(3, 0.5), (7, 40)], [(1, 1e-3)], [(0, 4), (5, 4)]]
)
@pytest.mark.parametrize("constant", [log(2), 0.0, 1000.0])
def test_integrals_are_enclosed_tightly(constant: float, terms: list[tuple[float, float]]) -> None:
    found, true = entropy_integral(constant, terms), exact_integral(constant, terms)
    assert found.lower <= true <= found.upper
    assert found.upper <= found.lower * (1 + 1e-5)


def mlp(widths: list[int], bias: bool = False, seed: int = 0) -> Network:
    s, rng, x = Sketch(x=(1, widths[0])), np.random.default_rng(seed), "x"
    for k, (n, m) in enumerate(zip(widths, widths[1:], strict=False)):
        x = s.matmul(x, rng.standard_normal((n, m)), rng.standard_normal(m) if bias else None)
        x = s.relu(x) if k + 2 < len(widths) else x
    return s.network(x)


@pytest.mark.parametrize("widths", [[4, 1], [5, 3, 1], [6, 4, 3, 2], [3, 2, 2, 2, 2, 9]])
def test_constants_by_hand(widths: list[int]) -> None:
    """Theorem 5.1 and Gonon et al. (2024) with D, d_in, d_out, #params read off the widths, and r from the
    reference."""
    network, n, bound, lipschitz = mlp(widths), 5000, 2.5, 1.7
    found = generalization.generalization(network, n, bound, lipschitz, device=FLOAT64)
    depth, params, r = (
        len(widths) - 1,
        sum(a * b for a, b in zip(widths, widths[1:], strict=False)),
        path_norm(network),
    )
    scale = lipschitz * bound * r / sqrt(n)
    first = 24 * sqrt(2) * sqrt(params) * exact_integral(log(2), [(1, 4 * max(depth, widths[-1]))])
    output = widths[-2] * widths[-1]
    second = (
        24
        * sqrt(2)
        * exact_integral(params * log(2), [(params - output, 4 * max(1, depth - 1)), (output, 4)])
    )
    third = 4 * sqrt(depth * log(3) + log(3 * (widths[0] + 1) * widths[-1]))
    for gap, constant in zip(found.gaps, (first, second, third), strict=True):
        assert constant <= gap.constant <= constant * (1 + 1e-5)
        assert constant * scale * (1 - 1e-12) <= gap.value.value <= constant * scale * (1 + 2e-5)
        # the samples at which the same bound is the target
        assert constant * lipschitz * bound * r / sqrt(gap.samples_needed.value) == pytest.approx(
            1.0, rel=1e-4
        )
    assert found.gaps[1].value.value <= found.gaps[0].value.value * (1 + 1e-6)


def test_resnet18() -> None:
    """D = 20, K = 9, P = 1 and 11,684,712 parameters: PyTorch's 11,689,512 less one of two numbers per
    normalized channel."""
    network = resnet18(64, 32, 1000)
    found = architecture.read(network)
    assert (found.depth, found.kernel, found.pools) == (20, 9, 1)
    assert found.parameters == 11_689_512 - 4_800
    assert (found.inputs, found.outputs) == (3 * 32 * 32, 1000)
    # one number per channel for the skip of the five blocks without a convolution on it; the other sums are
    # rows of weights
    assert found.hidden + found.output == found.parameters + 64 + 64 + 128 + 256 + 512
    assert found.levels == 17  # hidden rows: 17 convolutions, the last of a block with the sum
    expected = sqrt(20 * log(5 * 9) + log(5 / 2 * (3 * 32 * 32 + 1) * 1000))
    assert generalization.gonon_2024(found) == pytest.approx(4 * expected, rel=1e-11)
    integral = exact_integral(found.parameters * log(2), [(found.hidden + found.output, 4 * 1000)])
    assert generalization.theorem_51(found) == pytest.approx(24 * sqrt(2) * integral, rel=1e-5)


def test_what_has_to_be_covered() -> None:
    """Hidden and output numbers, and hidden rows on a path, of small networks counted by hand."""

    def counted(network: Network) -> tuple[int, int, int]:
        found = architecture.read(network)
        return found.hidden, found.output, found.levels

    w = np.ones((2, 2))
    assert counted(mlp([3, 4, 5, 2], bias=True)) == (3 * 4 + 4 + 4 * 5 + 5, 5 * 2 + 2, 2)
    s = Sketch(x=(1, 2))
    h = s.relu(s.matmul("x", w))
    # a residual sum of a layer (its row goes on) and a skip (2 numbers), then the output
    assert counted(s.network(s.matmul(s.relu(s.add(s.matmul(h, w), h)), w))) == (4 + 4 + 2, 4, 2)
    s = Sketch(x=(1, 2))
    h = s.relu(s.matmul("x", w))
    assert counted(s.network(s.add(s.matmul(h, w), h))) == (
        4 + 4,
        2,
        1,
    )  # the sum is the output, and its layer among the hidden rows
    s = Sketch(x=(1, 2))
    h = s.relu(s.matmul("x", w))
    assert counted(s.network(s.add(s.relu(s.matmul(h, w)), h))) == (
        4 + 4,
        2 + 2,
        2,
    )  # two branches without weights
    s = Sketch(x=(1, 2, 4))
    pooled = s.network(s.average_pool(s.relu(s.conv("x", np.ones((3, 2, 1)), np.ones(3))), (4,)))
    assert counted(pooled) == (6 + 3, 3, 1)  # an average as the output: one number per channel
    s = Sketch(x=(1, 2))
    h = s.matmul("x", w)
    assert counted(s.network(s.matmul(s.relu(h), w), h)) == (
        4,
        4 + 2,
        1,
    )  # a hidden tensor that is an output too
    s = Sketch(x=(1, 2))
    shared = s.matmul("x", w)
    again = s._nodes[0].weight
    found = architecture.read(s.network(s.matmul(s.relu(shared), again)))
    assert (found.parameters, found.hidden + found.output) == (4, 8)  # normalized differently in either place


def cross_entropy(y: np.ndarray, c: int) -> float:
    return float(np.logaddexp.reduce(y) - y[c])


def margin_loss(y: np.ndarray, c: int, gamma: float) -> float:
    return float(np.clip(1 - (y[c] - np.delete(y, c).max()) / gamma, 0, 1))


def test_lipschitz_constants_of_losses() -> None:
    """Above every difference quotient in ℓ2, and approached."""
    rng, best = np.random.default_rng(0), [0.0, 0.0]
    for _ in range(4000):
        y = rng.standard_normal(4) * rng.choice([0.1, 3.0, 30.0])
        z = y + rng.standard_normal(4) * rng.choice([1e-3, 1.0])
        if rng.random() < 0.3:
            y = np.array([-40.0, 40.0, -90.0, -90.0])
            z = y + 1e-3 * np.array([1, -1, 0, 0])
        gamma, step = 0.3, float(np.linalg.norm(y - z))
        for k, loss in enumerate((cross_entropy, lambda v, c, gamma=gamma: margin_loss(v, c, gamma))):
            best[k] = max(best[k], abs(loss(y, 0) - loss(z, 0)) / step)
    y, z = np.array([0.2, 0.0]), np.array([0.1, 0.1])
    best[1] = max(
        best[1], abs(margin_loss(y, 0, 0.3) - margin_loss(z, 0, 0.3)) / float(np.linalg.norm(y - z))
    )
    for value, constant in zip(
        best, (generalization.CROSS_ENTROPY, generalization.margin_lipschitz(0.3)), strict=True
    ):
        assert 0.99 * constant <= value <= constant * (1 + 1e-9)


@pytest.mark.parametrize("widths", [[1, 1], [1, 1, 1], [2, 1, 1], [1, 2, 1]])
def test_separated_points_are_no_more_than_the_covering_number(widths: list[int]) -> None:
    """Points of Φ(Θ), ‖Φ‖₁ <= 1 in one orthant, that are more than 2t apart need a ball of radius t each."""
    rng, network = np.random.default_rng(1), mlp(widths)
    found, paths = architecture.read(network), lifting.lift(network)
    points = []
    for _ in range(400):
        phi = paths.coordinates(np.abs(rng.standard_normal(paths.graph.weight.size)))
        points.append(phi / np.abs(phi).sum() * rng.random())
    for t in (0.5, 0.1, 0.02):
        separated: list[np.ndarray] = []
        for point in points:
            if all(np.abs(point - other).sum() > 2 * t for other in separated):
                separated.append(point)
        assert log(len(separated)) <= generalization.covering_log(found, t)


def test_covering_numbers_as_a_function_of_the_radius() -> None:
    found = architecture.read(mlp([6, 4, 3]))
    for t in (2.0, 1.0, 1e-3):
        assert generalization.covering_log(found, t) == pytest.approx(36 * log(1 + 4 * 3 / t))
    result = generalization.generalization(mlp([6, 4, 3]), 10, radii=(0.5,), device=FLOAT64)
    assert [item.relative for item in result.covering] == [0.5]
    assert result.covering[0].radius.value == pytest.approx(0.5 * result.norm.value)


def test_norm_of_whole_kernels() -> None:
    """Equal to ‖Φ‖₁ without padding; with it, every neuron counts as one inside."""
    for seed in range(80):
        network = random_network(seed, "plain", 3000)
        whole, norm = channel_norm(network).value, path_norm(network)
        assert whole >= norm * (1 - 1e-12)
    s, kernel = Sketch(x=(1, 1, 4, 4)), np.arange(9.0).reshape(1, 1, 3, 3)
    padded = s.network(s.conv("x", kernel, pads=(1, 1, 1, 1)))
    assert channel_norm(padded).value == pytest.approx(16 * 36.0, rel=1e-7)
    t = Sketch(x=(1, 1, 6, 6))
    inner = t.network(t.conv("x", kernel))
    assert channel_norm(inner).value == pytest.approx(path_norm(inner), rel=1e-7)
    u, rng = (
        Sketch(x=(1, 2, 9, 9)),
        np.random.default_rng(0),
    )  # averages and fixed coefficients do not mix channels
    x = u.average_pool(u.relu(u.conv("x", rng.standard_normal((5, 2, 2, 2)), rng.standard_normal(5))), (4, 4))
    pooled = u.network(
        u.matmul(u.flatten(u.max_pool(x, (2, 2))), rng.standard_normal((5, 3)), rng.standard_normal(3))
    )
    assert channel_norm(pooled).value == pytest.approx(path_norm(pooled), rel=1e-7)
    result = generalization.generalization(padded, 100, device=FLOAT64)
    assert result.gaps[0].r == result.gaps[1].r == result.whole and result.gaps[2].r == result.norm
    assert any("zero padding: at 1 nodes" in note for note in result.notes)


def test_directed_regular_partitions() -> None:
    """Classes by channel are always directed; where they are not regular, a padded node is to blame
    (Definition G.3)."""
    broken = 0
    for seed in range(150):
        network = random_network(seed, "plain", 3000)
        g = graph(network)
        classes = architecture.partition(network, g)
        assert architecture.directed(g, classes)
        wrong = architecture.regular(g, classes)
        broken += wrong.size > 0
        assert wrong.size == 0 or architecture.irregular(network)
    assert broken > 10
    s = Sketch(x=(1, 1, 4))
    network = s.network(s.conv("x", np.ones((1, 1, 3)), pads=(1, 1)))
    g = graph(network)
    wrong = architecture.regular(g, architecture.partition(network, g))
    assert wrong.tolist() == [5, 6] and architecture.irregular(network) == (
        "conv_0",
    )  # the first neuron is at the border
    assert not architecture.directed(g, np.zeros(g.kind.size, int))


def reasons(network: Network) -> list[str | None]:
    return [why for *_, why in generalization.rates(architecture.read(network))]


def test_rows_of_table_3() -> None:
    linear, two, three = mlp([5, 1]), mlp([5, 3, 1]), mlp([5, 3, 3, 1])
    assert reasons(linear) == [None, "has depth 1, not 2", None, None, None, None]
    assert reasons(two) == ["has depth 2, not 1", None, None, None, None, None]
    assert reasons(three)[:4] == ["has depth 3, not 1", "has depth 3, not 2", None, None]
    assert reasons(mlp([5, 3, 2]))[:4] == ["has 2 outputs"] * 4
    assert reasons(mlp([5, 3, 1], bias=True))[:4] == ["has biases"] * 4
    s = Sketch(x=(1, 1, 6))
    conv = s.network(s.matmul(s.flatten(s.relu(s.conv("x", np.ones((2, 1, 3))))), np.ones((8, 1))))
    assert reasons(conv)[:4] == [
        *["is not a chain of fully connected layers"] * 2,
        None,
        "is not a chain of fully connected layers",
    ]
    t = Sketch(x=(1, 1, 6))
    assert reasons(t.network(t.reduce("ReduceMax", "x", (1, 2))))[2] == "has max-pooling"
    values = {rate: value for _, rate, value, _ in generalization.rates(architecture.read(three))}
    assert values["√ln d_in"] == pytest.approx(sqrt(log(5))) and values["2^D √ln d_in"] == pytest.approx(
        8 * sqrt(log(5))
    )
    assert values["√(D + ln d_in)"] == pytest.approx(sqrt(3 + log(5))) and values[
        "√(D ln K + ln(d_in d_out))"
    ] == pytest.approx(sqrt(log(5)))
    assert values["√#params ∫₀¹ √(ln 2 + ln(1 + 4 max(D, d_out) / u)) du"] == pytest.approx(
        sqrt(27) * exact_integral(log(2), [(1, 12)]), rel=1e-5
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": 0}, "number of samples"),
        ({"input_bound": -1.0}, "input bound"),
        ({"input_bound": inf}, "input bound"),
        ({"loss_lipschitz": 0.0}, "Lipschitz constant"),
        ({"loss_lipschitz": 1.0, "margin": 1.0}, "not both"),
        ({"margin": -1.0}, "margin"),
        ({"target": float("nan")}, "target"),
        ({"radii": (0.0,)}, "radius"),
    ],
)
def test_arguments_are_checked(options: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        generalization.generalization(mlp([2, 1]), **({"samples": 10} | options))


def test_bounds_scale_as_they_should() -> None:
    network = mlp([5, 3, 1])
    base = generalization.generalization(network, 100, device=FLOAT64)
    for options, factor in (
        ({"samples": 400}, 0.5),
        ({"input_bound": 3.0}, 3.0),
        ({"input_bound": 0.2}, 1.0),
        ({"margin": 0.5}, 2.0),
    ):
        found = generalization.generalization(network, **({"samples": 100} | options), device=FLOAT64)
        for one, other in zip(base.gaps, found.gaps, strict=True):
            assert other.value.value == pytest.approx(factor * one.value.value, rel=1e-9)
