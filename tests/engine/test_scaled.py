"""Numbers with an exponent of their own: exponents are int64 everywhere, and what is unbounded stays
unbounded."""

import re
from fractions import Fraction
from math import inf, nan
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle.sketch import Sketch

import onnxpath
from onnxpath.analyses.bound.intervals import output_intervals
from onnxpath.analyses.check.budgets import QUANTITIES, exceeds
from onnxpath.cli.output import number as shown
from onnxpath.engine.scaled import Scaled, ScaledArray, frexp, ldexp
from onnxpath.engine.session import Device
from onnxpath.errors import UsageError
from onnxpath.model.domain import Domain
from onnxpath.model.matching import match
from onnxpath.ops.quantizer import Quantization
from onnxpath.records.document import number

PACKAGE = Path(onnxpath.__file__).parent
UNBOUNDED = Scaled(inf)


def test_exponents_come_from_one_place() -> None:
    """`np.frexp` gives int32, in which 1 << 40 is 0: no other file calls it, nor what takes such exponents
    back."""
    callers = [
        path.name
        for path in PACKAGE.rglob("*.py")
        if re.search(r"\bnp\.(frexp|ldexp)\b|numpy import .*(frexp|ldexp)", path.read_text())
    ]
    assert callers == ["scaled.py"]


@settings(deadline=None)
@given(st.floats(allow_nan=False), st.sampled_from([np.float32, np.float64]))
def test_frexp_takes_a_number_apart(value: float, dtype: type) -> None:
    with np.errstate(over="ignore"):
        value = dtype(value)
    mantissa, exponent = frexp(np.array([value]))
    assert exponent.dtype == np.int64
    assert np.where(exponent < 1 << 20, exponent, 1 << 40).dtype == np.int64
    if np.isfinite(value):
        assert value == 0 or 0.5 <= abs(mantissa[0]) < 1
        assert Fraction(float(mantissa[0])) * Fraction(2) ** int(exponent[0]) == Fraction(float(value))
    else:
        assert mantissa[0] == value
        assert exponent[0] == 0


@pytest.mark.parametrize("exponent", [1 << 31, 1 << 32, (1 << 40) + 1, 1 << 60])
def test_ldexp_takes_any_exponent(exponent: int) -> None:
    found = ldexp(np.array([1.0, 0.5, 0.0]), np.array([exponent, -exponent, exponent]))
    assert found.tolist() == [inf, 0.0, 0.0]


@settings(deadline=None)
@given(
    st.lists(st.one_of(st.floats(0, inf), st.just(nan)), min_size=1, max_size=6),
    st.integers(-(1 << 40), 1 << 40),
)
def test_an_array_keeps_what_is_unbounded(values: list[float], shift: int) -> None:
    """Infinity and NaN bound nothing: entry by entry any number is smaller, and a row's norm is unbounded."""
    array = ScaledArray(np.array([values]), np.array([[shift]]))
    known = np.array([np.isfinite(value) for value in values])
    for kind in ("1", "2", "inf"):
        (norm,) = array.norms(kind)
        assert norm.unbounded == (not known.all())
    smaller = array.minimum(ScaledArray.of(np.full((1, len(values)), 7.0))).floats()
    assert (smaller <= 7.0).all()
    assert (smaller[0, ~known] == 7.0).all()
    other = ScaledArray.of(np.full((1, len(values)), inf)).minimum(array)
    assert (np.isinf(other.mantissa[0]) == ~known).all()


def test_an_unbounded_number_stays_unbounded() -> None:
    one = Scaled(0.5, 1)
    for made in (
        UNBOUNDED + one,
        one + UNBOUNDED,
        UNBOUNDED.minus(one),
        UNBOUNDED.minus(UNBOUNDED),
        UNBOUNDED.times(0.0),
        UNBOUNDED.root(2),
    ):
        assert made.unbounded
    assert ScaledArray.of(np.array([1.0, inf])).sum().unbounded
    assert one < UNBOUNDED and not (one > UNBOUNDED) and Scaled(0.5, 1 << 40) < UNBOUNDED
    assert UNBOUNDED.over(one) == inf == UNBOUNDED.over(UNBOUNDED)
    assert one.over(UNBOUNDED) == 0
    assert number(UNBOUNDED) == {"value": None, "log10": None} != number(Scaled(0.0))
    assert shown(UNBOUNDED, toward="up") == "unbounded"


@pytest.mark.parametrize("limit", [0.0, 1.0, 1.7e308, Scaled(0.5, 1 << 60)])
def test_what_is_unbounded_keeps_no_budget(limit: float | Scaled) -> None:
    for value in (UNBOUNDED, Scaled(inf, -(1 << 50)), inf):
        assert exceeds(value, limit)
        assert not QUANTITIES["bound"].keeps(value, limit)
    with pytest.raises(UsageError):
        exceeds(limit, UNBOUNDED)


def test_intervals_that_overflow_are_no_bound() -> None:
    """140 layers that turn and stretch: intervals grow to 2^140, beyond float32, where the outputs of a
    quantized twin differ by 2^70 steps."""
    turn = np.array([[1.0, -1.0], [1.0, 1.0]], np.float32)

    def deep(quantized: bool):
        s = Sketch(x=(1, 2))
        x = (
            s.node("Quantizer", ["x"], (1, 2), quantizer=Quantization(2.0**-7, 0, -128, 127))
            if quantized
            else "x"
        )
        for _ in range(140):
            x = s.matmul(x, turn)
        return s.network(x, path="quantized" if quantized else "plain")

    a, b = deep(False), deep(True)
    pairing, domain = match(a, b, quantizers=True), Domain.box(-1.0, 1.0)
    (boxed,) = (
        output_intervals(pairing, pairing.twin, domain.resolve(pairing.a), Device("cpu", "float32", 1))
        .outputs()
        .values()
    )
    assert all(norm.unbounded for norm in boxed.norms("inf"))
    (pair,) = onnxpath.check(a, b, max_bound=1, domain=domain).pairs
    (budget,) = pair.budgets
    assert not budget.passed
    assert budget.value.log2 > 60, "half a step of 2^-7, turned 140 times"
