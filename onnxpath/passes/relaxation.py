"""Lines above and below activations, and above and below the difference of two networks at one (docs/certify.md, section 3).

At a neuron y = f(x) let a and b be the arguments in networks A and B, d = b - a, with a in [al, au], b in [bl, bu], d in [dl, du]. With
slopes [m, M] of f over the hull of both intervals, f(b) - f(a) = s d for some s in [m, M], hence

    min(m d, M d) <= f(b) - f(a) <= max(m d, M d),

a concave function below and a convex one above: over [dl, du] both are bounded by lines through their ends. Of f itself over
[al, au], with slopes [m, M] there, whatever t in [m, M],

    f(x) - t x <= min(f(al) + M (x - al), f(au) + m (x - au)) - t x,

which is largest where the two meet; below likewise. Where f is convex (ReLU, PRelu) the chord is used instead, and below a line
through the kink. A slope may be any number: offsets are computed for the slope as it is stored, and rounded outwards.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from onnxpath.network import Node, Parameter
from onnxpath.ops import OPERATORS
from onnxpath.ops.activation import FUNCTIONS
from onnxpath.passes import slopes

LANES = ("al", "au", "bl", "bu", "dl", "du")


@dataclass(frozen=True, eq=False)
class Known:
    """Intervals of one tensor, float64 [n, ...], in A, in B and of B - A; `differs`: whether B - A may be other than 0."""

    al: np.ndarray
    au: np.ndarray
    bl: np.ndarray
    bu: np.ndarray
    dl: np.ndarray
    du: np.ndarray
    differs: bool = True

    def meet(self, found: Mapping[str, np.ndarray]) -> "Known":
        """With tighter ends, by name of the lane."""
        made = {}
        for name in LANES:
            own = getattr(self, name)
            other = found.get(name)
            made[name] = own if other is None else (np.maximum if name.endswith("l") else np.minimum)(own, other)
        # B = A + D
        made["bl"] = np.maximum(made["bl"], _down(made["al"] + made["dl"], made["al"], made["dl"]))
        made["bu"] = np.minimum(made["bu"], _up(made["au"] + made["du"], made["au"], made["du"]))
        made["dl"] = np.maximum(made["dl"], _down(made["bl"] - made["au"], made["bl"], made["au"]))
        made["du"] = np.minimum(made["du"], _up(made["bu"] - made["al"], made["bu"], made["al"]))
        return Known(**made, differs=self.differs)

    def take(self, rows: np.ndarray) -> "Known":
        return Known(*(getattr(self, name)[rows] for name in LANES), self.differs)


_U = 2.0**-52


def _up(x: np.ndarray, *of: np.ndarray) -> np.ndarray:
    """x, computed in a few float64 operations from `of`, rounded up."""
    size = np.abs(x)
    for part in of:
        size = size + np.abs(part)
    return x + 8 * _U * size


def _down(x: np.ndarray, *of: np.ndarray) -> np.ndarray:
    return -_up(-x, *of)


@dataclass(frozen=True, eq=False)
class Lines:
    """Coefficients [n, ...] of the bounds at one node, in the precision of a pass.

        e_low a + f_low <= f(a) <= e_up a + f_up,        c_low d + g_low <= f(b) - f(a) <= c_up d + g_up

    Offsets hold what the pass rounds when it applies them. The second line is None where the networks do not differ.
    """

    e_low: np.ndarray
    f_low: np.ndarray
    e_up: np.ndarray
    f_up: np.ndarray
    c_low: np.ndarray | None = None
    g_low: np.ndarray | None = None
    c_up: np.ndarray | None = None
    g_up: np.ndarray | None = None

    def feeds(self) -> dict[str, np.ndarray]:
        names = ("e_low", "f_low", "e_up", "f_up", "c_low", "g_low", "c_up", "g_up")
        return {name: array for name in names if (array := getattr(self, name)) is not None}


def _stored(array: np.ndarray, dtype: np.dtype, toward: float) -> np.ndarray:
    """In `dtype`, rounded towards ±infinity."""
    with np.errstate(over="ignore"):
        cast = array.astype(dtype)
    wrong = cast < array if toward > 0 else cast > array
    return np.where(wrong, np.nextafter(cast, dtype.type(toward)), cast)


def _slope(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """A slope as the pass stores it, and as a float64 array of the same numbers."""
    return array.astype(dtype)


def offsets(low: np.ndarray, up: np.ndarray, e_low: np.ndarray, e_up: np.ndarray, size: np.ndarray, dtype: np.dtype) -> tuple:
    """Offsets moved outwards by what the pass rounds: 16 units of the offset itself, 8 of slope times argument where that rounds."""
    unit = float(np.finfo(dtype).eps)
    layer = max(1, int(np.prod(low.shape[1:])))
    relative = 16 * unit + (layer + 4096) * 2 * _U

    def moved(offset: np.ndarray, slope: np.ndarray) -> np.ndarray:
        exact = (slope == 0) | (slope == 1) | (slope == -1)
        return relative * np.abs(offset) + np.where(exact, 0.0, 8 * unit * np.abs(slope) * size)

    return _stored(low - moved(low, e_low), dtype, -np.inf), _stored(up + moved(up, e_up), dtype, np.inf)


def _slopes(node: Node, low: np.ndarray, high: np.ndarray, alpha: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """m and M of the node's activation over [low, high]."""
    if node.op == "Relu":
        return (low >= 0).astype(float), (high > 0).astype(float)
    if node.op == "PRelu":
        assert alpha is not None
        left, right = low < 0, high > 0
        some = np.where(right, 1.0, alpha)
        return np.where(left, np.minimum(some, alpha), some), np.where(left, np.maximum(some, alpha), some)
    return slopes.slopes(node.attributes["function"], node.attributes["parameters"], low, high)


