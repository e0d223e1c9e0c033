"""Lines above and below the difference of two networks at an activation (docs/certify.md, section 3).

At a neuron y = f(x) let a and b be the arguments in networks A and B, d = b - a, with a in [al, au], b in
[bl, bu], d in [dl, du]. With slopes [m, M] of f over the hull of both intervals, f(b) - f(a) = s d for some s
in [m, M], hence

    min(m d, M d) <= f(b) - f(a) <= max(m d, M d),

a concave function below and a convex one above: over [dl, du] both are bounded by lines through their ends.
Or each network by itself, by its own lines (relaxation.py),

    f(b) - f(a) <= (e_up^B b + f_up^B) - (e_low^A a + f_low^A) = e_up^B d + (e_up^B - e_low^A) a + f_up^B -
    f_low^A,

which does not know that a and b belong together, and is the narrower one where they hardly do: neuron by
neuron, above and below, the line that is closer at the middle of the intervals is taken. Both are of the form
c d + k a + g.
"""

from dataclasses import dataclass

import numpy as np

from onnxpath.boxes.pair_intervals import PairIntervals, down, up
from onnxpath.boxes.relaxation import Lines, alpha_of, chord, lines, offsets, slopes_of
from onnxpath.model.network import Node, Parameter
from onnxpath.ops.activation import FUNCTIONS


@dataclass(frozen=True, eq=False)
class Difference:
    """Coefficients [n, ...] in the precision of a pass, c_low d + k_low a + g_low <= f(b) - f(a) <= c_up d +
    k_up a + g_up."""

    c_low: np.ndarray
    g_low: np.ndarray
    c_up: np.ndarray
    g_up: np.ndarray
    k_low: np.ndarray | None = None
    k_up: np.ndarray | None = None

    def feeds(self, coupled: bool) -> dict[str, np.ndarray]:
        made = {name: getattr(self, name) for name in ("c_low", "g_low", "c_up", "g_up")}
        if coupled:
            made |= {
                name: np.zeros_like(self.c_up) if (k := getattr(self, name)) is None else k
                for name in ("k_low", "k_up")
            }
        return made


@dataclass(frozen=True, eq=False)
class PairLines:
    """The lines at one node: of either network, and of their difference (None where they do not differ).
    separate [n]: the share of the neurons with room between their lines at which those of both networks by
    themselves are closer; None for none.
    """

    a: Lines
    b: Lines
    difference: Difference | None = None
    separate: np.ndarray | None = None

    @property
    def coupled(self) -> bool:
        return self.difference is not None and self.difference.k_up is not None


def pair_lines(
    node: Node,
    twin: Parameter | None,
    known: PairIntervals,
    dtype: np.dtype,
    choice: np.ndarray | None = None,
) -> PairLines:
    """The lines of a Relu, PRelu or Activation node for the intervals of its input. twin: the PRelu's slopes
    in B; choice: see `lines`."""
    a = lines(node, node.weight, known.al, known.au, dtype, choice)
    if not known.differs:
        return PairLines(a, a)
    b = lines(node, twin, known.bl, known.bu, dtype, choice)
    by_slope = _by_slope(node, twin, known, dtype)
    return _closer(a, b, by_slope, known, dtype)


