"""The rounding certificate: its formula, and float32 results that stay within it on random networks."""

from fractions import Fraction

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from oracle.networks import FLAVOURS, perturb, random_network
from oracle.sketch import Sketch

from onnxpath.analyses.metric.metric import path_metric
from onnxpath.analyses.metric.norm import evaluate, path_norms
from onnxpath.engine.certificate import gamma, relative_error
from onnxpath.engine.session import Device

FLOAT32, FLOAT64 = Device("cpu", "float32", 1), Device("cpu", "float64", 1)
UNITS = {"float32": Fraction(1, 2**24), "float64": Fraction(1, 2**53)}
SEEDS = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize("dtype", UNITS)
@pytest.mark.parametrize("k", [0, 1, 2, 10, 1000, 10**6])
def test_gamma_is_ku_over_one_minus_ku(dtype: str, k: int) -> None:
    ku = k * UNITS[dtype]
    assert gamma(k, np.dtype(dtype)) == pytest.approx(float(ku / (1 - ku)), rel=1e-15)


def test_no_certificate_beyond_the_unit() -> None:
    assert gamma(2**24, np.dtype("float32")) == float("inf")
    assert relative_error(2**23, np.dtype("float32")) == float("inf"), (
        "gamma = 1: a computed 0 may stand for anything"
    )
    assert relative_error(2**24, np.dtype("float64")) < 1e-8


@pytest.mark.parametrize("k", [1, 7, 4096, 2**22])
def test_relative_error_covers_both_sides(k: int) -> None:
    """|t - c| <= γ t implies c (1 - ρ) <= t <= c (1 + ρ), for the smallest and the largest t that c can stand
    for."""
    ku = k * UNITS["float32"]
    g, rho = ku / (1 - ku), Fraction(relative_error(k, np.dtype("float32"))) + Fraction(1, 2**50)
    for c in (Fraction(1), Fraction(3, 7)):
        smallest, largest = c / (1 + g), c / (1 - g)
        assert c * (1 - rho) <= smallest <= largest <= c * (1 + rho)


@pytest.mark.parametrize("terms", [1, 10, 1000, 60_000])
def test_certificate_grows_with_the_terms_of_a_sum(terms: int) -> None:
    """One sum of K products: at least γ_K, at most a few roundings more; the float32 sum lies within."""
    rng = np.random.default_rng(terms)
    weight = rng.random((terms, 1)).astype(np.float32)
    s = Sketch(x=(1, terms))
    network = s.network(s.matmul("x", weight))
    (reading,) = evaluate(network, 1, FLOAT32).values()
    assert (
        gamma(terms, np.dtype("float32"))
        <= reading.rho
        <= gamma(terms + 5, np.dtype("float32")) * (1 + 3 * gamma(terms + 5, np.dtype("float32")))
    )
    exact, found = float(weight.astype(np.float64).sum()), reading.total().value
    assert abs(found - exact) <= reading.rho * found


def _close(low, high) -> None:
    """A float32 reading and the float64 one: every neuron within both certificates."""
    a, b = (np.ldexp(r.values.mantissa, r.values.exponent) for r in (low, high))
    lost = sum(np.ldexp(r.lost.mantissa, r.lost.exponent) for r in (low, high))
    assert (np.abs(a - b) <= low.rho * a + high.rho * b + lost).all()
    assert high.rho < 1e-6 * low.rho


@examples(15)
@given(seed=SEEDS, flavour=st.sampled_from(FLAVOURS), q=st.sampled_from((0.0, 1.0, 2.0, 3.5)))
def test_float32_stays_within_its_certificate(seed: int, flavour: str, q: float) -> None:
    network = random_network(seed, flavour, limit=10**9)
    low, high = (evaluate(network, q, device) for device in (FLOAT32, FLOAT64))
    for name in network.outputs:
        _close(low[name], high[name])


@examples(10)
@given(
    seed=SEEDS,
    kind=st.sampled_from(("monotone", "retrained", "one layer", "flipped")),
    flavour=st.sampled_from(FLAVOURS),
)
def test_intervals_of_both_precisions_overlap(seed: int, kind: str, flavour: str) -> None:
    a = random_network(seed, flavour, limit=10**9)
    b = perturb(a, kind, np.random.default_rng(seed))
    low, high = (path_metric(a, b, device).path_metric for device in (FLOAT32, FLOAT64))
    assert low.exact == high.exact
    ends = []
    for found in (low, high):
        ends.append(
            (found.lower.value * (1 - found.relative_error), found.upper.value * (1 + found.relative_error))
        )
    assert max(x for x, _ in ends) <= min(y for _, y in ends) * (1 + 1e-12)


@examples(8)
@given(seed=SEEDS, q=st.sampled_from((0.5, 1.0, 2.0, 4.0)))
def test_roots_keep_the_certificate(seed: int, q: float) -> None:
    network = random_network(seed, "plain", limit=10**9)
    low, high = (path_norms(network, [q], device).norms[0] for device in (FLOAT32, FLOAT64))
    assert (
        abs(low.value.value - high.value.value)
        <= low.relative_error * low.value.value + high.relative_error * high.value.value
    )
