"""What rounding may make of a network's outputs at given inputs: an estimate, to tell it from a file that
computes something else.

A runtime adds up the products of a layer in another order, with other roundings; each is like another weight,
w (1 + u ε). So the network is evaluated in float64 with every weight, input and quantizer's argument changed
by a random relative 64 u (u = 2^-24, 2^-11 where the file computes in half precision), every bias and factor
of a normalization, which enter no long sum, by u, a few times:

    allowance = 16 max |f(θ (1 + 64 u ε)) - f(θ)| + 2^-19 max |f|        of every output, over its numbers

Sums of K terms that cancel are covered by the size of their terms, and an argument at the edge of a
quantizer's cell falls on either side. Normalizations are changed as the file spells them, before they are
folded: a mean of 10^4 deviations that a bias makes up for is 0 in the folded bias, while the file rounds
10^4. This is no bound; a file beyond it by rounding alone would be reported as unfaithful, never the other
way round.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache

import numpy as np

from onnxpath.engine.session import Device
from onnxpath.evaluate.forward import Forward
from onnxpath.model.network import Network, Node, Parameter
from onnxpath.ops import OPERATORS

Arrays = Mapping[str, np.ndarray]

_SEEDS = 3
_FACTOR = 16
_WIDE, _NARROW = 64, 1
_UNIT, _HALF = 2.0**-24, 2.0**-11
_LEAST = 2.0**-19


def _changed(parameter: Parameter | None, size: float, rng: np.random.Generator) -> Parameter | None:
    if parameter is None:
        return None
    array = parameter.array().astype(np.float64)
    return replace(parameter, base=array * (1 + size * rng.choice([-1.0, 1.0], array.shape)), scale=None)


def spelled(network: Network) -> Network:
    """The network before anything was folded, where a file tells; outputs in the same order."""
    if network.origin is None or set(network.lowered.inputs) != set(network.inputs):
        return network
    return network.lowered


def jittered(network: Network, size: float, rng: np.random.Generator) -> Network:
    """The network with every weight and quantizer's argument off by a relative `size`, every bias and factor
    by a part of it, up or down."""
    nodes: list[Node] = []
    shapes = dict(network.shapes)
    narrow = size if network.halves else size / _WIDE * _NARROW
    for node in network.nodes:
        operator = OPERATORS[node.op]
        if operator.kind == "quantizer":
            [source] = node.inputs
            before = f"{node.output} jittered"
            shapes[before] = shapes[source]
            factor = Parameter("", 1 + size * rng.choice([-1.0, 1.0], (1, *shapes[source][1:])))
            nodes.append(Node(node.name, "Scale", (source,), before, {}, factor))
            nodes.append(replace(node, inputs=(before,)))
        else:
            own = narrow if operator.diagonal else size
            nodes.append(
                replace(node, weight=_changed(node.weight, own, rng), bias=_changed(node.bias, narrow, rng))
            )
    return replace(network, nodes=tuple(nodes), shapes=shapes)


# Networks with more parameters are evaluated one after the other, so that a single float64 copy of the
# weights is there at a time.
_SMALL = 1 << 22


class Jitter:
    """A network in float64, and as rounding may change it. Sessions of small networks are kept for the next
    points."""

    def __init__(self, network: Network, threads: int = 0):
        self._network, self._device = network, Device("cpu", "float64", threads)
        self._size = 2 * _HALF if network.halves else _WIDE * _UNIT
        small = sum(p.size for node in network.nodes for p in node.parameters()) <= _SMALL
        self._forward = cache(self._made) if small else self._made

    def _made(self, seed: int | None) -> tuple[Forward, Sequence[str]]:
        network = (
            self._network
            if seed is None
            else jittered(spelled(self._network), self._size, np.random.default_rng(seed))
        )
        return Forward([network], self._device), network.outputs

    def allowances(self, points: Sequence[Arrays]) -> list[tuple[dict[str, np.ndarray], dict[str, float]]]:
        """For every point, [n, ...] by input: the outputs in float64, [n, ...] by tensor, and how far off a
        faithful runtime may be there (see the module), by tensor."""
        exact = self._run(None, points)
        spreads = [dict.fromkeys(values, 0.0) for values in exact]
        for seed in range(_SEEDS):
            rng = np.random.default_rng(seed)
            moved = [
                {
                    name: x * (1 + _UNIT * _WIDE * rng.choice([-1.0, 1.0], x.shape))
                    for name, x in point.items()
                }
                for point in points
            ]
            for spread, own, found in zip(spreads, exact, self._run(seed, moved), strict=True):
                for name, values in own.items():
                    spread[name] = max(spread[name], _largest(found[name] - values))
        least = 2.0**-8 if self._network.halves else _LEAST
        return [
            (own, {name: _FACTOR * spread[name] + least * _largest(values) for name, values in own.items()})
            for own, spread in zip(exact, spreads, strict=True)
        ]

    def _run(self, seed: int | None, points: Sequence[Arrays]) -> list[dict[str, np.ndarray]]:
        (forward, names), own = self._forward(seed), self._network.outputs
        runs = (forward.run(point)[0] for point in points)
        return [{mine: found[name] for mine, name in zip(own, names, strict=True)} for found in runs]


def _largest(values: np.ndarray) -> float:
    with np.errstate(invalid="ignore", over="ignore"):
        return float(np.nan_to_num(np.abs(values)).max(initial=0.0))
