"""What rounding may make of a network's outputs at given inputs: an estimate, to tell it from a file that computes something else.

A runtime adds up the products of a layer in another order, with other roundings; each is like another weight, w (1 + u ε). So the network
is evaluated in float64 with every weight, bias, input and quantizer's argument changed by a random relative 64 u (u = 2^-24, 2^-11 where the
file computes in half precision), a few times:

    allowance_v = 16 max |f(θ (1 + 64 u ε)) - f(θ)|_v over outputs + 2^-19 max |f|

Sums of K terms that cancel are covered by the size of their terms, and an argument at the edge of a quantizer's cell falls on either side. This
is no bound; a file beyond it by rounding alone would be reported as unfaithful, never the other way round.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from onnxpath.engine.session import Device
from onnxpath.network import Network, Node, Parameter
from onnxpath.passes.forward import Forward

_SEEDS = 3
_FACTOR = 16
_WIDE = 64
_UNIT, _HALF = 2.0**-24, 2.0**-11
_LEAST = 2.0**-19


def _changed(parameter: Parameter | None, size: float, rng: np.random.Generator) -> Parameter | None:
    if parameter is None:
        return None
    array = parameter.array().astype(np.float64)
    return replace(parameter, base=array * (1 + size * rng.choice([-1.0, 1.0], array.shape)), scale=None)


def jittered(network: Network, size: float, rng: np.random.Generator) -> Network:
    """The network with every weight, bias and quantizer's argument off by a relative `size`, up or down."""
    nodes: list[Node] = []
    shapes = dict(network.shapes)
    for node in network.nodes:
        if node.op == "Quantizer":
            [source] = node.inputs
            before = f"{node.output} jittered"
            shapes[before] = shapes[source]
            factor = Parameter("", 1 + size * rng.choice([-1.0, 1.0], (1, *shapes[source][1:])))
            nodes.append(Node(node.name, "Scale", (source,), before, {}, factor))
            nodes.append(replace(node, inputs=(before,)))
        else:
            nodes.append(replace(node, weight=_changed(node.weight, size, rng), bias=_changed(node.bias, size, rng)))
    return replace(network, nodes=tuple(nodes), shapes=shapes)


class Jitter:
    """A network in float64, and as rounding may change it: built once, for any points."""

    def __init__(self, network: Network, threads: int = 0):
        device = Device("cpu", "float64", threads)
        size = 2 * _HALF if network.halves else _WIDE * _UNIT
        self._half = network.halves > 0
        self._exact = Forward([network], device)
        self._moved = [Forward([jittered(network, size, np.random.default_rng(seed))], device) for seed in range(_SEEDS)]

    def allowance(self, inputs: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], float]:
        """The outputs in float64, [n, ...] by tensor, and how far off a faithful runtime may be at these inputs (see the module)."""
        [exact] = self._exact.run(inputs)
        spread = 0.0
        with np.errstate(invalid="ignore", over="ignore"):
            for seed, forward in enumerate(self._moved):
                rng = np.random.default_rng(seed)
                points = {name: array * (1 + _UNIT * _WIDE * rng.choice([-1.0, 1.0], array.shape)) for name, array in inputs.items()}
                [found] = forward.run(points)
                spread = max(spread, *(float(np.nan_to_num(np.abs(found[name] - exact[name])).max(initial=0.0)) for name in exact))
            largest = max(float(np.nan_to_num(np.abs(array)).max(initial=0.0)) for array in exact.values())
        return exact, _FACTOR * spread + (2.0**-8 if self._half else _LEAST) * largest
