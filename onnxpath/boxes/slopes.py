"""Slopes and values of activations over intervals (docs/certify.md, section 3).

For an activation f and intervals [l, u]: numbers m <= M with

    m (t - s) <= f(t) - f(s) <= M (t - s)      for all s <= t in [l, u],

and enclosures of f(l) and f(u). Where f is smooth, [m, M] holds f' over [l, u]: f' is monotone between its
extrema, so its values at l, u and the extrema inside [l, u] are enough. They are evaluated in float64 and
widened by far more than that errs.
"""

from collections.abc import Callable
from functools import cache
from math import sqrt

import numpy as np

from onnxpath.engine.graph import GraphBuilder
from onnxpath.engine.session import Device, Session
from onnxpath.errors import MissingFactError
from onnxpath.ops.activation import FUNCTIONS
from onnxpath.ops.gated import CUBIC

# Widening of slopes and of values, relative to the function's Lipschitz constant and size: float64 errs by
# 1e-14.
_SLOPE = 1e-9
_VALUE = 1e-11

Bounds = tuple[np.ndarray, np.ndarray]


@cache
def _evaluate(name: str, parameters: tuple[float, ...]) -> Callable[[np.ndarray], Bounds]:
    """x -> (f(x), f'(x)) in float64."""
    device = Device("cpu", "float64", 1)
    graph, function = GraphBuilder(device.dtype, device.native_conv), FUNCTIONS[name]
    x = graph.input("x", ("n",))
    ends = [graph.output(part(graph, x, *parameters)) for part in (function.emit, function.slope)]
    session = Session(graph.model().SerializeToString(), graph.feeds, device)

    def run(values: np.ndarray) -> Bounds:
        found = session.run({"x": np.ascontiguousarray(values.reshape(-1), np.float64)})
        first, second = (found[end].reshape(values.shape) for end in ends)
        return first, second

    return run


def _hull(parts: list[np.ndarray]) -> Bounds:
    return np.minimum.reduce(parts), np.maximum.reduce(parts)


def _clip(low: np.ndarray, high: np.ndarray, bottom: float, top: float) -> Bounds:
    inside = (low >= bottom) & (high <= top)
    outside = (high <= bottom) | (low >= top)
    return inside.astype(float), 1.0 - outside


def _softshrink(low: np.ndarray, high: np.ndarray, threshold: float) -> Bounds:
    bottom, top = _clip(low, high, -threshold, threshold)
    return 1.0 - top, 1.0 - bottom


def _abs(low: np.ndarray, high: np.ndarray) -> Bounds:
    return np.where(low >= 0, 1.0, -1.0), np.where(high <= 0, -1.0, 1.0)


def _hard_swish(low: np.ndarray, high: np.ndarray, alpha: float, beta: float) -> Bounds:
    left, right = -beta / alpha, (1 - beta) / alpha
    start, stop = (2 * alpha * np.clip(x, left, right) + beta for x in (low, high))
    # beyond the parabola the slope is 0 or 1; the limits there are those of the part that the interval
    # touches
    before, after = low <= left, high >= right
    bottom, top = (
        np.where(high < left, 0.0, np.where(low > right, 1.0, start)),
        np.where(high < left, 0.0, np.where(low > right, 1.0, stop)),
    )
    bottom, top = np.minimum(bottom, top), np.maximum(bottom, top)
    bottom = np.where(before, np.minimum(bottom, 0.0), np.where(after, np.minimum(bottom, 1.0), bottom))
    top = np.where(after, np.maximum(top, 1.0), np.where(before, np.maximum(top, 0.0), top))
    return bottom - _SLOPE * (1 + beta), top + _SLOPE * (1 + beta)


def _wave(low: np.ndarray, high: np.ndarray, name: str) -> Bounds:
    """|f''| <= 1."""
    middle, half = (low + high) / 2, (high - low) / 2
    slope = _evaluate(name, ())(middle)[1]
    return np.maximum(-1.0, slope - half - _SLOPE), np.minimum(1.0, slope + half + _SLOPE)


def _extrema(name: str, parameters: tuple[float, ...]) -> tuple[float, ...] | None:
    """Where f' is extreme or jumps; None where that is not known."""
    if name in ("Tanh", "Sigmoid", "Softsign", "Atan", "Erf", "Elu"):
        return (0.0,)
    if name in ("Softplus", "Celu"):
        return ()
    if name == "Gelu":
        return (-sqrt(2) / parameters[0], sqrt(2) / parameters[0])
    if name == "Silu":
        return (-2.399357280515468 / parameters[0], 2.399357280515468 / parameters[0])
    if name == "Mish":
        return (-2.2563895, 1.4905711794854284)
    if name == "GeluTanh" and abs(parameters[1] - CUBIC) < 1e-9:
        return (-1.4185040 / parameters[0], 1.4185040 / parameters[0])
    return None


def slopes(name: str, parameters: tuple[float, ...], low: np.ndarray, high: np.ndarray) -> Bounds:
    """m and M over [low, high] (finite float64 arrays). Of Softplus with a threshold: those without; its jump
    is apart."""
    special = {"Clip": _clip, "Softshrink": _softshrink, "Abs": _abs, "HardSwish": _hard_swish}
    if name in special:
        return special[name](low, high, *parameters)
    if name in ("Sin", "Cos"):
        return _wave(low, high, name)
    constants = FUNCTIONS[name].constants(*parameters)
    if constants.jump and name != "Softplus":
        raise MissingFactError(f"Activation ({name})", "its slopes without its jump")
    largest = constants.lipschitz
    points = _extrema(name, parameters)
    if points is None:
        return np.full(low.shape, -largest), np.full(low.shape, largest)
    run = _evaluate(name, (np.inf,) if name == "Softplus" else tuple(parameters))
    parts = [run(low)[1], run(high)[1]]
    for point in points:
        inside = (low <= point + 1e-6) & (high >= point - 1e-6)
        parts.append(np.where(inside, run(np.array([point]))[1][0], parts[0]))
    bottom, top = _hull(parts)
    margin = _SLOPE * (1 + largest)
    return np.maximum(bottom - margin, -largest), np.minimum(top + margin, largest)


def values(name: str, parameters: tuple[float, ...], x: np.ndarray) -> Bounds:
    """Enclosure of f(x). Of Softplus with a threshold: of the function without it, which is above by at most
    `jump`."""
    constants = FUNCTIONS[name].constants(*parameters)
    found = _evaluate(name, (np.inf,) if name == "Softplus" else tuple(parameters))(x)[0]
    if name in ("Clip", "Abs"):
        return found, found
    error = _VALUE * (np.abs(found) + constants.lipschitz * np.abs(x) + 1)
    return found - error, found + error
