"""What a gate measures and limits (docs/check.md).

    relative             ‖Φ_A - Φ_B‖₁ / max(‖Φ_A‖₁, ‖Φ_B‖₁) at most 2, by the triangle inequality
    metric               ‖Φ_A - Φ_B‖₁
    path-norm-increase   ‖Φ_B‖₁ / ‖Φ_A‖₁ - 1                              negative where the path-norm shrinks
    bound                sup over a domain of ‖f_A(x) - f_B(x)‖
    difference           max over the given inputs of |a(x) - b(x)|, of the files as they run
    flip-rate            P(the predicted classes of the files differ)
    agree                share of the given inputs around which both provably predict one class

The value compared with a limit is never a point estimate: a certified upper end, rounding included, for the
first four (or what the files were seen to differ by, where that is more), what was seen for `difference`, a
Clopper-Pearson upper limit at a stated confidence for the flip rate, and for `agree` what was proved, a lower
end. A budget `max-X` holds when that value is <= its limit, a budget `min-X` when it is >= its limit.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import frexp, inf, isfinite, isnan

from onnxpath.engine.scaled import Scaled
from onnxpath.errors import UsageError

# A ratio is a float and may be negative; a magnitude may lie beyond float64.
Value = float | Scaled


@dataclass(frozen=True)
class Quantity:
    """Something measured on a pair.

    name: as in `max-NAME`. meaning: for people. ratio: whether it is shown, and may be given, in percent.
    below: every limit must be smaller, because no pair of networks exceeds a larger one. above: every limit
    must be larger than this or, where `closed`, equal to it. least: the limit is a lower one, `min-NAME`, of
    a share.
    """

    name: str
    meaning: str
    ratio: bool
    below: float | None = None
    above: float = 0.0
    closed: bool = True
    least: bool = False

    @property
    def budget(self) -> str:
        return f"{'min' if self.least else 'max'}-{self.name}"

    def keeps(self, value: "Value", limit: "Value") -> bool:
        """Whether a measured value is on the right side of a limit, exactly: one that is unbounded never is.
        UsageError for NaN, and for a limit that is infinite."""
        return not (exceeds(limit, value) if self.least else exceeds(value, limit))


QUANTITIES: Mapping[str, Quantity] = {
    quantity.name: quantity
    for quantity in (
        Quantity("relative", "path-metric divided by the larger path-norm", True, below=2.0),
        Quantity("metric", "path-metric", False),
        Quantity("path-norm-increase", "growth of the path-norm from A to B", True, above=-1.0, closed=False),
        Quantity("bound", "largest difference of the outputs over the domain", False),
        Quantity("difference", "largest difference of the files' outputs on the inputs", False),
        Quantity("flip-rate", "share of inputs whose predicted class differs", True, below=1.0, closed=False),
        Quantity(
            "agree",
            "share of inputs around which both provably predict one class",
            True,
            closed=False,
            least=True,
        ),
    )
}


def ratio(text: object, what: str) -> float:
    """A ratio from a number (0.1) or text ("10%", "0.1"). Raises UsageError, naming `what`."""
    if isinstance(text, str) and text.strip().endswith("%"):
        return (
            _number(text.strip()[:-1], what, 'a number such as 0.1 or a percentage such as "10%"', text) / 100
        )
    return _number(text, what, 'a number such as 0.1 or a percentage such as "10%"', text)


def _number(value: object, what: str, expected: str, shown: object) -> float:
    try:
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            raise ValueError
        number = float(value)
    except (ValueError, OverflowError):
        raise UsageError(f"{what} must be {expected}, not {shown!r}") from None
    if not isfinite(number):
        raise UsageError(f"{what} must be a finite number, not {shown!r}")
    return number


def limit(quantity: Quantity, value: object) -> float:
    """The limit of a budget from what a user wrote; raises UsageError where it is no number, or could never
    be exceeded."""
    what = quantity.budget
    found = ratio(value, what) if quantity.ratio else _number(value, what, "a number", value)
    if found < quantity.above or (found == quantity.above and not quantity.closed):
        raise UsageError(f"{what} must be {'>=' if quantity.closed else '>'} {quantity.above:g}, not {value}")
    if quantity.least and found > 1:
        raise UsageError(f"{what} {value} can never be kept: it is a share, such as 95% or 0.95")
    if quantity.below is not None and found >= quantity.below:
        raise UsageError(
            f"{what} {value} can never be exceeded: the {quantity.meaning} is at most {quantity.below:g}"
        )
    return found


def exceeds(value: Value, limit: Value) -> bool:
    """Whether a value is larger than a limit, exactly; what is unbounded exceeds every limit. UsageError for
    NaN and for a limit of ∞."""
    found, most = (x.mantissa if isinstance(x, Scaled) else x for x in (value, limit))
    if isnan(found) or not isfinite(most):
        raise UsageError("a value of a budget is not a finite number")
    return _order(limit) < _order(value)


def _order(value: Value) -> tuple[int, float, float]:
    """Sign, exponent and mantissa in [1/2, 1): tuples in the order of the numbers."""
    mantissa, exponent = frexp(value.mantissa if isinstance(value, Scaled) else value)
    if mantissa == 0:
        return 0, 0.0, 0.0
    if mantissa == inf:
        return 1, inf, inf
    exponent += value.exponent if isinstance(value, Scaled) else 0
    return (1, exponent, mantissa) if mantissa > 0 else (-1, -exponent, mantissa)
