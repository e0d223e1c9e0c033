"""Lines above and below an activation of one network over intervals of its argument (docs/certify.md, section
3).

Of y = f(x) over [l, u], with slopes [m, M] there, whatever t in [m, M],

    f(x) - t x <= min(f(l) + M (x - l), f(u) + m (x - u)) - t x,

which is largest where the two meet; below likewise. Where f is convex (ReLU, PRelu) the chord is used
instead, and below a line through the kink. A slope may be any number: offsets are computed for the slope as
it is stored, and rounded outwards.
"""

from dataclasses import dataclass, replace

import numpy as np

from onnxpath.boxes import slopes
from onnxpath.boxes.pair_intervals import down, up
from onnxpath.errors import MissingFactError
from onnxpath.model.network import Node, Parameter
from onnxpath.ops.activation import FUNCTIONS


@dataclass(frozen=True, eq=False)
class Lines:
    """Coefficients [n, ...] of the bounds at one node, e_low x + f_low <= f(x) <= e_up x + f_up, in the
    precision of a pass. Offsets hold what the pass rounds when it applies them."""

    e_low: np.ndarray
    f_low: np.ndarray
    e_up: np.ndarray
    f_up: np.ndarray

    def feeds(self) -> dict[str, np.ndarray]:
        return {name: getattr(self, name) for name in ("e_low", "f_low", "e_up", "f_up")}

    def below(self, x: np.ndarray) -> np.ndarray:
        return self.e_low * x + self.f_low

    def above(self, x: np.ndarray) -> np.ndarray:
        return self.e_up * x + self.f_up

    def meeting(self, others: np.ndarray, size: np.ndarray, dtype: np.dtype) -> "Lines":
        """With room for one more rounding where what it makes is added to other products; size: of the moduli
        of x."""
        unit = 8 * float(np.finfo(dtype).eps)
        low, up = (
            np.where(others, f + sign * unit * np.abs(e) * size, f)
            for e, f, sign in (
                (self.e_low, self.f_low.astype(np.float64), -1),
                (self.e_up, self.f_up.astype(np.float64), 1),
            )
        )
        return replace(self, f_low=stored(low, dtype, -np.inf), f_up=stored(up, dtype, np.inf))


def stored(array: np.ndarray, dtype: np.dtype, toward: float) -> np.ndarray:
    """In `dtype`, rounded towards ±infinity."""
    with np.errstate(over="ignore"):
        cast = array.astype(dtype)
    wrong = cast < array if toward > 0 else cast > array
    return np.where(wrong, np.nextafter(cast, dtype.type(toward)), cast)


def offsets(
    low: np.ndarray, up: np.ndarray, e_low: np.ndarray, e_up: np.ndarray, size: np.ndarray, dtype: np.dtype
) -> tuple:
    """Offsets moved outwards by what the pass rounds: 16 units of the offset itself, 8 of slope times
    argument where that rounds."""
    unit = float(np.finfo(dtype).eps)
    layer = max(1, int(np.prod(low.shape[1:])))
    relative = 16 * unit + (layer + 4096) * 2.0**-51

    def moved(offset: np.ndarray, slope: np.ndarray) -> np.ndarray:
        exact = (slope == 0) | (slope == 1) | (slope == -1)
        return relative * np.abs(offset) + np.where(exact, 0.0, 8 * unit * np.abs(slope) * size)

    return stored(low - moved(low, e_low), dtype, -np.inf), stored(up + moved(up, e_up), dtype, np.inf)


