"""Inputs made for running files where none are given: the same ones whenever the same is asked for.

Inside a domain they are uniform, the first of them its middle; without one, standard normal numbers. For
files that are only compared (analyses/compare.py), inputs are made for what the file declares.
"""

from collections.abc import Mapping

import numpy as np

from onnxpath.model.domain import Region
from onnxpath.model.network import Network

# As many points are run as keep all tensors of a network together below this; at least 2, at most 16.
_NUMBERS = 1 << 26


def count(network: Network) -> int:
    """How many points to run a network's file on."""
    return int(np.clip(_NUMBERS // max(1, sum(network.size_of(name) for name in network.shapes)), 2, 16))


def inside(region: Region, n: int, whole: bool, network: Network | None = None) -> dict[str, np.ndarray]:
    """n points of the boxes of a region, in turn, float32 numbers; one where a network has no batch axis
    (`whole`). network: whose file they are for: whole numbers where it takes no others."""
    rng, found = np.random.default_rng(0), {}
    for name, low in region.low.items():
        high = region.high[name]
        if whole:
            points = (low + high) / 2
        else:
            box = np.arange(n) % len(low)
            part = rng.random((n, *low.shape[1:]))
            part[0] = 0.5
            points = low[box] + part * (high[box] - low[box])
            low, high = low[box], high[box]
        found[name] = np.clip(points.astype(np.float32), low, high)
        if network is not None and _whole_numbers(network, name):
            found[name] = np.clip(np.rint(found[name]), np.ceil(low), np.floor(high))
    return found


def _whole_numbers(network: Network, name: str) -> bool:
    """Whether the file takes no fractions for this input."""
    kind = next((port.type for port in network.interface.inputs if port.name == name), "")
    return kind.startswith(("int", "uint", "bool"))


def normal(network: Network, n: int) -> dict[str, np.ndarray]:
    """n standard normal points by the network's inputs, float32 numbers."""
    rng = np.random.default_rng(0)
    shapes: Mapping[str, tuple[int, ...]] = {name: network.shapes[name] for name in network.inputs}
    found = {}
    for name, shape in shapes.items():
        points = np.asarray(rng.standard_normal((n, *shape[1:]) if network.batched else shape))
        if _whole_numbers(network, name):
            kind = next(port.type for port in network.interface.inputs if port.name == name)
            points = points > 0 if kind == "bool" else np.minimum(np.rint(64 * np.abs(points)), 127)
        found[name] = points.astype(np.float32).astype(np.float64)
    return found
