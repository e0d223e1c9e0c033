"""Limits as users write them, and the comparison that decides between pass and failure."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxpath.analyses.check.budgets import QUANTITIES, exceeds, limit
from onnxpath.engine.scaled import Scaled
from onnxpath.errors import UsageError

ratios = st.floats(allow_nan=False, allow_infinity=False)
magnitudes = st.builds(Scaled, st.one_of(st.just(0.0), st.floats(0.5, 1)), st.integers(-1500, 1500))


def exact(value: float | Scaled) -> Fraction:
    return (
        Fraction(value.mantissa) * Fraction(2) ** value.exponent
        if isinstance(value, Scaled)
        else Fraction(value)
    )


@settings(deadline=None)
@given(st.one_of(ratios, magnitudes), st.one_of(ratios, magnitudes))
def test_the_comparison_is_exact_for_any_pair_of_numbers(value, bar):
    assert exceeds(value, bar) == (exact(value) > exact(bar))


@settings(deadline=None)
@given(magnitudes, st.sampled_from([-1, 0, 1]))
def test_neighbours_of_a_limit(bar, step):
    value = Scaled(bar.mantissa * (1 + step * 2.0**-50), bar.exponent)
    assert exceeds(value, bar) == (exact(value) > exact(bar))


@pytest.mark.parametrize(
    "pair",
    [
        (float("nan"), 1.0),
        (1.0, float("nan")),
        (Scaled(float("nan")), 1.0),
        (Scaled(float("nan")), Scaled(1.0)),
        (1.0, float("inf")),
        (Scaled(float("inf")), Scaled(float("inf"))),
    ],
)
def test_what_is_not_a_number_is_never_a_pass(pair):
    with pytest.raises(UsageError):
        exceeds(*pair)


@pytest.mark.parametrize(
    ("name", "written", "number"),
    [
        ("relative", "1%", 0.01), ("relative", " 10 % ", 0.1), ("relative", "0.25", 0.25),
        ("relative", 0, 0.0), ("relative", "1e-6", 1e-6),
        ("metric", "1e300", 1e300), ("metric", 7, 7.0), ("bound", "0.5", 0.5),
        ("path-norm-increase", "-20%", -0.2), ("flip-rate", "1%", 0.01),
    ],
)  # fmt: skip
def test_limits(name, written, number):
    assert limit(QUANTITIES[name], written) == number


@pytest.mark.parametrize(
    ("name", "written", "words"),
    [
        ("relative", "many", ["max-relative", "'many'", '"10%"']),
        ("relative", "2", ["never be exceeded", "2"]),
        ("relative", "200%", ["never be exceeded"]), ("relative", -0.1, [">= 0"]),
        ("relative", True, ["True"]), ("relative", [1], ["[1]"]),
        ("relative", "nan", ["finite"]), ("relative", "inf%", ["finite"]),
        ("metric", "10%", ["max-metric", "'10%'"]),
        ("metric", "inf", ["finite"]), ("bound", "-1", [">= 0"]), ("bound", None, ["None"]),
        ("path-norm-increase", "-100%", ["> -1"]),
        ("flip-rate", "100%", ["never be exceeded"]), ("flip-rate", 0, ["> 0"]),
        ("metric", 10**400, ["number"]),
    ],
)  # fmt: skip
def test_limits_that_mean_nothing(name, written, words):
    with pytest.raises(UsageError) as found:
        limit(QUANTITIES[name], written)
    assert all(word in str(found.value) for word in words), found.value