def slopes_of(
    node: Node, low: np.ndarray, high: np.ndarray, alpha: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """m and M of the node's activation over [low, high]."""
    if alpha is not None:
        left, right = low < 0, high > 0
        some = np.where(right, 1.0, alpha)
        return np.where(left, np.minimum(some, alpha), some), np.where(left, np.maximum(some, alpha), some)
    return slopes.slopes(*_function(node), low, high)


def _function(node: Node) -> tuple[str, tuple[float, ...]]:
    """The name and the parameters of an activation's function."""
    if "function" not in node.attributes:
        raise MissingFactError(node.op, "lines above and below it, and its slopes over an interval")
    return node.attributes["function"], node.attributes["parameters"]


def alpha_of(node: Node, weight: Parameter | None, shape: tuple[int, ...]) -> np.ndarray | None:
    """The slope below 0, [1, ...], of what has slope 1 above; None for other functions."""
    slope = slopes.negative_slope(node, weight)
    return None if slope is None else np.broadcast_to(slope, (1, *shape[1:]))


def chord(rise: np.ndarray, run: np.ndarray, m: np.ndarray, big: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        t = rise / run
    return np.clip(np.where(run > 0, np.nan_to_num(t), m), m, big)


def _kinked(low, high, alpha, dtype, choice):
    """Relu (alpha 0) and PRelu: lines through the ends and through the kink. Concave where alpha > 1."""
    at_low, at_high = (np.where(x > 0, x, alpha * x) for x in (low, high))
    m = np.where(high > 0, np.where(low < 0, np.minimum(alpha, 1.0), 1.0), alpha)
    big = np.where(high > 0, np.where(low < 0, np.maximum(alpha, 1.0), 1.0), alpha)
    secant = chord(at_high - at_low, high - low, m, big).astype(dtype).astype(np.float64)
    secant = np.where(m == big, m.astype(dtype).astype(np.float64), secant)
    ends = [up(y - secant * x, y, secant * x) for x, y in ((low, at_low), (high, at_high))]
    starts = [down(y - secant * x, y, secant * x) for x, y in ((low, at_low), (high, at_high))]
    other = (
        np.where(high > -low, 1.0, np.broadcast_to(alpha, low.shape))
        if choice is None
        else np.where(choice, 1.0, alpha)
    )
    other = np.where((low < 0) & (high > 0), other, secant).astype(dtype).astype(np.float64)
    # f(x) - t x at the ends and at the kink: the least and the largest of a function that is linear between
    # them
    shifts = [down(y - other * x, y, other * x) for x, y in ((low, at_low), (high, at_high))]
    tops = [up(y - other * x, y, other * x) for x, y in ((low, at_low), (high, at_high))]
    straddles = (low < 0) & (high > 0)
    kink = np.where(straddles, 0.0, shifts[0])
    concave = alpha > 1
    e_up, e_low = np.where(concave, other, secant), np.where(concave, secant, other)
    f_up = np.where(
        concave,
        np.maximum(np.maximum(*tops), np.where(straddles, 0.0, tops[0])),
        np.maximum(np.maximum(*ends), np.where(straddles, 0.0, ends[0])),
    )
    f_low = np.where(
        concave,
        np.minimum(np.minimum(*starts), np.where(straddles, 0.0, starts[0])),
        np.minimum(np.minimum(*shifts), kink),
    )
    # a linear piece through 0 is exact
    exact = (m == big) & (m == m.astype(dtype))
    return e_low, np.where(exact, 0.0, f_low), e_up, np.where(exact, 0.0, f_up)


def _smooth(node: Node, low, high, dtype):
    name, parameters = _function(node)
    m, big = slopes_of(node, low, high, None)
    (l0, l1), (u0, u1) = slopes.values(name, parameters, low), slopes.values(name, parameters, high)
    t = chord((u0 + u1 - l0 - l1) / 2, high - low, m, big).astype(dtype).astype(np.float64)

    def above(y0, y1):
        """The largest of min(y0 + M (x - low), y1 + m (x - high)) - t x over [low, high]."""
        with np.errstate(divide="ignore", invalid="ignore"):
            x = (y1 - y0 + big * low - m * high) / (big - m)
        x = np.clip(np.where(np.isfinite(x), x, low), low, high)
        # either line, at any point, bounds what lies beyond it: the larger of both at the computed meeting
        # point is safe
        here = np.maximum(y0 + big * (x - low), y1 + m * (x - high)) - t * x
        ends = np.maximum(y0 - t * low, y1 - t * high)
        return up(np.maximum(here, ends), y0, y1, big * low, big * high, m * low, m * high, t * low, t * high)

    f_up = above(l1, u1)
    big, m = m, big
    # below: max(y0 + m (x - low), y1 + M (x - high)), the mirror image
    with np.errstate(divide="ignore", invalid="ignore"):
        x = (u0 - l0 + big * low - m * high) / (big - m)
    x = np.clip(np.where(np.isfinite(x), x, low), low, high)
    here = np.minimum(l0 + big * (x - low), u0 + m * (x - high)) - t * x
    ends = np.minimum(l0 - t * low, u0 - t * high)
    f_low = down(np.minimum(here, ends), l0, u0, big * low, big * high, m * low, m * high, t * low, t * high)
    jump = FUNCTIONS[name].constants(*parameters).jump
    return t, f_low - jump, t, f_up


def lines(
    node: Node,
    slope: Parameter | None,
    low: np.ndarray,
    high: np.ndarray,
    dtype: np.dtype,
    choice: np.ndarray | None = None,
) -> Lines:
    """The lines of a Relu, PRelu or Activation node over [low, high], float64 [n, ...].

    slope: of the PRelu. choice: for unstable ReLUs, whether the line below has slope 1 (else 0, or the
    PRelu's); by default where that leaves the smaller area.
    """
    shape = low.shape
    alpha = alpha_of(node, slope, shape)
    made = _smooth(node, low, high, dtype) if alpha is None else _kinked(low, high, alpha, dtype, choice)
    e_low, f_low, e_up, f_up = (np.broadcast_to(part, shape) for part in made)
    f_low, f_up = offsets(f_low, f_up, e_low, e_up, np.maximum(np.abs(low), np.abs(high)), dtype)
    return Lines(e_low.astype(dtype), f_low, e_up.astype(dtype), f_up)