def _by_slope(
    node: Node, twin: Parameter | None, known: PairIntervals, dtype: np.dtype
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """c_low, g_low, c_up, g_up from the slopes over both intervals; float64, offsets as in real
    arithmetic."""
    low, high = known.al, known.au
    alpha_a, alpha_b = alpha_of(node, node.weight, low.shape), alpha_of(node, twin, low.shape)
    m, big = slopes_of(node, np.minimum(low, known.bl), np.maximum(high, known.bu), alpha_b)
    dl, du = known.dl, known.du
    convex = [np.maximum(m * end, big * end) for end in (dl, du)]
    concave = [np.minimum(m * end, big * end) for end in (dl, du)]
    c_up = chord(convex[1] - convex[0], du - dl, m, big).astype(dtype).astype(np.float64)
    c_low = chord(concave[1] - concave[0], du - dl, m, big).astype(dtype).astype(np.float64)
    zero = np.where((dl < 0) & (du > 0), 0.0, np.nan)
    above = [up(y - c_up * x, y, c_up * x) for x, y in ((dl, convex[0]), (du, convex[1]))]
    below = [down(y - c_low * x, y, c_low * x) for x, y in ((dl, concave[0]), (du, concave[1]))]
    g_up, g_low = np.fmax(np.maximum(*above), zero), np.fmin(np.minimum(*below), zero)
    exact = (m == big) & (m == c_up) & (m == c_low)
    g_up, g_low = np.where(exact, 0.0, g_up), np.where(exact, 0.0, g_low)
    if alpha_a is not None and alpha_b is not None and twin is not node.weight:
        # f_B(b) - f_A(a) = [f_B(b) - f_B(a)] + (alpha_B - alpha_A) min(a, 0)
        gap = alpha_b - alpha_a
        moved = [gap * np.minimum(end, 0.0) for end in (low, high)]
        spare = 2.0**-50 * (np.abs(alpha_a) + np.abs(alpha_b)) * np.maximum(-low, 0.0)
        g_up, g_low = g_up + np.maximum(*moved) + spare, g_low + np.minimum(*moved) - spare
    if alpha_a is None:
        jump = FUNCTIONS[node.attributes["function"]].constants(*node.attributes["parameters"]).jump
        g_up, g_low = g_up + jump, g_low - jump
    return c_low, g_low, c_up, g_up


def _closer(
    a: Lines,
    b: Lines,
    by_slope: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    known: PairIntervals,
    dtype: np.dtype,
) -> PairLines:
    """See the module: the lines by slopes, or those of both networks where these are closer."""
    c_low, g_low, c_up, g_up = by_slope
    middle_a, middle_d = (known.al + known.au) / 2, (known.dl + known.du) / 2
    middle_b = middle_a + middle_d
    top, bottom = c_up * middle_d + g_up, c_low * middle_d + g_low
    over = b.above(middle_b) - a.below(middle_a) < top
    under = b.below(middle_b) - a.above(middle_a) > bottom
    either = over | under
    reach, size = (np.maximum(np.abs(x), np.abs(y)) for x, y in ((known.dl, known.du), (known.al, known.au)))
    if not either.any():
        g_low, g_up = offsets(g_low, g_up, c_low, c_up, reach, dtype)
        return PairLines(a, b, Difference(c_low.astype(dtype), g_low, c_up.astype(dtype), g_up))

    rows = either.reshape(len(either), -1)
    share = rows.sum(axis=1) / np.maximum(1, (top > bottom).reshape(rows.shape).sum(axis=1))

    def own(
        chosen: np.ndarray,
        plus: np.ndarray,
        minus: np.ndarray,
        offset: np.ndarray,
        less: np.ndarray,
        sign: int,
    ) -> tuple:
        """k, and the offset moved by what storing k, float64 and the pass round."""
        true = plus.astype(np.float64) - minus
        k = np.where(chosen, true, 0.0).astype(dtype)
        gap = (np.abs(true - k) + 8 * float(np.finfo(dtype).eps) * np.abs(k)) * size
        offset, less = offset.astype(np.float64), less.astype(np.float64)
        return k, offset - less + sign * (
            gap + 2.0**-50 * (np.abs(offset) + np.abs(less) + np.abs(true) * size)
        )

    k_up, joined_up = own(over, b.e_up, a.e_low, b.f_up, a.f_low, 1)
    k_low, joined_low = own(under, b.e_low, a.e_up, b.f_low, a.f_up, -1)
    c_up, g_up = np.where(over, b.e_up, c_up), np.where(over, joined_up, g_up)
    c_low, g_low = np.where(under, b.e_low, c_low), np.where(under, joined_low, g_low)
    g_low, g_up = offsets(g_low, g_up, c_low, c_up, reach, dtype)
    difference = Difference(c_low.astype(dtype), g_low, c_up.astype(dtype), g_up, k_low, k_up)
    # γ f(a) and λ k a meet in one coefficient
    return PairLines(a.meeting(either, size, dtype), b, difference, share)
