"""Passing by what normalizes the inputs of both networks: a leading y = s x + b that is the same in both maps
the domain of x to that of y.

The bounds grow with the size of the inputs, and pixels of 0 to 255 are large; what the networks work on after
their common normalizer is not.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from onnxpath.model.domain import Region
from onnxpath.model.matching import Pairing, Parameters
from onnxpath.model.network import Network


@dataclass(frozen=True, eq=False)
class Behind:
    """The first network past its normalizers, what its inputs range over, float64 [n, ...] by input, and
    whether that does not vary over space."""

    network: Network
    low: Mapping[str, np.ndarray]
    high: Mapping[str, np.ndarray]
    uniform: bool


def behind_normalizers(pairing: Pairing, region: Region) -> Behind:
    low, high = dict(region.low), dict(region.high)
    network, uniform = _past_normalizers(pairing.a, pairing.twin, low, high, region.uniform)
    return Behind(network, low, high, uniform)


def radii(pairing: Pairing, region: Region) -> tuple[Network, dict[str, np.ndarray], bool]:
    """The first network past its normalizers, the radii of its inputs, and whether these do not vary over
    space."""
    found = behind_normalizers(pairing, region)
    radius = {
        name: np.maximum(np.abs(found.low[name]), np.abs(found.high[name])) for name in found.network.inputs
    }
    return found.network, radius, found.uniform


def _past_normalizers(
    network: Network,
    twin: Mapping[str, Parameters],
    low: dict[str, np.ndarray],
    high: dict[str, np.ndarray],
    uniform: bool,
) -> tuple[Network, bool]:
    """Drop every leading y = s x + b that is the same in both networks, mapping [low, high] to the interval
    of y."""
    inputs, nodes, shapes = list(network.inputs), list(network.nodes), dict(network.shapes)
    changed = True
    while changed:
        changed = False
        for name in inputs:
            readers = [node for node in nodes if name in node.inputs]
            if (
                len(readers) != 1
                or readers[0].op != "Scale"
                or name in network.outputs
                or readers[0].output in network.outputs
            ):
                continue
            node = readers[0]
            if any(
                (p is None) != (q is None) or not (p is None or _same(p, q))
                for p, q in zip((node.weight, node.bias), twin[node.output], strict=True)
            ):
                continue
            scale = np.ones(1) if node.weight is None else node.weight.array().astype(np.float64)
            shift = np.zeros(1) if node.bias is None else node.bias.array().astype(np.float64)
            first, second = low.pop(name) * scale, high.pop(name) * scale
            # two float64 roundings, outwards
            slack = 2.0**-51 * (np.maximum(np.abs(first), np.abs(second)) + np.abs(shift))
            low[node.output] = np.minimum(first, second) + shift - slack
            high[node.output] = np.maximum(first, second) + shift + slack
            uniform = uniform and all(prod(p.shape[2:]) == 1 for p in node.parameters())
            inputs[inputs.index(name)] = node.output
            nodes.remove(node)
            del shapes[name]
            changed = True
            break
    return replace(network, inputs=tuple(inputs), nodes=tuple(nodes), shapes=shapes), uniform


def _same(p, q) -> bool:
    return p is q or (p.shape == q.shape and np.array_equal(p.array(), q.array()))
