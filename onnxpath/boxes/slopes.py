"""Slopes and values of activations over intervals (docs/certify.md, section 3).

For an activation f and intervals [l, u]: numbers m <= M with

    m (t - s) <= f(t) - f(s) <= M (t - s)      for all s <= t in [l, u],

and enclosures of f(l) and f(u). Where f is smooth, [m, M] holds f' over [l, u]: f' is monotone between its
extrema, so its values at l, u and the extrema inside [l, u] are enough. They are evaluated in float64 and
widened by far more than that errs.
"""

from collections.abc import Callable
from functools import cache

import numpy as np

from onnxpath.engine.graph import GraphBuilder
from onnxpath.engine.session import Device, Session
from onnxpath.errors import MissingFactError
from onnxpath.model.network import Node, Parameter
from onnxpath.ops import OPERATORS
from onnxpath.ops.activation import FUNCTIONS
from onnxpath.ops.function import SLOPE_ERROR, Function

# Widening of values, relative to their size: float64 errs by 1e-14.
_VALUE = 1e-11

Bounds = tuple[np.ndarray, np.ndarray]


def negative_slope(node: Node, weight: Parameter | None) -> np.ndarray | None:
    """α, float64, of a node whose activation is x for x > 0 and α x else; None for other functions."""
    operator = OPERATORS[node.op]
    if operator.negative_slope is None:
        return None
    if operator.kind == "activation" and weight is None:
        raise MissingFactError(node.op, "its slope below 0: the node has no weight")
    return operator.negative_slope(weight)


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


def _parameters(function: Function, parameters: tuple[float, ...]) -> tuple[float, ...]:
    """Those of the function without its jump."""
    if not function.constants(*parameters).jump:
        return tuple(parameters)
    if function.derivative.continuous is None:
        raise MissingFactError(f"Activation ({function.name})", "its slopes without its jump")
    return function.derivative.continuous(*parameters)


def slopes(name: str, parameters: tuple[float, ...], low: np.ndarray, high: np.ndarray) -> Bounds:
    """m and M over [low, high] (finite float64 arrays). Of a function that jumps: those without the jump."""
    function = FUNCTIONS[name]
    derivative, largest = function.derivative, function.constants(*parameters).lipschitz
    if derivative.over is not None:
        return derivative.over(low, high, *parameters)
    run = _evaluate(name, _parameters(function, parameters))
    if derivative.curvature is not None:
        slope, reach = run((low + high) / 2)[1], derivative.curvature * (high - low) / 2
        return np.maximum(-largest, slope - reach - SLOPE_ERROR), np.minimum(
            largest, slope + reach + SLOPE_ERROR
        )
    if derivative.extrema is None:
        raise MissingFactError(f"Activation ({name})", "its slopes over an interval")
    points = derivative.extrema(*parameters)
    if points is None:
        return np.full(low.shape, -largest), np.full(low.shape, largest)
    parts = [run(low)[1], run(high)[1]]
    for point in points:
        inside = (low <= point + 1e-6) & (high >= point - 1e-6)
        parts.append(np.where(inside, run(np.array([point]))[1][0], parts[0]))
    margin = SLOPE_ERROR * (1 + largest)
    bottom, top = np.minimum.reduce(parts) - margin, np.maximum.reduce(parts) + margin
    return np.maximum(bottom, -largest), np.minimum(top, largest)


def values(name: str, parameters: tuple[float, ...], x: np.ndarray) -> Bounds:
    """Enclosure of f(x). Of a function that jumps: of the one without the jump, which is above by at most
    that."""
    function = FUNCTIONS[name]
    found = _evaluate(name, _parameters(function, parameters))(x)[0]
    if function.derivative.exact:
        return found, found
    error = _VALUE * (np.abs(found) + function.constants(*parameters).lipschitz * np.abs(x) + 1)
    return found - error, found + error