def _alpha(parameter: Parameter | None, shape: tuple[int, ...]) -> np.ndarray | None:
    return None if parameter is None else np.broadcast_to(parameter.array().astype(np.float64), (1, *shape[1:]))


def _chord(rise: np.ndarray, run: np.ndarray, m: np.ndarray, big: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        t = rise / run
    return np.clip(np.where(run > 0, np.nan_to_num(t), m), m, big)


def _kinked(low, high, alpha, dtype, choice):
    """Relu (alpha 0) and PRelu: lines through the ends and through the kink. Concave where alpha > 1."""
    at_low, at_high = (np.where(x > 0, x, alpha * x) for x in (low, high))
    m = np.where(high > 0, np.where(low < 0, np.minimum(alpha, 1.0), 1.0), alpha)
    big = np.where(high > 0, np.where(low < 0, np.maximum(alpha, 1.0), 1.0), alpha)
    chord = _slope(_chord(at_high - at_low, high - low, m, big), dtype).astype(np.float64)
    chord = np.where(m == big, m.astype(dtype).astype(np.float64), chord)
    ends = [_up(y - chord * x, y, chord * x) for x, y in ((low, at_low), (high, at_high))]
    starts = [_down(y - chord * x, y, chord * x) for x, y in ((low, at_low), (high, at_high))]
    other = np.where(high > -low, 1.0, np.broadcast_to(alpha, low.shape)) if choice is None else np.where(choice, 1.0, alpha)
    other = np.where((low < 0) & (high > 0), other, chord).astype(dtype).astype(np.float64)
    # f(x) - t x at the ends and at the kink: the least and the largest of a function that is linear between them
    shifts = [_down(y - other * x, y, other * x) for x, y in ((low, at_low), (high, at_high))]
    tops = [_up(y - other * x, y, other * x) for x, y in ((low, at_low), (high, at_high))]
    straddles = (low < 0) & (high > 0)
    kink = np.where(straddles, 0.0, shifts[0])
    concave = alpha > 1
    e_up, e_low = np.where(concave, other, chord), np.where(concave, chord, other)
    f_up = np.where(
        concave,
        np.maximum(np.maximum(*tops), np.where(straddles, 0.0, tops[0])),
        np.maximum(np.maximum(*ends), np.where(straddles, 0.0, ends[0])),
    )
    f_low = np.where(concave, np.minimum(np.minimum(*starts), np.where(straddles, 0.0, starts[0])), np.minimum(np.minimum(*shifts), kink))
    # a linear piece through 0 is exact
    exact = (m == big) & (m == m.astype(dtype))
    return e_low, np.where(exact, 0.0, f_low), e_up, np.where(exact, 0.0, f_up)


def _smooth(node: Node, low, high, dtype):
    name, parameters = node.attributes["function"], node.attributes["parameters"]
    m, big = _slopes(node, low, high, None)
    (l0, l1), (u0, u1) = slopes.values(name, parameters, low), slopes.values(name, parameters, high)
    t = _slope(_chord((u0 + u1 - l0 - l1) / 2, high - low, m, big), dtype).astype(np.float64)

    def above(y0, y1):
        """The largest of min(y0 + M (x - low), y1 + m (x - high)) - t x over [low, high]."""
        with np.errstate(divide="ignore", invalid="ignore"):
            x = (y1 - y0 + big * low - m * high) / (big - m)
        x = np.clip(np.where(np.isfinite(x), x, low), low, high)
        # either line, at any point, bounds what lies beyond it: the larger of both at the computed meeting point is safe
        here = np.maximum(y0 + big * (x - low), y1 + m * (x - high)) - t * x
        ends = np.maximum(y0 - t * low, y1 - t * high)
        return _up(np.maximum(here, ends), y0, y1, big * low, big * high, m * low, m * high, t * low, t * high)

    f_up = above(l1, u1)
    big, m = m, big
    # below: max(y0 + m (x - low), y1 + M (x - high)), the mirror image
    with np.errstate(divide="ignore", invalid="ignore"):
        x = (u0 - l0 + big * low - m * high) / (big - m)
    x = np.clip(np.where(np.isfinite(x), x, low), low, high)
    here = np.minimum(l0 + big * (x - low), u0 + m * (x - high)) - t * x
    ends = np.minimum(l0 - t * low, u0 - t * high)
    f_low = _down(np.minimum(here, ends), l0, u0, big * low, big * high, m * low, m * high, t * low, t * high)
    jump = FUNCTIONS[name].constants(*parameters).jump
    return t, f_low - jump, t, f_up


def lines(node: Node, twin: Parameter | None, known: Known, dtype: np.dtype, choice: np.ndarray | None = None) -> Lines:
    """The lines of a Relu, PRelu or Activation node for the intervals of its input.

    twin: the PRelu's slopes in B. choice: for unstable ReLUs, whether the line below has slope 1 (else 0, or alpha); by
    default where that leaves the smaller area.
    """
    low, high = known.al, known.au
    shape = low.shape
    alpha_a, alpha_b = _alpha(node.weight, shape), _alpha(twin, shape)
    size = np.maximum(np.abs(low), np.abs(high))
    if node.op == "Activation":
        made = _smooth(node, low, high, dtype)
    else:
        made = _kinked(low, high, np.zeros((1,) * low.ndim) if alpha_a is None else alpha_a, dtype, choice)
    e_low, f_low, e_up, f_up = (np.broadcast_to(part, shape) for part in made)
    f_low, f_up = offsets(f_low, f_up, e_low, e_up, size, dtype)
    own = [e_low.astype(dtype), f_low, e_up.astype(dtype), f_up]
    if not known.differs:
        return Lines(*own)
    m, big = _slopes(node, np.minimum(low, known.bl), np.maximum(high, known.bu), alpha_b if node.op == "PRelu" else None)
    dl, du = known.dl, known.du
    convex = [np.maximum(m * end, big * end) for end in (dl, du)]
    concave = [np.minimum(m * end, big * end) for end in (dl, du)]
    c_up = _chord(convex[1] - convex[0], du - dl, m, big).astype(dtype).astype(np.float64)
    c_low = _chord(concave[1] - concave[0], du - dl, m, big).astype(dtype).astype(np.float64)
    zero = np.where((dl < 0) & (du > 0), 0.0, np.nan)
    above = [_up(y - c_up * x, y, c_up * x) for x, y in ((dl, convex[0]), (du, convex[1]))]
    below = [_down(y - c_low * x, y, c_low * x) for x, y in ((dl, concave[0]), (du, concave[1]))]
    g_up, g_low = np.fmax(np.maximum(*above), zero), np.fmin(np.minimum(*below), zero)
    exact = (m == big) & (m == c_up) & (m == c_low)
    g_up, g_low = np.where(exact, 0.0, g_up), np.where(exact, 0.0, g_low)
    if node.op == "PRelu" and twin is not node.weight:
        assert alpha_a is not None and alpha_b is not None
        # f_B(b) - f_A(a) = [f_B(b) - f_B(a)] + (alpha_B - alpha_A) min(a, 0)
        gap = alpha_b - alpha_a
        moved = [gap * np.minimum(end, 0.0) for end in (low, high)]
        spare = 2.0**-50 * (np.abs(alpha_a) + np.abs(alpha_b)) * np.maximum(-low, 0.0)
        g_up, g_low = g_up + np.maximum(*moved) + spare, g_low + np.minimum(*moved) - spare
    if node.op == "Activation":
        jump = FUNCTIONS[node.attributes["function"]].constants(*node.attributes["parameters"]).jump
        g_up, g_low = g_up + jump, g_low - jump
    reach = np.maximum(np.abs(dl), np.abs(du))
    g_low, g_up = offsets(g_low, g_up, c_low, c_up, reach, dtype)
    return Lines(*own, c_low.astype(dtype), g_low, c_up.astype(dtype), g_up)


def nonlinear(node: Node) -> bool:
    return OPERATORS[node.op].kind in ("relu", "activation", "quantizer")
